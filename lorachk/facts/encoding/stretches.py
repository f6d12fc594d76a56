"""What is left of an encoded record in several stretches, counted: for trainers that cut turn by turn or in between."""

from __future__ import annotations

from collections.abc import Sequence

from lorachk.facts.encoding.cutting import Marks, left
from lorachk.facts.encoding.types import Cut, Encoded, ImageBlock, Span

NONE: frozenset[int] = frozenset()


def gathered(
    encoded: Encoded,
    blocks: Sequence[ImageBlock],
    marks: Marks,
    spans: Sequence[Span],
    *,
    tail: frozenset[int] = NONE,
    unlabelled: frozenset[int] = NONE,
) -> Cut:
    """The numbers of what is left in `spans`, which are in order.

    `tail`: tokens that may stand after the end of a turn (the newline of ChatML). `unlabelled`: positions in the spans
    whose label the cut takes away.
    """
    whole = len(spans) == 1 and spans[0] == (0, len(encoded.ids))
    kept = encoded if whole and not unlabelled else _joined(encoded, spans, unlabelled)
    row = left(kept, blocks, marks)
    closed = _closed(kept, marks, tail) if row.ends_with_eos is False and tail else row.ends_with_eos
    if kept is encoded:
        return row._replace(ends_with_eos=closed)
    images = sum(end - start for start, end in encoded.images)
    return row._replace(
        total=len(encoded.ids),
        text_tokens=len(encoded.ids) - images,
        image_tokens=images,
        supervised_before=encoded.supervised.count(True),
        ends_with_eos=closed,
    )


def after_stop(ids: Sequence[int], stops: frozenset[int]) -> frozenset[int]:
    """The tokens that follow the last stop in what closes a turn."""
    last = max((n for n, token in enumerate(ids) if token in stops), default=len(ids))
    return frozenset(ids[last + 1 :])


def _joined(encoded: Encoded, spans: Sequence[Span], unlabelled: frozenset[int]) -> Encoded:
    """The record that the stretches make."""
    ids: list[int] = []
    supervised: list[bool] = []
    images: list[Span] = []
    relabelled: dict[int, int] = {}
    for start, end in spans:
        shift = len(ids) - start
        ids += encoded.ids[start:end]
        supervised += encoded.supervised[start:end]
        for position in unlabelled:
            if start <= position < end:
                supervised[position + shift] = False
        images += [Span(max(a, start) + shift, min(b, end) + shift) for a, b in encoded.images if a < end and b > start]
        relabelled.update({p + shift: token for p, token in encoded.relabelled.items() if start <= p < end})
    return encoded._replace(ids=ids, supervised=supervised, images=images, relabelled=relabelled)


def _closed(encoded: Encoded, marks: Marks, tail: frozenset[int]) -> bool:
    """Whether the last label but the tail ends a turn."""
    for position in range(len(encoded.ids) - 1, -1, -1):
        if encoded.supervised[position]:
            token = encoded.relabelled.get(position, encoded.ids[position])
            if token not in tail:
                return token in marks.eos
    return False
