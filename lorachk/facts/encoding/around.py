"""Learns what stands beside a text in a template, so that texts can be counted for their place in it.

Records of the dataset's own form are encoded with texts that begin and end in different ways. What a text adds to the
record's tokens must be what the text is counted as, for one of a few surroundings: nothing (special tokens stand beside
it), a blank before it, line feeds behind it. Where none fits, texts are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Literal

from lorachk.facts.encoding.setup import Recipe, Setup
from lorachk.facts.encoding.turntokens import Around, Counting
from lorachk.facts.encoding.types import Message, Unencodable
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.dialect import shape
from lorachk.facts.records.item import Item

if TYPE_CHECKING:
    from lorachk.facts.encoding.words import Words

_TEXTS = ("What is it", "it's 7.", "(see) 12", "7 apples!", "字字。", "Zürich?", '"quoted"', "- item:", "a", ".")
_BLANKS = ("a ", " a", "a\n", "\na", "a.\n\n", ".  ", "\t7", " a \n ", "\r\na", "a\u00a0")  # white space at their ends
_CANDIDATES = [Around(blank, after) for after, blank in product(("", "\n", "\n\n", " "), (False, True))]
_TRIED = 12  # records that are taken for examples of the dataset's form


def counting(used: Setup, recipe: Recipe, head: Sequence[Item], file: DataFile) -> Counting | None:
    """How the turns of a file are counted while it is scanned; None where they are not."""
    if used.encoder is None or used.tokenizer is None:
        return None
    from lorachk.facts.encoding.words import Words, refused

    if refused(used.tokenizer.rust) is not None:
        return None
    words = Words(used.tokenizer.rust)
    around: dict[str, Around] = {}
    for messages in _examples(recipe, head, file):
        for number, message in enumerate(messages):
            speaker = message.speaker or ""
            if speaker not in around and (found := _around(used, words, messages, number)) is not None:
                around[speaker] = found
    return Counting(str(used.tokenizer.folder), around) if around else None


def _examples(recipe: Recipe, head: Sequence[Item], file: DataFile) -> Iterable[list[Message]]:
    """The messages of some records, without their images."""
    from lorachk.facts.encoding.messages import messages_of

    for item in head[:_TRIED]:
        try:
            messages = messages_of(recipe.trainer, item.value, shape(item.value, file.mapping))
        except Unencodable:
            continue
        yield [message._replace(parts=("b",)) for message in messages]


def _around(used: Setup, words: Words, messages: list[Message], number: int) -> Around | None:
    totals = _totals(used, messages, number, _TEXTS)
    if totals is None:
        return None
    for around in _CANDIDATES:
        added = {total - _own(words, around, text) for total, text in zip(totals, _TEXTS, strict=True)}
        if len(added) == 1:
            return around._replace(ends=_ends(used, words, messages, number, around, added.pop()))
    return None


def _ends(
    used: Setup, words: Words, messages: list[Message], number: int, around: Around, added: int
) -> Literal["kept", "trimmed"] | None:
    """What becomes of white space at a text's ends; `added` is what the template adds to other texts."""
    totals = _totals(used, messages, number, _BLANKS)
    if totals is None:
        return None
    if totals == [added + _own(words, around, text) for text in _BLANKS]:
        return "kept"
    return "trimmed" if totals == [added + _own(words, around, text.strip()) for text in _BLANKS] else None


def _totals(used: Setup, messages: list[Message], number: int, texts: Sequence[str]) -> list[int] | None:
    """Tokens of the messages with each of the texts in the place of one; None when that cannot be encoded."""
    assert used.encoder
    found = []
    for text in texts:
        tried = [m._replace(parts=(text,)) if n == number else m for n, m in enumerate(messages)]
        try:
            found.append(len(used.encoder.encode(tried, []).ids))
        except Unencodable:
            return None
    return found


def _own(words: Words, around: Around, text: str) -> int:
    return words.count(text + around.after, blank=around.blank)
