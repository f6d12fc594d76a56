"""Learns what stands beside a text in a template, so that texts can be counted for their place in it.

Records of the dataset's own form are encoded with texts that begin and end in different ways. What a text adds to the
record's tokens must be what the text is counted as, for one of a few surroundings: nothing (special tokens stand beside
it), a blank before it, line feeds behind it. Where none fits, texts are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from lorachk.facts.encoding.messages import messages_of
from lorachk.facts.encoding.setup import Recipe, Setup
from lorachk.facts.encoding.turntokens import Around, Counting
from lorachk.facts.encoding.types import Message, Unencodable
from lorachk.facts.encoding.words import Words, refused
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.dialect import shape
from lorachk.facts.records.item import Item

_TEXTS = ("What is it", "it's 7.", "(see) 12", "7 apples!", "字字。", "Zürich?", '"quoted"', "- item:", "a", ".")
_CANDIDATES = [Around(blank, after) for after, blank in product(("", "\n", "\n\n", " "), (False, True))]
_TRIED = 12  # records that are taken for examples of the dataset's form


def counting(used: Setup, recipe: Recipe, head: Sequence[Item], file: DataFile) -> Counting | None:
    """How the turns of a file are counted while it is scanned; None where they are not."""
    if used.encoder is None or used.tokenizer is None or refused(used.tokenizer.rust) is not None:
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
    for item in head[:_TRIED]:
        try:
            messages = messages_of(recipe.trainer, item.value, shape(item.value, file.mapping))
        except Unencodable:
            continue
        yield [message._replace(parts=("b",)) for message in messages]


def _around(used: Setup, words: Words, messages: list[Message], number: int) -> Around | None:
    assert used.encoder
    totals = []
    for text in _TEXTS:
        tried = [m._replace(parts=(text,)) if n == number else m for n, m in enumerate(messages)]
        try:
            totals.append(len(used.encoder.encode(tried, []).ids))
        except Unencodable:
            return None
    for around in _CANDIDATES:
        counted = [words.count(text + around.after, blank=around.blank) for text in _TEXTS]
        if len({total - own for total, own in zip(totals, counted, strict=True)}) == 1:
            return around
    return None
