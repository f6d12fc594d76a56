"""Visual-token arithmetic: how many tokens an image takes, by the model's own rules, without reading a pixel.

    settings = resolve("qwen2_5_vl", preprocessor={"min_pixels": 3136, "max_pixels": 1003520})
    count(1920, 1080, settings).tokens

Every family that transformers implements is held against the installed processor in tests/test_visual_*.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorachk.families.visual import fixed, llava, minicpmv, resized, tiled
from lorachk.families.visual.result import Refused, Size, Visual, exact
from lorachk.families.visual.settings import Files, Json, Settings, Values, load, nested, read

__all__ = ["FAMILIES", "Refused", "Settings", "Size", "Visual", "count", "exact", "resolve", "resolve_folder", "write"]

FAMILIES: dict[str, Values] = {
    **minicpmv.FAMILIES,
    **resized.FAMILIES,
    **llava.FAMILIES,
    **tiled.FAMILIES,
    **fixed.FAMILIES,
}


def resolve(
    family: str | None,
    config: Json | None = None,
    preprocessor: Json | None = None,
    processor: Json | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings | None:
    """The settings of a family from what its model folder holds; None for a family without arithmetic here.

    `config`, `preprocessor`, `processor`: the content of config.json, preprocessor_config.json, processor_config.json.
    `overrides`: fields of the family's values that the run or its trainer decides (see `before`). Raises Refused for a
    value that no processor can work with.
    """
    return _resolve(family, nested(config, preprocessor, processor), overrides)


def resolve_folder(
    family: str | None, folder: str | Path, overrides: Mapping[str, Any] | None = None
) -> Settings | None:
    """`resolve` with the JSON files of a model folder."""
    return _resolve(family, load(folder), overrides)


def count(width: int, height: int, settings: Settings, *, number: int = 0) -> Visual:
    """What an image of `width` x `height` pixels becomes.

    `number`: the image's number in its record, from 0, which some families write out (MiniCPM-V: its digits are
    tokens; whether whole images count is `values.image_id`). Raises Refused where the processor raises.
    """
    return settings.count(width, height, number=number)


def write(width: int, height: int, settings: Settings, *, number: int = 0) -> str:
    """What `count` counts, as text: markers, placeholders, newlines, in the special tokens of the official tokenizers.

    It stands where the chat template has the image's mark, so that `Visual.outside` tokens around it are not in it.
    """
    return settings.write(width, height, number=number)


def _resolve(family: str | None, files: Files, overrides: Mapping[str, Any] | None) -> Settings | None:
    start = FAMILIES.get(family or "")
    if start is None or family is None:
        return None
    return read(family, start, files, overrides or {})
