"""Counts the tokens of a text word by word: ten times as fast as tokenising it, and exact.

Byte-level tokenizers cut a text before every blank that stands alone between two visible characters, and Sentencepiece
models whose vocabulary has no piece with a blank inside never join across one. The tokens of a text are then the sum
over its words, each with the blank before it, and every different word is tokenised once. A text in which that does not
hold (two blanks in a row, a blank at an end, an added token that swallows the blanks around it) is tokenised as a
whole. A tokenizer of another kind is not counted this way at all: `refused` says why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer

_MOST = 400_000  # words that are kept
_LONGEST = 64  # characters of a word worth keeping: longer ones hardly come again
_NOT = 1 << 40  # more tokens than any text has: the sum tells that one of its words cannot be counted by itself
_BLANK = "▁"
# What stands on either side of a blank in the texts that a pre-tokenizer is tried on.
_SIDES = (
    "a",
    "Z",
    "é",
    "7",
    ".",
    ",",
    "'",
    "'s",
    "-",
    "(",
    "\n",
    "\t",
    "\u00a0",
    "字",
    "\u0301",
    "😀",
    "_",
    '"',
    "\r\n",
)
_TRIED = 6000  # such texts


class Words:
    """Counts tokens of texts with one tokenizer. Special tokens in a text count as what they are."""

    def __init__(self, rust: RustTokenizer) -> None:
        self._encode = rust.encode
        # Added tokens cut a text in two, and Sentencepiece's normalizer marks the beginning of each part.
        cutting = [_BLANK, *(token.content for token in rust.get_added_tokens_decoder().values())]
        self._odd = re.compile("|".join(map(re.escape, cutting))).search
        self._before = self.whole("a")
        self._first = _Costs(self.whole, self._odd)
        self._further = _Costs(lambda word: self.whole(f"a {word}") - self._before, self._odd)

    def whole(self, text: str) -> int:
        """Tokens of a text, tokenised as a whole. Raises TypeError for a lone surrogate."""
        return len(self._encode(text, add_special_tokens=False).ids)

    def count(self, text: str, *, blank: bool = False) -> int:
        """Tokens of a text; with `blank`, of a text with a blank before it that follows a visible character."""
        words = text.split(" ")
        total: int = 0
        if not blank:
            total = self._first[words[0]]
            del words[0]
        total += sum(map(self._further.__getitem__, words))
        if total < _NOT:
            return total
        return self.whole(f"a {text}") - self._before if blank else self.whole(text)


class _Costs(dict[str, int]):
    """Word to its tokens, counted when it is first asked for."""

    def __init__(self, count: Callable[[str], int], odd: Callable[[str], Any]) -> None:
        super().__init__({"": _NOT})
        self._count, self._odd = count, odd

    def __missing__(self, word: str) -> int:
        cost = _NOT if self._odd(word) else self._count(word)
        if len(word) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
                self[""] = _NOT
            self[word] = cost
        return cost


def refused(rust: RustTokenizer) -> str | None:
    """Why a tokenizer's texts cannot be counted word by word; None when they can. Takes some 0.1 s."""
    kind = type(rust.model).__name__
    if kind != "BPE":
        return f"its model is {kind}, not BPE"
    if rust.model.dropout:
        return "its BPE has dropout"
    normalizers = _steps(rust.normalizer, "normalizers")
    cutters = _steps(rust.pre_tokenizer, "pretokenizers")
    if any(step["type"] == "ByteLevel" for step in cutters):
        return _byte_level(rust, cutters, normalizers)
    return _sentencepiece(rust, cutters, normalizers)


def _steps(part: Any, key: str) -> list[Any]:
    """The steps of a normalizer or pre-tokenizer, as tokenizer.json writes them."""
    return [] if part is None else _flat(json.loads(part.__getstate__()), key)


def _flat(step: Any, key: str) -> list[Any]:
    if step["type"] == "Sequence":
        return [inner for one in step[key] for inner in _flat(one, key)]
    return [step]


def _byte_level(rust: RustTokenizer, cutters: list[Any], normalizers: list[Any]) -> str | None:
    for step in normalizers:
        if step["type"] not in ("NFC", "NFD"):
            return f"its normalizer {step['type']} may change blanks"
    for step in cutters:
        if step["type"] not in ("Split", "ByteLevel", "Digits"):
            return f"its pre-tokenizer {step['type']} is not known here"
        if step.get("add_prefix_space"):
            return "it puts a blank in front of every text"
    import random

    # That a lone blank always begins a word is tried: the patterns are many, and new ones come with every model.
    choose = random.Random(0).choice  # noqa: S311 - the same texts every time
    for _ in range(_TRIED // 100):
        text = "x".join(f"{choose(_SIDES)}{choose(_SIDES)} {choose(_SIDES)}{choose(_SIDES)}" for _ in range(100))
        starts = {start for _, (start, _) in rust.pre_tokenizer.pre_tokenize_str(text)}
        for found in re.finditer(r"(?<=\S) (?=\S)", text):
            if found.start() not in starts:
                return "its pre-tokenizer joins a blank to the word before it"
    return None


def _sentencepiece(rust: RustTokenizer, cutters: list[Any], normalizers: list[Any]) -> str | None:
    for step in normalizers:
        replaces = step["type"] == "Replace" and step["pattern"] == {"String": " "} and step["content"] == _BLANK
        if not replaces and step["type"] != "Prepend":
            return f"its normalizer {step['type']} is not known here"
    marks = any(step["type"] == "Replace" for step in normalizers)
    for step in cutters:
        # Gemma's splits at blanks that its normalizer has replaced.
        idle = marks and step["type"] == "Split" and step["pattern"] == {"String": " "}
        if not idle and step["type"] != "Metaspace":
            return f"its pre-tokenizer {step['type']} is not known here"
    if not marks and not cutters:
        return "it has no mark for blanks"
    for piece in rust.get_vocab(with_added_tokens=False):
        if _BLANK in piece.lstrip(_BLANK):
            return f"its vocabulary has {piece!r}, with a blank inside"
    return None
