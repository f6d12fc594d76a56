"""What is left of an encoded record between two positions, counted; the trainers decide which positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lorachk.facts.encoding.types import Cut, Encoded, ImageBlock, Tokens


class Marks(NamedTuple):
    """Ids that are counted: markers around images and slices, the visual placeholder, ends of turn and of text.

    `everywhere`: the model takes every placeholder for a place of a feature, also one that stands in the text; else
    only those inside the image blocks are counted. `blank`: white space that templates write behind an end of turn.
    """

    starts: frozenset[int] = frozenset()
    ends: frozenset[int] = frozenset()
    placeholders: frozenset[int] = frozenset()
    eos: frozenset[int] = frozenset()
    everywhere: bool = True
    blank: frozenset[int] = frozenset()


def ids_of(tokens: Tokens, *names: str | None) -> frozenset[int]:
    """Ids of those tokens that the vocabulary has."""
    found = (tokens.id_of(name) for name in names if name)
    return frozenset(number for number in found if number is not None)


def left(encoded: Encoded, blocks: Sequence[ImageBlock], marks: Marks, start: int = 0, end: int | None = None) -> Cut:
    """The numbers of what is left from `start` up to `end`, with the fate that `encoded` already has.

    Text and image tokens are those of the whole record, so that they add up to `total`.
    """
    total = len(encoded.ids)
    end = total if end is None else min(end, total)
    whole = start == 0 and end == total
    ids = encoded.ids if whole else encoded.ids[start:end]
    supervised = encoded.supervised if whole else encoded.supervised[start:end]
    image_tokens = sum(span.end - span.start for span in encoded.images)
    return Cut(
        total=total,
        kept=len(ids),
        text_tokens=total - image_tokens,
        image_tokens=image_tokens,
        starts=_count(ids, marks.starts),
        ends=_count(ids, marks.ends),
        features=_features(encoded, marks, start, end, ids),
        features_wanted=sum(block.features for block in blocks),
        supervised_before=encoded.supervised.count(True),
        supervised=supervised.count(True),
        ends_with_eos=_ends_with_eos(encoded, supervised, start, marks),
        fate=encoded.fate,
        reason=encoded.reason,
    )


def _count(ids: list[int], wanted: frozenset[int]) -> int:
    return sum(map(ids.count, wanted))


def _features(encoded: Encoded, marks: Marks, start: int, end: int, ids: list[int]) -> int:
    if marks.everywhere:
        return _count(ids, marks.placeholders)
    spans = ((max(span.start, start), min(span.end, end)) for span in encoded.images)
    return sum(_count(encoded.ids[a:b], marks.placeholders) for a, b in spans if a < b)


def _ends_with_eos(encoded: Encoded, supervised: list[bool], start: int, marks: Marks) -> bool | None:
    """Whether the last label is an end; the line feed that templates write behind an end of turn does not count."""
    found: bool | None = None
    for position in range(len(supervised) - 1, -1, -1):
        if supervised[position]:
            at = start + position
            label = encoded.relabelled.get(at, encoded.ids[at])
            if label in marks.eos:
                return True
            found = False
            if label not in marks.blank:
                break
    return found


def positions(ids: list[int], wanted: int | None) -> list[int]:
    """Where a token stands."""
    found: list[int] = []
    if wanted is None:
        return found
    at = -1
    try:
        while True:
            at = ids.index(wanted, at + 1)
            found.append(at)
    except ValueError:
        return found


def image_is_cut(cut: Cut) -> bool:
    """Whether what is left of a record lacks a part of an image."""
    return cut.kept < cut.total and (cut.features < cut.features_wanted or cut.starts != cut.ends)
