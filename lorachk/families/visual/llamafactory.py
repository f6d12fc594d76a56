"""LLaMA-Factory: how its plugins prepare images, src/llamafactory/data/mm_plugin.py at ff6d4d1.

`_preprocess_image` brings an image within image_max_pixels (768 * 768 when not given) and image_min_pixels (32 * 32)
before the processor sees it. MiniCPM-V 4.6's plugin does not call it.
"""

from __future__ import annotations

import math
from functools import partial

from lorachk.families.visual.fixed import Soft
from lorachk.families.visual.minicpmv import Merged, Resampled
from lorachk.families.visual.result import Refused, Size
from lorachk.families.visual.settings import DEFAULT, Settings
from lorachk.families.visual.steps import Options, Resize, drawable, unchanged
from lorachk.families.visual.tiled import Dynamic

_AS_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "glm4v")
_PLAIN = ("llava", "llava_next", "mllama", "paligemma", "gemma3", "gemma3n", "gemma4", "internvl")
_MINICPMV = ("minicpmv26", "minicpmo", "minicpmv4", "minicpmv45")
_OWN = f"{DEFAULT} of llamafactory"


def prepare(settings: Settings, options: Options) -> tuple[Settings, Resize] | None:
    """Settings and resizing; None for a family without a plugin. See `before.prepare`."""
    family, values = settings.family, settings.values
    if isinstance(values, Merged) and family == "minicpmv46":
        # The variable changes the count of placeholders, the sizes stay those of the processor's mode.
        mode = options.text("DOWNSAMPLE_MODE", "")
        return (
            settings.override({"token_mode": mode}, "llamafactory: DOWNSAMPLE_MODE") if mode else settings
        ), unchanged
    if family not in (*_AS_QWEN, *_PLAIN, *_MINICPMV):
        return None
    most, least = options.number("image_max_pixels", 768 * 768), options.number("image_min_pixels", 32 * 32)
    if most < least:
        raise Refused("`image_max_pixels` cannot be smaller than `image_min_pixels`.")
    if isinstance(values, Resampled):
        settings = settings.override({"writer": "processor"}, _OWN)
    if isinstance(values, Soft) and family == "gemma3":
        settings = options.into(settings, {"do_pan_and_scan": False}, do_pan_and_scan="image_do_pan_and_scan")
    if isinstance(values, Dynamic):  # only the -hf checkpoints, and one tile unless asked for
        settings = settings.override({"writer": "transformers", "min_tiles": 1, "max_tiles": 12}, _OWN)
        settings = options.into(settings, {"cut": False}, cut="crop_to_patches")
    return settings, partial(shrink, most=most, least=least, as_qwen=family in _AS_QWEN)


def shrink(size: Size, *, most: int, least: int, as_qwen: bool = False) -> Size:
    """The size within `least` and `most` pixels. `as_qwen`: also 28 pixels a side, and at most 180 to 1.

    Raises Refused where it leaves a side without pixels.
    """
    if size[0] * size[1] > most:
        size = _scaled(size, most)
    if size[0] * size[1] < least:
        size = _scaled(size, least)
    if not as_qwen:
        return size
    width, height = (max(side, 28) for side in size)
    if width / height > 200:
        width = height * 180
    if height / width > 200:
        height = width * 180
    return width, height


def _scaled(size: Size, pixels: int) -> Size:
    factor = math.sqrt(pixels / (size[0] * size[1]))
    return drawable((int(size[0] * factor), int(size[1] * factor)))
