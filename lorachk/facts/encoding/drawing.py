"""Everything a picture of the lengths shows, counted by DuckDB; None where it is not known."""

from __future__ import annotations

from typing import NamedTuple

from lorachk.facts.encoding.histogram import Lengths, lengths
from lorachk.facts.encoding.imagesizes import Block, Point, Sizes, blocks, points, sizes
from lorachk.facts.encoding.known import Select
from lorachk.facts.encoding.labels import Labels, labels

_BINS = 60  # of the large panel
_SMALL = 30


class Drawing(NamedTuple):
    """The panels' numbers."""

    files: tuple[str, ...]  # dataset files
    lengths: Lengths | None
    labels: Labels | None
    sizes: Sizes | None
    points: tuple[Point, ...]
    blocks: tuple[Block, ...]
    missing: str | None  # why tokens are not known, or not of all records

    @property
    def empty(self) -> bool:
        """There is nothing to draw."""
        return self.lengths is None and self.sizes is None


def drawing(select: Select) -> Drawing:
    """Look at the tables `encoding` and `image`."""
    files = tuple(row[0] for row in select("SELECT path::VARCHAR FROM dataset ORDER BY rowid"))
    reasons = [row[0] for row in select("SELECT reason FROM unknown WHERE fact = 'encoding'")]
    return Drawing(
        files,
        lengths(select, _BINS),
        labels(select, _SMALL),
        sizes(select),
        tuple(points(select)),
        tuple(blocks(select, _SMALL)),
        reasons[0] if reasons else None,
    )
