"""Tokens, features and markers of every image, by its size: each different size is counted once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lorachk.facts.collector import ColumnSink, Row
from lorachk.families.visual import Refused
from lorachk.families.visual.before import Prepared

_TYPES = {
    **dict.fromkeys(("width", "height", "images", "pieces", "tokens", "features", "markers"), "INTEGER"),
    "refused": "VARCHAR",
}
# How many images the record has, where the trainer divides something among them; the same for all elsewhere.
_SHARED = "count(*) OVER (PARTITION BY i.path, i.record)"
# Digits of an image's number beyond the first: each is a token. MiniCPM-V 4.6 and the processors number all images, the
# scripts those that were cut.
_DIGITS = {
    "always": "len(i.position::VARCHAR) - 1",
    "sliced": """CASE WHEN s.pieces > 1 THEN len(coalesce(sum((s.pieces > 1)::INTEGER) OVER (
        PARTITION BY i.path, i.record ORDER BY i.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ), 0)::BIGINT::VARCHAR) - 1 ELSE 0 END""",
    "never": "0",
}


def of_record(images: Prepared) -> str:
    """SQL for how many images the record of an image `i` has, as far as that decides their tokens."""
    return _SHARED if images.per_record is not None else "1"


def different(sink: ColumnSink, images: Prepared) -> Iterator[tuple[Any, ...]]:
    """The different widths and heights of images, and how many images their records have."""
    return sink.select(
        "SELECT DISTINCT width, height, images FROM "  # noqa: S608
        f"(SELECT width, height, {of_record(images)} AS images FROM image i) WHERE width > 0 AND height > 0"
    )


def fill(sink: ColumnSink, images: Prepared) -> None:
    """Fill pieces, tokens, features, markers and refused of the table `image`."""
    shared = of_record(images)
    sizes = different(sink, images)
    sink.stage("size_tokens", _TYPES, _counted(images, sizes))
    digits = _DIGITS[getattr(images.settings.values, "image_id", "never")]
    counted = ("pieces", "features", "markers", "refused")
    sink.remake(
        "image",
        f"SELECT i.* EXCLUDE (tokens, images, {', '.join(counted)}), {', '.join(f's.{c}' for c in counted)}, "  # noqa: S608
        f"s.tokens + {digits} AS tokens FROM (SELECT i.*, {shared} AS images FROM image i) i LEFT JOIN size_tokens s "
        "ON s.width = i.width AND s.height = i.height AND s.images = i.images AND i.decodes IS DISTINCT FROM false",
    )
    ((unread, refused),) = sink.select(
        "SELECT count(*) FILTER (tokens IS NULL AND refused IS NULL), count(refused) FROM image"
    )
    if unread:
        sink.unknown("image.tokens", f"{unread:,} images could not be read", unread)
    if refused:
        sink.unknown("image.tokens", f"{refused:,} images are refused by the model's processor", refused)


def _counted(images: Prepared, sizes: Iterator[tuple[Any, ...]]) -> Iterator[Row]:
    for width, height, count in sizes:
        row: dict[str, Any] = {"width": width, "height": height, "images": count}
        try:
            found = images.count(width, height, images=count)
        except Refused as reason:
            yield {**row, "refused": str(reason)}
        else:
            numbers = {"pieces": found.pieces, "tokens": found.tokens, "features": found.features}
            yield {**row, **numbers, "markers": found.starts}
