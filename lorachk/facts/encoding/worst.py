"""The heaviest records: for the person who wants to see them, and the one that the memory estimate has to hold."""

from __future__ import annotations

from typing import Any

from lorachk.facts.encoding.known import KNOWN, Select

_COLUMNS = (
    *("path", "line", "record", "images", "image_tokens", "text_tokens", "text_tokens_min", "text_tokens_max"),
    *("tokens", "tokens_min", "tokens_max", "max_length", "kept", "supervised", "longer", "verdict", "reason"),
)
# The verdict on the record as a whole knows more than that on its length.
_HEAVIEST = """WITH heaviest AS (FROM ({known}) WHERE size IS NOT NULL
  ORDER BY size DESC, coalesce(image_tokens, 0) DESC, path::VARCHAR, record LIMIT {count:d}),
seen AS (SELECT i.path, i.record, count(*) AS images FROM image i SEMI JOIN heaviest h
  ON h.path = i.path AND h.record = i.record GROUP BY i.path, i.record)
SELECT h.path::VARCHAR, r.line, h.record, coalesce(s.images, r.image_count, 0), h.image_tokens, h.text_tokens,
  h.text_tokens_min, h.text_tokens_max, h.tokens, h.low, h.high, h.max_length, h.kept, h.supervised, h.longer,
  coalesce(r.verdict, h.verdict), coalesce(r.reason, h.reason)
FROM heaviest h LEFT JOIN record r ON r.path = h.path AND r.record = h.record
LEFT JOIN seen s ON s.path = h.path AND s.record = h.record
ORDER BY h.size DESC, coalesce(h.image_tokens, 0) DESC, h.path::VARCHAR, h.record"""


def heaviest(select: Select, count: int) -> list[dict[str, Any]]:
    """The `count` records with the most tokens before the limit, the heaviest first.

    A record without exact `tokens` ranks by the bound it is shown with: at least `tokens_min` when it is longer than
    the limit, else at most `tokens_max`.
    """
    rows = select(_HEAVIEST.format(known=KNOWN, count=count))
    return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]


_LOST = "('replaced', 'dropped', 'crash')"
# What the GPU holds is what the trainer keeps; of two records cut at the limit, the one with more image is heavier.
_TRAINED = f"""SELECT *, coalesce(kept, least(high, max_length), low) AS held
FROM ({KNOWN}) k WHERE (verdict IS NULL OR verdict NOT IN {_LOST}) AND coalesce(kept, size) IS NOT NULL"""  # noqa: S608
_WORST = f"""WITH weighed AS (SELECT t.* FROM ({_TRAINED}) t ANTI JOIN
  (SELECT path, record FROM record WHERE split = 'eval' OR verdict IN {_LOST}) out
  ON out.path = t.path AND out.record = t.record),
worst AS (FROM weighed ORDER BY held DESC, coalesce(image_tokens, 0) DESC, size DESC, path::VARCHAR, record LIMIT 1),
shown AS (SELECT count(*) AS images, sum(i.pieces) AS pieces, list(i.width ORDER BY i.position) AS width,
  list(i.height ORDER BY i.position) AS height
  FROM image i SEMI JOIN worst w ON w.path = i.path AND w.record = i.record)
SELECT w.path::VARCHAR, w.record, w.max_length, coalesce(w.tokens, w.high, w.low),
  coalesce(w.text_tokens, w.high - w.image_tokens, w.text_tokens_min), w.image_tokens, s.images, s.pieces,
  coalesce(s.width, []), coalesce(s.height, []), w.held, w.supervised, w.kept IS NOT NULL AND w.tokens IS NOT NULL
FROM worst w, shown s"""  # noqa: S608
_SHAPE = (
    *("path", "record", "max_length", "tokens", "text_tokens", "image_tokens", "images", "pieces", "width", "height"),
    *("kept", "supervised", "exact"),
)


def worst_row(select: Select) -> dict[str, Any] | None:
    """The row of the table `worst`: of the records that are trained, the one that the GPU holds most tokens of.

    Text that was not tokenised counts with its upper bound, and `exact` is false. None without any such record.
    """
    row = next(iter(select(_WORST)), None)
    return None if row is None else dict(zip(_SHAPE, row, strict=True))
