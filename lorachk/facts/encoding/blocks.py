"""From the visual-token arithmetic to the image blocks an encoder places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lorachk.facts.encoding.types import ImageBlock

if TYPE_CHECKING:
    from lorachk.families.visual.result import Size, Visual
    from lorachk.families.visual.settings import Settings


def blocks(sizes: Sequence[Size], settings: Settings, *, nested: bool = False) -> list[ImageBlock]:
    """The blocks of a record's images, (width, height) in the record's order. Raises visual.Refused.

    MiniCPM-V's script numbers only the images that it cuts, and writes its blocks into the text. `nested`: the trainer
    hands the processor a list of images per record (TRL), which LLaVA-OneVision treats in another way from two on.
    """
    from lorachk.families.visual import count, write
    from lorachk.families.visual.fixed import Gridded, Quartered
    from lorachk.families.visual.llava import OneVision
    from lorachk.families.visual.minicpmv import Merged, Resampled, grid

    values = settings.values
    if isinstance(values, OneVision) and nested and len(sizes) > 1:
        settings = replace(settings, values=replace(values, nested=True))
    found: list[ImageBlock] = []
    cut_before = 0
    for number, (width, height) in enumerate(sizes):
        if isinstance(values, (Merged, Quartered, Gridded)):
            text = write(width, height, settings, number=number)
            found.append(block(count(width, height, settings, number=number), text))
            continue
        if not isinstance(values, Resampled) or values.writer != "script":
            found.append(block(count(width, height, settings, number=number)))
            continue
        cut = grid((width, height), values.max_slice_nums, values.scale_resolution)
        text = script_text(values.query_num, cut, cut_before, new_schema=values.new_schema)
        found.append(block(count(width, height, settings, number=cut_before), text))
        cut_before += cut is not None
    return found


def block(visual: Visual, text: str | None = None) -> ImageBlock:
    """One image's block."""
    return ImageBlock(visual.tokens, visual.features, visual.pieces, visual.starts, visual.ends, text=text)


def script_text(query_num: int, grid: Size | None, number: int, *, new_schema: bool) -> str:
    """An image's block as MiniCPM-V's finetune/dataset.py writes it (0dbb566, `preprocess`, `get_grid_placeholder`)."""
    whole = f"<image>{'<unk>' * query_num}</image>"
    if grid is None:
        return whole
    columns, rows = grid
    cell = f"<slice>{'<unk>' * query_num}</slice>" if new_schema else whole
    slices = "\n".join([cell * columns] * rows)
    return f"<image_id>{number}</image_id>{whole}{slices}" if new_schema else f"{whole}<slice>{slices}</slice>"
