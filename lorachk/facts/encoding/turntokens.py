"""Tokens of each turn's text, counted while the dataset is scanned.

A text is counted for its place in the template (`Around`), so that the tokens of a record are those of its texts, of
its images and a number that its template adds, which is the same for all records with the same roles. Where that is not
sure the text is not counted, and its record is tokenised as a whole: special tokens in it, images in the middle of it,
white space at its ends where that joins what stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

_IMAGE = "<image>"
_LINE = "<image>\n"
# Beside added tokens: what trainers look for in a text.
_LOOKED_FOR = ("<image", "<video", "<audio", "<img", "</img", "<think", "</think", "<bos>", "<eos>")
_USUAL = frozenset("<[")  # what such tokens begin with


class Around(NamedTuple):
    """What stands beside a speaker's text and is tokenised with it: a blank before it, a text behind it.

    `ends`: what becomes of white space at the ends of the text: kept, trimmed, or not known.
    """

    blank: bool = False
    after: str = ""
    ends: Literal["kept", "trimmed"] | None = None


class Counting(NamedTuple):
    """What a process needs to count: the tokenizer's folder, and what stands around texts, by their names (`named`)."""

    folder: str
    around: Mapping[str, Around]


def named(speaker: str | None, placed: str | None) -> str:
    """The name of a speaker's texts with the images' marks in one place: an image changes what stands beside a text."""
    return f"{speaker or ''} {placed}" if placed else speaker or ""


class TurnTokens:
    """Counts turns with one tokenizer."""

    def __init__(self, counting: Counting) -> None:
        from lorachk.facts.encoding.tokenizer import open_tokenizer
        from lorachk.facts.encoding.words import Words

        rust = open_tokenizer(counting.folder).rust
        self._words = Words(rust)
        self._around = counting.around
        special = {token.content for token in rust.get_added_tokens_decoder().values()} | set(_LOOKED_FOR)
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True)))).search
        self._usual = {token[:1] for token in special} <= _USUAL

    def count(self, text: str, speaker: str | None) -> tuple[int | None, str | None]:
        """Tokens of a text without the placeholders at one of its ends (None: not sure), and at which end they are."""
        placed = None
        if _IMAGE in text:
            text, placed = without_images(text)
            if placed is None:
                return None, None
        around = self._around.get(named(speaker, placed))
        if around is None or not text:
            return None, placed
        if text[0].isspace() or text[-1].isspace():
            if placed is not None or around.ends is None or text.isspace():
                return None, placed
            if around.ends == "trimmed":
                text = text.strip()
        if (not self._usual or "<" in text or "[" in text) and self._special(text):
            return None, placed
        if "assistant" in text or "ASSISTANT:" in text:  # trainers find answers by these
            return None, placed
        try:
            return self._words.count(text + around.after if around.after else text, blank=around.blank), placed
        except (TypeError, UnicodeError):  # a lone surrogate
            return None, placed


def without_images(text: str) -> tuple[str, str | None]:
    """A text without the placeholders that stand as lines of their own at its start or its end, and where they stood.

    The text as it is, and None, when they stand in another way.
    """
    rest = text
    if text.startswith(_LINE):
        while rest.startswith(_LINE):
            rest = rest[len(_LINE) :]
        placed = "start"
    else:
        while rest.endswith("\n" + _IMAGE):
            rest = rest[: -len(_LINE)]
        placed = "end"
    return (text, None) if _IMAGE in rest else (rest, placed)
