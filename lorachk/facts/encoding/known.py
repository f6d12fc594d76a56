"""What is known of each record's length: exact where it was tokenised, else a bound that the verdict sharpens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

# Runs one query on the facts and gives its rows.
Select = Callable[[str], Iterable[tuple[Any, ...]]]

_BOUNDED = """SELECT *,
  coalesce(tokens, coalesce(image_tokens, 0) + coalesce(text_tokens, text_tokens_min, 0)) AS low,
  coalesce(tokens, image_tokens + coalesce(text_tokens, text_tokens_max)) AS high
FROM encoding"""
_JUDGED = f"""SELECT * REPLACE (
  CASE WHEN longer THEN greatest(low, max_length + 1) ELSE low END AS low,
  CASE WHEN NOT longer THEN least(high, max_length) ELSE high END AS high)
FROM (SELECT *, CASE WHEN tokens IS NOT NULL THEN tokens > max_length WHEN cut IS NOT NULL THEN cut
  WHEN low > max_length THEN true WHEN high <= max_length THEN false END AS longer FROM ({_BOUNDED}))"""  # noqa: S608

# One row per record, with these beside the columns of `encoding`: `low` and `high`, the least and the most tokens it
# can have (`high` NULL: no bound); `longer`, whether it is longer than the limit (NULL: not decided); `size`, the
# number it is shown with, and how that is meant: `exact`, at `least`, or at `most`. A bound never stands on the wrong
# side of the limit: a record that fits is at most as long as the limit, one that is cut at least one token longer.
KNOWN = f"""SELECT *, CASE WHEN longer THEN low ELSE high END AS size,
  CASE WHEN low = high THEN 'exact' WHEN longer THEN 'least' WHEN high IS NOT NULL THEN 'most' END AS meant
FROM ({_JUDGED})"""  # noqa: S608
