"""The table `tokenizer`: what tokenizer and chat template are, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lorachk.facts.collector import Row
from lorachk.facts.encoding.processor import tokens_of
from lorachk.facts.encoding.setup import Recipe, Setup, folder_of
from lorachk.facts.encoding.template import GENERATION
from lorachk.facts.encoding.types import Unencodable

_DIALOGUE = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
_SHOWN = 20  # tokens named of those without an embedding
_SYSTEM = {"role": "system", "content": "Be brief."}
# These trainers write <image> into the ids themselves, or add the tokens to the tokenizer.
_OWN_IMAGE_TOKENS = {"llava", "fastchat", "internvl"}


def tokenizer_rows(used: Setup, recipe: Recipe) -> Iterator[Row]:
    """One row, or none when no folder of a tokenizer is named."""
    folder = folder_of(recipe.run)
    if folder is None:
        return
    row: dict[str, Any] = {"path": folder}
    if (problem := used.problem) is not None:
        place = {"path": problem.file, "line": problem.line, "col": problem.col, "pointer": None}
        yield {**row, "problem": problem.reason, "file": problem.file, "place": place}
        return
    tokenizer = used.tokenizer
    if tokenizer is None:
        return
    row |= {
        "encoder": used.no_encoder,
        "size": tokenizer.size,
        "largest_id": tokenizer.largest,
        "bos": tokenizer.bos_token,
        "eos": tokenizer.eos_token,
        "pad": tokenizer.pad_token,
        "adds_bos": tokenizer.adds_bos,
        "adds_eos": tokenizer.adds_eos,
    }
    family = recipe.run.family
    if family is not None and recipe.trainer not in _OWN_IMAGE_TOKENS:
        wanted = tokens_of(family)
        row["image_tokens"] = [token for token in wanted if tokenizer.id_of(token) is not None]
        row["missing_tokens"] = [token for token in wanted if tokenizer.id_of(token) is None]
    if (rows := recipe.run.vocab_size) is not None:
        named = [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token]
        added = sorted(tokenizer.added, key=lambda token: tokenizer.added[token])
        every = dict.fromkeys(token for token in (*named, *added) if token is not None)
        row["beyond"] = [token for token in every if (tokenizer.id_of(token) or 0) >= rows][:_SHOWN]
    template = tokenizer.chat_template
    row["chat_template"] = template is not None
    row["template_file"] = tokenizer.template_file
    if template is not None:
        row["generation"] = GENERATION.search(template) is not None
        row["template_problem"] = _raised(used, _DIALOGUE)
        if row["template_problem"] is None:
            row["system_problem"] = _raised(used, [_SYSTEM, *_DIALOGUE])
    yield row


def _raised(used: Setup, dialogue: list[dict[str, Any]]) -> str | None:
    assert used.tokenizer
    try:
        used.tokenizer.render(dialogue)
    except Unencodable as problem:
        return str(problem)
    return None
