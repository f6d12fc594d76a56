"""A model folder's tokenizer and chat template, as transformers would understand them, on the Rust tokenizer alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from lorachk.facts.encoding.modelfiles import TokenizerProblem, described, digest, templates
from lorachk.facts.encoding.rust import position_free, rust_tokenizer
from lorachk.facts.encoding.template import ChatTemplate, TemplateProblem
from lorachk.facts.encoding.types import Ids, Text, Unencodable

__all__ = ["Tokenizer", "TokenizerProblem", "open_tokenizer"]


def open_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a model folder. Raises TokenizerProblem with file, reason and place."""
    return Tokenizer(Path(folder))


class Tokenizer:
    """Implements types.Tokens.

    `size` counts the vocabulary with all added tokens (len(tokenizer)); `largest` is the highest id that can come out.
    `adds_bos`, `adds_eos`: what encode(special=True) puts around a text, which tokenizer.json's post-processor decides
    in transformers 5 (4.x: for Llama and Gemma tokenizers `add_bos_token` and `add_eos_token` of the config, kept in
    `config`). `identity` names the files' content.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise TokenizerProblem(str(folder), "no such folder")
        self.folder = folder
        said = described(folder)
        self.rust = rust_tokenizer(folder, said)
        self.config = said.config
        self.class_name = said.class_name
        self.tokens = {key: token.content for key, token in said.named.items()}
        self._templates = templates(folder, said.config)
        self.bos_token, self.eos_token, self.pad_token, self.unk_token = map(
            self.tokens.get, ("bos_token", "eos_token", "pad_token", "unk_token")
        )
        self.bos_id, self.eos_id, self.pad_id, self.unk_id = (
            None if token is None else self.id_of(token)
            for token in (self.bos_token, self.eos_token, self.pad_token, self.unk_token)
        )
        added = self.rust.get_added_tokens_decoder()
        self.added = {token.content: number for number, token in added.items()}
        self._specials = {
            token.content
            for token in added.values()
            if not (token.lstrip or token.rstrip or token.single_word or token.normalized)
        }
        self.size = self.rust.get_vocab_size(with_added_tokens=True)
        self.independent = position_free(self.rust)
        probe = self.rust.encode("a", add_special_tokens=True).ids
        bare = self.rust.encode("a", add_special_tokens=False).ids
        self.adds_bos = self.bos_id is not None and probe[:1] == [self.bos_id] and bare[:1] != [self.bos_id]
        self.adds_eos = self.eos_id is not None and probe[-1:] == [self.eos_id] and bare[-1:] != [self.eos_id]
        self.adds_special = probe != bare
        self._batch = getattr(self.rust, "encode_batch_fast", self.rust.encode_batch)  # 0.20: without offsets

    @property
    def largest(self) -> int:
        """The highest id of the vocabulary; it has holes, so that this can exceed `size` - 1."""
        return max(self.rust.get_vocab(with_added_tokens=True).values(), default=-1)

    @property
    def identity(self) -> str:
        """Digest of the files that decide how text becomes tokens."""
        return digest(self.folder)

    @property
    def chat_template(self) -> str | None:
        """The tokenizer's default template."""
        return self._templates.tokenizer.get("default")

    @property
    def template_file(self) -> str | None:
        """File the tokenizer's template comes from."""
        return self._templates.tokenizer_file

    @property
    def processor_template(self) -> str | None:
        """The default template of the folder's processor."""
        return self._templates.processor.get("default")

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of a text, special tokens in it recognised; with `special`, BOS and EOS as the tokenizer adds them."""
        ids: list[int] = self.encode_all([Text(text, special)])[0].ids
        return ids

    def encode_all(self, texts: Sequence[Text]) -> list[Ids]:
        """Many texts, in one call per kind. Raises Unencodable for text that is not Unicode (a lone surrogate)."""
        found: list[Ids] = [Ids([])] * len(texts)
        for special in (False, True):
            for offsets in (False, True):
                numbers = [n for n, text in enumerate(texts) if text.special == special and text.offsets == offsets]
                if not numbers:
                    continue
                batch = self.rust.encode_batch if offsets else self._batch
                try:
                    encodings = batch([texts[n].text for n in numbers], add_special_tokens=special)
                except (TypeError, UnicodeError) as error:
                    raise Unencodable("the text has a lone surrogate, which no tokenizer takes") from error
                for number, encoding in zip(numbers, encodings, strict=True):
                    found[number] = Ids(encoding.ids, encoding.offsets if offsets else None)
        return found

    def id_of(self, token: str) -> int | None:
        """Id of a token; None when the vocabulary has none (never the unknown token)."""
        number: int | None = self.rust.token_to_id(token)
        return number

    def is_special(self, token: str) -> bool:
        """Whether the token is recognised in any text as it stands (an added token without white-space rules)."""
        return token in self._specials

    def template(self, variables: dict[str, Any] | None = None, *, processor: bool = False) -> ChatTemplate:
        """The compiled template that transformers would choose. Raises Unencodable, with the file, when there is none.

        Of several named ones it is `tool_use` when there are tools, else `default`; a processor knows only `default`.
        """
        given = (variables or {}).get("chat_template")
        named, file = (
            (self._templates.processor, self._templates.processor_file)
            if processor
            else (self._templates.tokenizer, self._templates.tokenizer_file)
        )
        tools = None if processor else (variables or {}).get("tools")
        text = named.get(given, given) if given is not None else None
        if text is None:
            text = named.get("tool_use") if tools is not None else None
            text = named.get("default") if text is None else text
        if text is None:
            if named:
                names = ", ".join(sorted(named))
                raise Unencodable(f"{file}: several chat templates ({names}) and none of them is the default")
            what = "processor" if processor else "tokenizer"
            raise Unencodable(f"{self.folder}: the {what} has no chat template")
        try:
            return _compiled(text)
        except TemplateProblem as problem:
            line = "" if problem.line is None else f", line {problem.line} of the template"
            raise Unencodable(f"{file or 'chat template'}: the chat template is broken{line}: {problem}") from problem

    def render(self, messages: list[dict[str, Any]], **variables: Any) -> str:
        """The chat template's text, as apply_chat_template(tokenize=False) gives it. Raises Unencodable."""
        template, values = self._prepared(messages, variables)
        return template.render(messages, **values)

    def render_spans(self, messages: list[dict[str, Any]], **variables: Any) -> tuple[str, list[tuple[int, int]]]:
        """The text, and the characters between {% generation %} and {% endgeneration %}. Raises Unencodable."""
        template, values = self._prepared(messages, variables)
        return template.render_spans(messages, **values)

    def _prepared(
        self, messages: list[dict[str, Any]], variables: dict[str, Any]
    ) -> tuple[ChatTemplate, dict[str, Any]]:
        if not messages:
            raise Unencodable("Cannot apply chat template to an empty conversation")
        processor = variables.pop("processor", False)
        template = self.template(variables, processor=processor)
        variables.pop("chat_template", None)
        # Tokens of the model's own (image_token ...) are template variables too, the standard ones first.
        return template, {**self.tokens, **variables}


@lru_cache(maxsize=64)
def _compiled(text: str) -> ChatTemplate:
    return ChatTemplate(text)
