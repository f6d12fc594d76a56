"""Image sizes, pieces and tokens, counted by DuckDB: in a line, and as points and bars of a picture."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from lorachk.facts.encoding.edges import edges
from lorachk.facts.encoding.known import Select

_POINTS = 500  # different sizes that are shown one by one; more are put together
_PER_OCTAVE = 6
# Pieces that are counted together: at most these, and more.
PIECES = (1, 2, 4, 9)


class Sizes(NamedTuple):
    """All image references; an image that stands in several records counts in each."""

    images: int
    sized: int  # whose width and height are known
    smallest: tuple[int, int] | None  # width, height; by area
    largest: tuple[int, int] | None
    pieces: tuple[int, int] | None  # fewest, most per image
    tokens: tuple[int, int, int] | None  # fewest, middle, most per image
    counted: int  # images whose tokens are known


class Point(NamedTuple):
    """Images of about one size."""

    width: float
    height: float
    images: int
    tokens: float | None  # on average


class Block(NamedTuple):
    """Images that take from `low` to `high` tokens; `images` by how many pieces they are cut into, as in PIECES."""

    low: int
    high: int
    images: tuple[int, ...]


def sizes(select: Select) -> Sizes | None:
    """The sizes in a line; None when no image has a known size."""
    row = next(
        iter(
            select(
                "SELECT count(*), count(*) FILTER (width > 0 AND height > 0), "
                "arg_min([width, height], width::BIGINT * height) FILTER (width > 0 AND height > 0), "
                "arg_max([width, height], width::BIGINT * height) FILTER (width > 0 AND height > 0), "
                "min(pieces), max(pieces), min(tokens), max(tokens), count(tokens) FROM image"
            )
        )
    )
    images, sized, smallest, largest, fewest, most, least, dearest, counted = row
    if not sized:
        return None
    tokens = (least, _middle(select), dearest) if counted else None
    pieces = None if fewest is None else (fewest, most)
    return Sizes(images, sized, _pair(smallest), _pair(largest), pieces, tokens, counted)


def _pair(value: list[int]) -> tuple[int, int]:
    return value[0], value[1]


def _middle(select: Select) -> int:
    by_value = "SELECT tokens, count(*) AS n FROM image WHERE tokens IS NOT NULL GROUP BY tokens"
    row = next(
        iter(
            select(
                "SELECT min(tokens) FROM (SELECT tokens, sum(n) OVER (ORDER BY tokens) AS upto, "  # noqa: S608
                f"sum(n) OVER () AS total FROM ({by_value})) WHERE 2 * upto >= total"
            )
        )
    )
    return int(row[0])


def points(select: Select) -> list[Point]:
    """Different sizes with their images; near ones together when there are many."""
    known = "FROM image WHERE width > 0 AND height > 0"
    distinct = f"SELECT DISTINCT width, height {known} LIMIT {_POINTS + 1:d}"
    if len(list(select(distinct))) <= _POINTS:
        found = select(f"SELECT width, height, count(*), avg(tokens) {known} GROUP BY width, height ORDER BY ALL")
    else:
        cell = ", ".join(f"floor(log2({side}) * {_PER_OCTAVE:d})" for side in ("width", "height"))
        found = select(f"SELECT avg(width), avg(height), count(*), avg(tokens) {known} GROUP BY {cell} ORDER BY ALL")
    return [Point(float(width), float(height), int(n), tokens) for width, height, n, tokens in found]


def blocks(select: Select, many: int) -> list[Block]:
    """Images by the tokens they take, in about `many` bins; empty when these are not known."""
    known = sizes(select)
    if known is None or known.tokens is None:
        return []
    low, middle, high = known.tokens
    found = edges(low, middle, high, None, many)
    classes = " ".join(f"WHEN pieces <= {most:d} THEN {n:d}" for n, most in enumerate(PIECES))
    bins = ", ".join(f"({first:d}, {last:d})" for first, last in pairwise(found))
    rows = select(
        f"SELECT low, CASE {classes} WHEN pieces IS NULL THEN 0 ELSE {len(PIECES):d} END AS class, sum(n) "  # noqa: S608
        "FROM (SELECT tokens, pieces, count(*) AS n FROM image WHERE tokens IS NOT NULL GROUP BY tokens, pieces) "
        f"JOIN (VALUES {bins}) AS bins(low, high) ON tokens > low AND tokens <= high GROUP BY low, class"
    )
    counted: dict[int, list[int]] = {}
    for first, number, n in rows:
        counted.setdefault(first, [0] * (len(PIECES) + 1))[number] += int(n)
    empty = [0] * (len(PIECES) + 1)
    return [Block(first + 1, last, tuple(counted.get(first, empty))) for first, last in pairwise(found)]
