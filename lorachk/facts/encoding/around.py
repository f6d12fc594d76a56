"""Learns what stands beside a text in a template, so that texts can be counted for their place in it.

Records of the dataset's own form are encoded with texts that begin and end in different ways. What a text adds to the
record's tokens must be what the text is counted as, for one of a few surroundings: nothing (special tokens stand beside
it), a blank before it, line feeds behind it. Where none fits, texts are not counted.

An image changes what stands beside a text: LLaVA's `USER: What` is `USER: <image>\nWhat` with one, and `What` behind a
blank is another token than behind a line feed. So it is learnt apart for texts that have their images' marks at an end,
and where images come without marks (TRL's column), it must be the same with them and without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple

from lorachk.facts.encoding.setup import Recipe, Setup
from lorachk.facts.encoding.turntokens import Around, Counting, named, without_images
from lorachk.facts.encoding.types import Message, Unencodable
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.dialect import shape
from lorachk.facts.records.item import Item

if TYPE_CHECKING:
    from lorachk.facts.encoding.words import Words

_TEXTS = ("What is it", "it's 7.", "(see) 12", "7 apples!", "字字。", "Zürich?", '"quoted"', "- item:", "a", ".")
_BLANKS = ("a ", " a", "a\n", "\na", "a.\n\n", ".  ", "\t7", " a \n ", "\r\na", "a\u00a0")  # white space at their ends
_OTHERS = ("b", ".", "7", "字")  # what the other messages say
_CANDIDATES = [Around(blank, after) for after, blank in product(("", "\n", "\n\n", " "), (False, True))]
_STRIPS = {"qwen-vl": "user"}  # trainers whose loader strips a speaker's texts before any template sees them
_SIZE = (224, 224)  # of the image that is tried


def counting(used: Setup, recipe: Recipe, head: Sequence[Item], file: DataFile) -> Counting | None:
    """How the turns of a file are counted while it is scanned; None where they are not."""
    if used.encoder is None or used.tokenizer is None:
        return None
    from lorachk.facts.encoding.words import Words, refused

    if refused(used.tokenizer.rust) is not None:
        return None
    words = Words(used.tokenizer.rust)
    tried: set[_Case] = set()
    around: dict[str, Around | None] = {}
    for messages, written in _examples(recipe, head, file):
        for number, message in enumerate(messages):
            for case, before, after in _cases(message, written[number], imagined=_unmarked(used, recipe)):
                if case in tried:
                    continue
                tried.add(case)
                found = _around(words, _Place(used, messages, number, before, after))
                if found and _STRIPS.get(recipe.trainer or "") == message.speaker:
                    found = found._replace(ends="trimmed")
                key = named(message.speaker, case.placed)
                around[key] = _both(around[key], found) if key in around else found
    known = {key: found for key, found in around.items() if found is not None}
    return Counting(str(used.tokenizer.folder), known) if known else None


class _Case(NamedTuple):
    """What the surroundings of a text may depend on."""

    role: str | None
    completion: bool
    placed: str | None  # where marks of images stand in the turn's text
    images: bool


class _Place(NamedTuple):
    """The place of a text in a message: what stands before and behind it there."""

    used: Setup
    messages: list[Message]
    number: int
    before: tuple[str | int, ...]
    after: tuple[str | int, ...]


def _unmarked(used: Setup, recipe: Recipe) -> bool:
    """Whether images may come without a mark in the text."""
    return used.images is not None and recipe.trainer in (None, "trl", "hf", "axolotl", "ms-swift", "minicpmv")


def _examples(recipe: Recipe, head: Sequence[Item], file: DataFile) -> Iterator[tuple[list[Message], list[str]]]:
    """The messages of some records, and their texts as they are written."""
    from lorachk.facts.encoding.messages import messages_of

    for item in head:
        found = shape(item.value, file.mapping)
        try:
            messages = messages_of(recipe.trainer, item.value, found)
        except Unencodable:
            continue
        turns = [turn.text for turn in found.turns or []]
        added = max(0, len(messages) - len(turns))  # a system message from a column of its own
        yield messages, [*[""] * added, *turns]


def _cases(
    message: Message, written: str, *, imagined: bool
) -> Iterator[tuple[_Case, tuple[str | int, ...], tuple[str | int, ...]]]:
    """The message's own case, and that with an image in front of its text; none when its text is never counted."""
    texts = [n for n, part in enumerate(message.parts) if isinstance(part, str) and part.strip()]
    images = any(isinstance(part, int) for part in message.parts)
    placed = without_images(written)[1] if "<image" in written else None
    if len(texts) != 1 or ("<image" in written and placed is None):
        return
    text = str(message.parts[texts[0]])
    before, after = message.parts[: texts[0]], message.parts[texts[0] + 1 :]
    if placed == "start" and text.startswith("\n"):
        before = (*before, "\n")
    if placed == "end" and text.endswith("\n"):
        after = ("\n", *after)
    case = _Case(message.role, message.completion, placed, images)
    yield case, before, after
    if imagined and not images and message.speaker == "user":
        yield case._replace(images=True), (0,), ()


def _both(one: Around | None, other: Around | None) -> Around | None:
    """What holds in both cases."""
    if one is None or other is None or one[:2] != other[:2]:
        return None
    return one if one.ends == other.ends else one._replace(ends=None)


def _around(words: Words, place: _Place) -> Around | None:
    # Whatever the other texts: in a template without anything between two texts, they would join.
    totals = [_totals(place, _TEXTS, other) for other in _OTHERS]
    if None in totals:
        return None
    for around in _CANDIDATES:
        own = [_own(words, around, text) for text in _TEXTS]
        added = [{total - n for total, n in zip(found or (), own, strict=True)} for found in totals]
        if all(len(numbers) == 1 for numbers in added):
            return around._replace(ends=_ends(words, place, around, added[0].pop()))
    return None


def _ends(words: Words, place: _Place, around: Around, added: int) -> Literal["kept", "trimmed"] | None:
    """What becomes of white space at a text's ends; `added` is what the template adds to other texts."""
    totals = _totals(place, _BLANKS, _OTHERS[0])
    if totals is None:
        return None
    if totals == [added + _own(words, around, text) for text in _BLANKS]:
        return "kept"
    return "trimmed" if totals == [added + _own(words, around, text.strip()) for text in _BLANKS] else None


def _totals(place: _Place, texts: Sequence[str], other: str) -> list[int] | None:
    """Tokens of the messages with each of the texts in the place of one and `other` in those of all others.

    None when that cannot be encoded.
    """
    from lorachk.facts.encoding.exact import blocks_of
    from lorachk.families.visual import Refused

    encoder = place.used.encoder
    assert encoder
    images = [part for part in (*place.before, *place.after) if isinstance(part, int)]
    numbers = {image: n for n, image in enumerate(dict.fromkeys(images))}
    found = []
    try:
        blocks = blocks_of(place.used, [_SIZE] * len(numbers))
        for text in texts:
            parts = _merged([*place.before, text, *place.after], numbers)
            tried = [m._replace(parts=parts if n == place.number else (other,)) for n, m in enumerate(place.messages)]
            found.append(len(encoder.encode(tried, blocks).ids))
    except (Unencodable, Refused):
        return None
    return found


def _merged(parts: Sequence[str | int], numbers: Mapping[int, int]) -> tuple[str | int, ...]:
    """The parts with the images counted from 0, and line feeds as part of the text beside them."""
    found: list[str | int] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        else:
            found.append(part if isinstance(part, str) else numbers[part])
    return tuple(found)


def _own(words: Words, around: Around, text: str) -> int:
    return words.count(text + around.after, blank=around.blank)
