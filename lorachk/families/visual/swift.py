"""ms-swift: how its templates prepare images, swift/template at 3602360.

`rescale_image` for the argument max_pixels; qwen_vl_utils, steered by environment variables, for Qwen-VL; and for the
other families variables with the names of their processors' settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from lorachk.families.visual.minicpmv import Resampled
from lorachk.families.visual.resized import SmartResize
from lorachk.families.visual.result import Refused, Size
from lorachk.families.visual.settings import DEFAULT, Settings
from lorachk.families.visual.steps import Options, Resize, drawable, unchanged, utils_resize
from lorachk.families.visual.tiled import Dynamic

# Families whose image processor it calls as it is, and what its template writes behind the image's tag.
_PLAIN = {
    **dict.fromkeys(("llava", "llava_next", "llava_onevision"), "\n"),
    **dict.fromkeys(("gemma3", "gemma4", "glm4v", "idefics3", "mllama", "paligemma"), ""),
}
_OWN = f"{DEFAULT} of ms-swift"


def prepare(settings: Settings, options: Options) -> tuple[Settings, Resize, str] | None:
    """Settings, resizing and the text behind an image; None for a family it has no template for, or none known here."""
    resize: Resize = unchanged
    most = options.number("max_pixels", 0)
    if most > 0:
        resize = partial(rescale, most=most)
    values = settings.values
    if isinstance(values, SmartResize):
        factor, least, most = qwen_budget(settings, options)
        resize = _chain(resize, partial(utils_resize, factor=factor, least=least, most=most))
        return settings.override({"do_resize": False}, _OWN), resize, ""
    if isinstance(values, Resampled):
        settings = settings.override({"writer": "processor"}, _OWN)
        if settings.family not in ("minicpmv2", "minicpmv25"):
            settings = settings.override({"use_image_id": True}, _OWN)
            if options.given("MAX_SLICE_NUMS") is not None:
                settings = options.into(settings, {"max_slice_nums": 9}, max_slice_nums="MAX_SLICE_NUMS")
        return settings, resize, "\n"
    if settings.family == "minicpmv46":
        defaults = {"max_slice_nums": 9, "downsample_mode": "16x"}
        names = {"max_slice_nums": "MAX_SLICE_NUMS", "downsample_mode": "DOWNSAMPLE_MODE"}
        return options.into(settings, defaults, **names), resize, "\n"
    if isinstance(values, Dynamic):
        if values.writer == "transformers":
            return settings.override({"cut": True}, _OWN), resize, "\n"
        edge = options.number("INPUT_SIZE", 448)
        own = {"tile_size": edge, "image_seq_length": int((edge // 14) ** 2 * 0.25), "cut": True}
        settings = settings.override({**own, "use_thumbnail": True, "min_tiles": 1}, _OWN)
        return options.into(settings, {"max_tiles": 12}, max_tiles="MAX_NUM"), resize, "\n"
    return (settings, resize, _PLAIN[settings.family]) if settings.family in _PLAIN else None


def rescale(size: Size, *, most: int) -> Size:
    """`rescale_image`: the size with at most `most` pixels. Raises Refused where a side has no pixels left."""
    width, height = size
    if width * height <= most:
        return size
    ratio = width / height
    high = math.sqrt(most / ratio)
    return drawable((int(high * ratio), int(high)))


def qwen_budget(settings: Settings, options: Options) -> tuple[int, int, int]:
    """Factor, least and most pixels that qwen_vl_utils resizes by; the model's own file has no say.

    From 0.0.14 on (Qwen3-VL needs it) the budget is in tokens, IMAGE_MIN_TOKEN_NUM and IMAGE_MAX_TOKEN_NUM, and
    ms-swift turns MIN_PIXELS and MAX_PIXELS into whole tokens. Before 0.0.12 (option `qwen_vl_utils`) it is MIN_PIXELS
    and MAX_PIXELS as they are, and IMAGE_FACTOR. SIZE_FACTOR was its name in older versions; nothing reads it now.
    """
    values = settings.values
    assert isinstance(values, SmartResize)
    series_3 = settings.family in ("qwen3_vl", "qwen3_5")
    if options.text("qwen_vl_utils", "").startswith(("0.0.1.", "0.0.2", "0.0.8", "0.0.9", "0.0.10", "0.0.11")):
        if series_3:
            raise Refused("ms-swift needs qwen_vl_utils 0.0.14 or newer for this model")
        least, most = options.number("MIN_PIXELS", 4 * 28 * 28), options.number("MAX_PIXELS", 16384 * 28 * 28)
        return options.number("IMAGE_FACTOR", 28), least, most
    merge = options.number("SPATIAL_MERGE_SIZE", 2)
    known = (16 if series_3 else 14) * merge  # what ms-swift converts by
    factor = (values.patch_size if series_3 else 14) * merge  # what the package resizes by
    tokens = []
    for edge, default in (("MIN", 4), ("MAX", 16384)):
        pixels = f"{edge}_PIXELS"
        converted = options.number(pixels, 0) // known**2 if options.given(pixels) else default
        tokens.append(options.number(f"IMAGE_{edge}_TOKEN_NUM", converted))
    return factor, tokens[0] * factor**2, tokens[1] * factor**2


def _chain(first: Resize, second: Resize) -> Resize:
    return second if first is unchanged else partial(_both, first=first, second=second)


def _both(size: Size, *, first: Callable[[Size], Size], second: Callable[[Size], Size]) -> Size:
    return second(first(size))
