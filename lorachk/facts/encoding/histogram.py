"""Tokens per record as a histogram that DuckDB counts: what comes out does not grow with the records."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from lorachk.facts.encoding.edges import edges, growing
from lorachk.facts.encoding.known import KNOWN, Select


class Bin(NamedTuple):
    """Records of a length from `low` to `high`, and the tokens they have together, by what these are."""

    low: int
    high: int
    records: int
    sure: int  # records that are this long, or longer; the others are at most this long
    image: int
    text: int  # known not to be supervised
    supervised: int
    unlabelled: int  # text of which it is not known

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.image + self.text + self.supervised + self.unlabelled


class Lengths(NamedTuple):
    """The lengths of all records against the limit."""

    limit: int | None
    records: int  # all
    exact: int  # of known length
    least: int  # of which only a lower bound is known: longer than the limit
    most: int  # of which only an upper bound is known
    longer: int  # longer than the limit
    undecided: int  # perhaps longer; only a tokenizer could tell
    shortest: int
    longest: int
    longest_meant: str  # exact, least, most: what that number is
    bins: tuple[Bin, ...]  # from the first to the last that has records
    growing: bool  # wider for longer records

    @property
    def unknown(self) -> int:
        """Records that are in no bin: nothing bounds their length."""
        return self.records - self.exact - self.least - self.most


_BY_SIZE = f"""SELECT size, count(*) AS n, count(*) FILTER (meant <> 'most') AS sure, sum(image) AS image,
  sum(size - image) FILTER (labels IS NULL) AS unlabelled, sum(labels) AS supervised,
  sum(size - image - labels) AS text
FROM (SELECT *, CASE WHEN supervised_before >= 0 THEN least(supervised_before, size - image) END AS labels
  FROM (SELECT *, least(coalesce(image_tokens, 0), size) AS image FROM ({KNOWN}) WHERE size >= 0))
GROUP BY size"""  # noqa: S608


def lengths(select: Select, many: int) -> Lengths | None:
    """The histogram in about `many` bins; None when no record's tokens or image tokens are known."""
    counted = next(
        iter(
            select(
                "SELECT count(*), max(max_length), count(*) FILTER (meant = 'exact'), "  # noqa: S608
                "count(*) FILTER (meant = 'least'), count(*) FILTER (meant = 'most'), count(*) FILTER (longer), "
                "count(*) FILTER (longer IS NULL AND max_length IS NOT NULL AND high IS NOT NULL), "
                "min(size), max(size), arg_max(meant, size), count(tokens) + count(*) FILTER (image_tokens > 0) "
                f"FROM ({KNOWN})"
            )
        )
    )
    records, limit, exact, least, most, longer, undecided, shortest, longest, meant, worth = counted
    if not worth or shortest is None:
        return None
    found = edges(shortest, _middle(select), longest, limit, many)
    rows = select(
        "SELECT low, high, sum(n), sum(sure), sum(image), sum(text), sum(supervised), sum(unlabelled) "  # noqa: S608
        f"FROM ({_BY_SIZE}) JOIN {_bins(found)} ON size > low AND size <= high GROUP BY low, high"
    )
    full = {row[0]: [int(value or 0) for value in row[2:]] for row in rows}
    bins = [
        Bin(low + 1, high, *full.get(low, [0] * 6)) for low, high in pairwise(found)
    ]  # empty ones between others are shown
    while bins and not bins[0].records:
        bins.pop(0)
    while bins and not bins[-1].records:
        bins.pop()
    numbers = (limit, records, exact, least, most, longer, undecided, shortest, longest, meant)
    return Lengths(*numbers, tuple(bins), growing(found))


def _middle(select: Select) -> int:
    """The median of the lengths; from their distinct values, so that it needs no memory for the rest."""
    return int(
        next(
            iter(
                select(
                    "SELECT min(size) FROM (SELECT size, sum(n) OVER (ORDER BY size) AS upto, sum(n) OVER () AS total "  # noqa: S608
                    f"FROM ({_BY_SIZE})) WHERE 2 * upto >= total"
                )
            )
        )[0]
    )


def _bins(found: list[int]) -> str:
    """A table of bins for a query."""
    rows = ", ".join(f"({low:d}, {high:d})" for low, high in pairwise(found))
    return f"(VALUES {rows}) AS bins(low, high)"
