"""What is known of a record's length without its tokenizer: image tokens exactly, text between bounds."""

from __future__ import annotations

from lorachk.facts.collector import ColumnSink, Row
from lorachk.facts.encoding.setup import Recipe, Setup
from lorachk.facts.records.lengths import Measured, measure
from lorachk.facts.records.verdicts.minicpmv import Length
from lorachk.facts.records.verdicts.minicpmv import cut as minicpmv_cut
from lorachk.families.visual.minicpmv import MAX_SLICE_NUMS

_CLOSE = "close to the token limit, or an image could not be read; only the tokenizer can tell"
# A turn with a visible character beside its placeholders is a token at least.
_LEAST = """
SELECT r.path, r.record, {limit} AS max_length, p.tokens AS image_tokens, coalesce(t.least, 0) AS text_tokens_min,
  CASE WHEN coalesce(p.tokens, 0) + coalesce(t.least, 0) > {limit} THEN true END AS cut,
  CASE WHEN p.tokens > {limit} THEN true END AS image_cut
FROM record r LEFT JOIN (
  SELECT path, record, count(*) FILTER (NOT blank AND placeholders = 0 AND len(keys) = 0) AS least
  FROM turn GROUP BY path, record
) t ON t.path = r.path AND t.record = r.record LEFT JOIN (
  SELECT path, record, CASE WHEN count(tokens) = count(*) THEN sum(tokens)::BIGINT END AS tokens
  FROM image GROUP BY path, record
) p ON p.path = r.path AND p.record = r.record
"""


def fill(sink: ColumnSink, recipe: Recipe, used: Setup) -> None:
    """Fill `encoding` with bounds, and state what only a tokenizer can tell. There must be a limit."""
    limit, why = recipe.run.max_length, used.no_encoder or "no tokenizer"
    assert limit is not None
    # The frames that are assumed around a text are those of MiniCPM-V's templates.
    if (recipe.run.family or "").startswith("minicpm"):
        slices = recipe.run.max_slice_nums
        measured = measure(sink.select, MAX_SLICE_NUMS if slices is None else slices)
        sink.add("encoding", (_row(recipe, *one, limit) for one in measured))
    else:
        sink.remake("encoding", _LEAST.format(limit=f"{limit:d}"))
        sink.unknown("encoding.text_tokens_max", f"how many tokens a text has at most: {why}")
    for column in ("cut", "image_cut"):
        ((count,),) = sink.select(f"SELECT count(*) FROM encoding WHERE {column} IS NULL")  # noqa: S608
        if count:
            sink.unknown(f"encoding.{column}", f"{count:,} records are {_CLOSE}: {why}", count)
    for column in ("tokens", "text_tokens", "supervised"):
        sink.unknown(f"encoding.{column}", why)


def _row(recipe: Recipe, path: str, record: int, found: Measured, limit: int) -> Row:
    fate = None
    if recipe.trainer == "minicpmv":
        fate = minicpmv_cut(Length(limit, found.total, found.before_labels, found.later_images))
    return {
        "path": path,
        "record": record,
        "max_length": limit,
        "image_tokens": found.images.low if found.images.low == found.images.high else None,
        "text_tokens_min": found.text.low,
        "text_tokens_max": found.text.high,
        "cut": found.beyond([found.total], limit),
        "image_cut": found.beyond(found.image_ends, limit),
        "verdict": fate.kind if fate else None,
        "reason": fate.reason if fate else None,
    }
