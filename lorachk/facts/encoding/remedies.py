"""The table `remedy`: which values of which setting would make images small enough, and what they would leave.

Text stays as it is, so that a record's length under another value is its length now, less its image tokens, plus those
that the same images would take. Every different size of an image is counted once per value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorachk.facts.collector import ColumnSink, Row
from lorachk.facts.encoding.imagetokens import different
from lorachk.facts.encoding.setup import Recipe, images_of
from lorachk.families.visual import Refused
from lorachk.families.visual.minicpmv import Merged, Resampled
from lorachk.families.visual.resized import SmartResize
from lorachk.families.visual.tiled import Dynamic

if TYPE_CHECKING:
    from lorachk.families.visual.before import Prepared

_SLICES = (6, 4, 3, 2, 1)
_SQUARES = (1280, 1024, 896, 768, 672, 512, 448, 336, 224)  # sides; the budget is the square's pixels
_TYPES = {"value": "BIGINT", **dict.fromkeys(("width", "height", "images", "tokens"), "INTEGER")}
# Lengths are exact or upper bounds; where one is neither, nothing can be said of what would be left.
_LEFT = """
WITH pictures AS (
  SELECT i.path, i.record, t.value, sum(t.tokens) AS tokens, count(t.tokens) < count(*) AS unread
  FROM (SELECT *, count(*) OVER (PARTITION BY path, record) AS images FROM image) i
  CROSS JOIN (SELECT DISTINCT value FROM remedies) v
  LEFT JOIN remedies t ON t.value = v.value AND t.width = i.width AND t.height = i.height AND t.images = {images}
  GROUP BY i.path, i.record, t.value
)
SELECT p.value, count(*) FILTER (e.length - e.image_tokens + p.tokens > {limit}),
  max(e.length - e.image_tokens + p.tokens), bool_and(e.exact)
FROM (SELECT path, record, image_tokens, tokens IS NOT NULL AS exact,
    coalesce(tokens, image_tokens + text_tokens_max) AS length FROM encoding
  WHERE image_tokens > 0) e
JOIN pictures p ON p.path = e.path AND p.record = e.record
WHERE NOT p.unread GROUP BY p.value ORDER BY p.value DESC
"""


def rows(sink: ColumnSink, recipe: Recipe, images: Prepared) -> Iterator[Row]:
    """A row per value that would help; none when no record with an image is longer than the limit."""
    limit = recipe.run.max_length
    found = _setting(recipe, images)
    if limit is None or found is None:
        return
    ((cut, boundless),) = sink.select(
        "SELECT count(*) FILTER (cut), count(*) FILTER (tokens IS NULL AND text_tokens_max IS NULL) FROM encoding "
        "WHERE image_tokens > 0"
    )
    if not cut or boundless:
        return
    name, values = found
    ((text_cut,),) = sink.select(
        f"SELECT count(*) FROM encoding WHERE cut AND coalesce(image_tokens, 0) = 0 AND {limit:d} > 0"  # noqa: S608
    )
    shared = images.per_record is not None
    sink.stage("remedies", _TYPES, _counted(sink, recipe, images, name, values))
    limited = _LEFT.format(limit=f"{limit:d}", images="i.images" if shared else "1")
    fewest = cut
    for value, left, largest, exact in sink.select(limited):
        if left < fewest:  # a value that leaves as many as a larger one is no help
            fewest = left
            yield {
                "setting": name,
                "value": value,
                "records_cut": left + text_cut,
                "largest": largest,
                "exact": bool(exact),
            }


def _setting(recipe: Recipe, images: Prepared) -> tuple[str, list[int]] | None:
    """The setting that decides how many tokens images take, as the trainer names it, and smaller values of it."""
    values, trainer = images.settings.values, recipe.trainer
    if trainer == "llamafactory":
        now = _number(recipe, "image_max_pixels", 768 * 768)
        return "image_max_pixels", [side * side for side in _SQUARES if side * side < now]
    if isinstance(values, (Resampled, Merged)):
        name = "MAX_SLICE_NUMS" if trainer == "ms-swift" else "max_slice_nums"
        return name, [count for count in _SLICES if count < values.max_slice_nums]
    if isinstance(values, SmartResize):
        names = {"ms-swift": "MAX_PIXELS", "qwen-vl-series": "image_max_pixels"}
        unit = values.patch_size * values.merge_size
        now = _number(recipe, names.get(trainer or "", "max_pixels"), values.max_pixels)
        steps = [max(1, round(side / unit)) ** 2 * unit**2 for side in _SQUARES]
        return names.get(trainer or "", "max_pixels"), [step for step in dict.fromkeys(steps) if step < now]
    if isinstance(values, Dynamic) and values.cut and trainer in ("internvl", "ms-swift", None):
        name = "max_dynamic_patch" if trainer == "internvl" else "MAX_NUM" if trainer == "ms-swift" else "max_tiles"
        return name, [count for count in _SLICES if count < values.max_tiles]
    return None


def _number(recipe: Recipe, name: str, default: int) -> int:
    stated = {**recipe.environment, **recipe.run.training_args}.get(name)
    try:
        return default if stated is None else int(stated)
    except (TypeError, ValueError):
        return default


def _counted(
    sink: ColumnSink, recipe: Recipe, images: Prepared, name: str, values: list[int]
) -> Iterator[dict[str, Any]]:
    sizes = list(different(sink, images))
    for value in values:
        prepared, _ = images_of(_with(recipe, name, value))
        if prepared is None:
            continue
        for width, height, count in sizes:
            try:
                tokens = prepared.count(width, height, images=count).tokens
            except Refused:
                continue
            yield {"value": value, "width": width, "height": height, "images": count, "tokens": tokens}


def _with(recipe: Recipe, name: str, value: int) -> Recipe:
    """The recipe with another value of a setting."""
    if name == "max_slice_nums":
        return replace(recipe, run=replace(recipe.run, max_slice_nums=value))
    if name.isupper():
        return replace(recipe, environment={**recipe.environment, name: str(value)})
    arguments = {**recipe.run.training_args, name: value}
    return replace(recipe, run=replace(recipe.run, training_args=arguments))
