"""What is known of a record's length without its tokenizer: image tokens exactly, text between bounds."""

from __future__ import annotations

from lorachk.facts.collector import ColumnSink, Row
from lorachk.facts.encoding.setup import Recipe, Setup, settings_of
from lorachk.facts.records.lengths import Measured, measure
from lorachk.facts.records.verdicts.minicpmv import Length
from lorachk.facts.records.verdicts.minicpmv import cut as minicpmv_cut
from lorachk.families.visual.minicpmv import MAX_SLICE_NUMS

_CLOSE = "close to the token limit, or an image could not be read; only the tokenizer can tell"
# Trainers that write their templates themselves, and more than the longest of these adds: to a record (with its default
# system message) and to a turn. What a chat template adds nobody knows without it.
_OWN_TEMPLATES = {"llamafactory", "ms-swift", "llava", "fastchat", "qwen-vl", "qwen-vl-series", "internvl"}
_FRAME, _TURN = 256, 32
# A turn with a visible character beside its placeholders is a token at least, and no tokenizer makes more tokens of a
# text than it has bytes.
_BOUNDS = """
SELECT path, record, max_length, image_tokens, low AS text_tokens_min, high AS text_tokens_max,
  CASE WHEN coalesce(image_tokens, 0) + low > max_length THEN true
    WHEN image_tokens + high <= max_length THEN false END AS cut,
  CASE WHEN image_tokens > max_length THEN true WHEN image_tokens + high <= max_length THEN false END AS image_cut
FROM (
  SELECT r.path, r.record, {limit} AS max_length, coalesce(t.least, 0) AS low, {high} AS high,
    CASE WHEN p.path IS NULL THEN 0 ELSE p.tokens END AS image_tokens
  FROM record r LEFT JOIN (
    SELECT path, record, count(*) FILTER (NOT blank AND placeholders = 0 AND len(keys) = 0) AS least,
      count(*) AS turns, sum(bytes)::BIGINT AS bytes
    FROM turn GROUP BY path, record
  ) t ON t.path = r.path AND t.record = r.record LEFT JOIN (
    SELECT path, record, CASE WHEN count(tokens) = count(*) THEN sum(tokens)::BIGINT END AS tokens
    FROM image GROUP BY path, record
  ) p ON p.path = r.path AND p.record = r.record
)
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
        own = recipe.trainer in _OWN_TEMPLATES
        frame = _FRAME + len(str(settings_of(recipe.run).system or "").encode())
        high = f"t.bytes + {frame:d} + {_TURN:d} * t.turns" if own else "NULL::BIGINT"
        sink.remake("encoding", _BOUNDS.format(limit=f"{limit:d}", high=high))
        if not own:
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
