"""Stretches of a dialogue with a weight each, as modelscope/ms-swift (3602360) joins, scales and labels them."""

from __future__ import annotations

import re
from typing import NamedTuple

from lorachk.facts.encoding.types import Unencodable

# loss_scale/config: what is cut off in front of an answer and not trained.
_UNTRAINED = {
    "ignore_empty_think": re.compile(
        r"<think>\s*</think>\s*|</think>\s*|<\|channel>thought\n<channel\|>|</mm:think>\s*"
    ),
    "ignore_think_prefix": re.compile(r"<think>\n?"),
}
_STRATEGIES = ("default", "last_round", "all")


class Context(NamedTuple):
    """A stretch of the dialogue: text, tokens, or None for the place of an image; and whether it is trained."""

    content: str | list[int] | None
    trained: bool


def loss_scale(name: str) -> tuple[str, list[re.Pattern[str]]]:
    """The base strategy of --loss_scale, and what is not trained at the front of an answer."""
    parts = name.split("+")
    strategy = parts.pop(0) if parts[0] in _STRATEGIES else "default"
    unknown = [part for part in parts if part not in ("base", *_UNTRAINED)]
    if unknown or len(parts) > 1:
        raise Unencodable(f"what --loss_scale {name} trains is not modelled", None)
    return strategy, [_UNTRAINED[part] for part in parts if part in _UNTRAINED]


def joined(contexts: list[Context]) -> list[Context]:
    """Neighbouring texts of one weight are one text."""
    out: list[Context] = []
    for content, trained in contexts:
        before = out[-1] if out else None
        if isinstance(content, str) and before and isinstance(before.content, str) and before.trained == trained:
            out[-1] = Context(before.content + content, trained)
        elif content != "":
            out.append(Context(content, trained))
    return out


def label_separators(ids: list[int], trained: list[bool], suffix: list[int]) -> None:
    """`_add_dynamic_eos`: where the tokens after a trained stretch begin with the suffix, they are trained."""
    start = 0
    size = len(ids)
    for i in range(1, size + 1):
        if trained[i - 1] and i < size and not trained[i]:
            start = i
        elif start > 0 and not trained[i - 1] and (i == size or trained[i]):
            end = start + len(suffix)
            if end <= i and ids[start:end] == suffix:
                trained[start:end] = [True] * len(suffix)
