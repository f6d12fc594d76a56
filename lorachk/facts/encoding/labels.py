"""Supervised tokens per record before and after the limit, counted by DuckDB."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from lorachk.facts.encoding.edges import edges, growing
from lorachk.facts.encoding.known import Select


class Labels(NamedTuple):
    """Records by their supervised tokens: bins as edges, and the records in each before and after the limit."""

    records: int  # whose labels are known
    unlabelled: int  # which had none to begin with
    emptied: int  # which have none left because of the limit
    shortened: int  # which have fewer left
    edges: tuple[int, ...]
    before: tuple[int, ...]
    left: tuple[int, ...]
    growing: bool


_BY_SIZE = """SELECT before, after, count(*) AS n FROM (
  SELECT supervised_before AS before, coalesce(supervised, supervised_before) AS after FROM encoding
  WHERE supervised_before IS NOT NULL) GROUP BY before, after"""


def labels(select: Select, many: int) -> Labels | None:
    """The histogram; None when no record's labels are known."""
    row = next(
        iter(
            select(
                "SELECT sum(n), sum(n) FILTER (before = 0), sum(n) FILTER (before > 0 AND after = 0), "  # noqa: S608
                "sum(n) FILTER (after < before AND after > 0), min(before) FILTER (before > 0), max(before), "
                f"min(after) FILTER (after > 0) FROM ({_BY_SIZE})"
            )
        )
    )
    records, unlabelled, emptied, shortened, fewest, most, least = row
    if not records or not most:
        return None
    low = min(n for n in (fewest, least) if n is not None)
    found = edges(low, _middle(select), most, None, many)
    before, left = (_counts(select, column, found) for column in ("before", "after"))
    whole = (int(records), int(unlabelled or 0), int(emptied or 0), int(shortened or 0))
    return Labels(*whole, tuple(found), before, left, growing(found))


def _middle(select: Select) -> int:
    row = next(
        iter(
            select(
                "SELECT min(before) FROM (SELECT before, sum(n) OVER (ORDER BY before) AS upto, "  # noqa: S608
                f"sum(n) OVER () AS total FROM (SELECT before, sum(n) AS n FROM ({_BY_SIZE}) WHERE before > 0 "
                "GROUP BY before)) WHERE 2 * upto >= total"
            )
        )
    )
    return int(row[0])


def _counts(select: Select, column: str, found: list[int]) -> tuple[int, ...]:
    bins = ", ".join(f"({low:d}, {high:d})" for low, high in pairwise(found))
    rows = select(
        f"SELECT low, sum(n) FROM (SELECT {column} AS value, sum(n) AS n FROM ({_BY_SIZE}) GROUP BY {column}) "  # noqa: S608
        f"JOIN (VALUES {bins}) AS bins(low, high) ON value > low AND value <= high WHERE value > 0 GROUP BY low"
    )
    counted = {int(low): int(n) for low, n in rows}
    return tuple(counted.get(low, 0) for low in found[:-1])
