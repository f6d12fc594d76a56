"""Families that resize an image within a pixel budget and make a token of every few patches.

Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5: `smart_resize` of transformers' Qwen2VLImageProcessorPil. GLM-4V: that of
Glm4vImageProcessorPil. Gemma 4: `get_aspect_ratio_preserving_size` of Gemma4ImageProcessorPil. All as of 5.23.0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lorachk.families.visual.result import Refused, Size, Visual, visual
from lorachk.families.visual.settings import Values, field

_RATIO = 200  # long side over short side, above which Qwen's and GLM's processors raise


@dataclass(frozen=True)
class SmartResize(Values):
    """Qwen-VL. `min_pixels`, `max_pixels`: area of the resized image, in pixels; a file states them as `min_pixels`
    and `max_pixels` or as `size` with shortest_edge and longest_edge, which mean the same. Without `do_resize` the
    image is taken as it is, resized by the trainer.
    """

    patch_size: int = field(14, "image/patch_size", absent=14)
    merge_size: int = field(2, "image/merge_size", absent=2)
    min_pixels: int = field(56 * 56, "image/min_pixels", "image/size/shortest_edge", absent=56 * 56)
    max_pixels: int = field(28 * 28 * 16384, "image/max_pixels", "image/size/longest_edge", absent=28 * 28 * 1280)
    do_resize: bool = field(True, "image/do_resize")

    def count(self, width: int, height: int, _number: int, /) -> Visual:
        """The block of one image; the template writes <|vision_start|> and <|vision_end|> around it."""
        factor = self.patch_size * self.merge_size
        if self.do_resize:
            return _merged(smart_resize((width, height), factor, self.min_pixels, self.max_pixels), factor)
        if width % factor or height % factor:
            raise Refused(f"an image of {width} x {height} pixels does not divide into {factor} x {factor}")
        return _merged((width, height), factor)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        return "<|image_pad|>" * self.count(width, height, number).features


@dataclass(frozen=True)
class Glm(Values):
    """GLM-4V (glm4v): an image counts as `temporal_patch_size` frames against the pixel budget."""

    patch_size: int = field(14, "image/patch_size", absent=14)
    merge_size: int = field(2, "image/merge_size", absent=2)
    temporal_patch_size: int = field(2, "image/temporal_patch_size", absent=2)
    min_pixels: int = field(112 * 112, "image/size/shortest_edge", absent=112 * 112)
    max_pixels: int = field(28 * 28 * 12288, "image/size/longest_edge", absent=28 * 28 * 15000)

    def count(self, width: int, height: int, _number: int, /) -> Visual:
        """The block of one image; the template writes <|begin_of_image|> and <|end_of_image|> around it."""
        factor = self.patch_size * self.merge_size
        if height < factor or width < factor:
            scale = max(factor / height, factor / width)
            width, height = int(width * scale), int(height * scale)
        size = smart_resize((width, height), factor, self.min_pixels, self.max_pixels, frames=self.temporal_patch_size)
        return _merged(size, factor)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        return "<|image|>" * self.count(width, height, number).features


@dataclass(frozen=True)
class Pooled(Values):
    """Gemma 4: the largest size of the image's shape whose pooled patches are at most `max_soft_tokens`."""

    patch_size: int = field(16, "image/patch_size", absent=16)
    max_soft_tokens: int = field(280, "image/max_soft_tokens", absent=280)
    pooling_kernel_size: int = field(3, "image/pooling_kernel_size", absent=3)

    def count(self, width: int, height: int, _number: int, /) -> Visual:
        """The block of one image, between one begin and one end marker."""
        if self.max_soft_tokens not in _SOFT_TOKENS:
            raise Refused(f"max_soft_tokens must be one of {_SOFT_TOKENS}, got {self.max_soft_tokens}")
        unit = self.patch_size * self.pooling_kernel_size
        budget = self.max_soft_tokens * unit * unit
        factor = math.sqrt(budget / (width * height))
        wide, high = (math.floor(factor * side / unit) * unit for side in (width, height))
        if not wide and not high:
            raise Refused(f"an image of {width} x {height} pixels would be resized to nothing")
        # More than max_soft_tokens times as long as wide: one row or column of as many units as the budget has.
        if not high:
            wide, high = self.max_soft_tokens * unit, unit
        elif not wide:
            wide, high = unit, self.max_soft_tokens * unit
        tokens = (wide // unit) * (high // unit)
        return visual(1, tokens, 2, (wide, high), starts=1, ends=1)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        return f"<|image>{'<|image|>' * self.count(width, height, number).features}<image|>"


_SOFT_TOKENS = (70, 140, 280, 560, 1120)


def smart_resize(size: Size, factor: int, least: int, most: int, *, frames: int = 1) -> Size:
    """The size with both sides multiples of `factor` and an area times `frames` between `least` and `most` pixels.

    Raises Refused for an image more than 200 times as long as wide, and when it comes out without pixels.
    """
    width, height = size
    if max(size) / min(size) > _RATIO:
        raise Refused(f"absolute aspect ratio must be smaller than {_RATIO}, got {max(size) / min(size):.6g}")
    wide, high = (round(side / factor) * factor for side in size)
    if frames * wide * high > most:
        scale = math.sqrt(frames * width * height / most)
        wide, high = (max(factor, math.floor(side / scale / factor) * factor) for side in size)
    elif frames * wide * high < least:
        scale = math.sqrt(least / (frames * width * height))
        wide, high = (math.ceil(side * scale / factor) * factor for side in size)
    if not wide or not high:
        raise Refused(f"an image of {width} x {height} pixels would be resized to {wide} x {high}")
    return wide, high


def _merged(size: Size, factor: int) -> Visual:
    tokens = (size[0] // factor) * (size[1] // factor)
    return visual(1, tokens, 2, size, starts=1, ends=1, outside=2)


_QWEN3: dict[str, Any] = {"patch_size": 16, "min_pixels": 256 * 256, "max_pixels": 4096 * 4096}
FAMILIES: dict[str, Values] = {
    "qwen2_vl": SmartResize(),
    "qwen2_5_vl": SmartResize(),
    "qwen3_vl": SmartResize(**_QWEN3),
    "qwen3_5": SmartResize(**_QWEN3),
    "glm4v": Glm(),
    "gemma4": Pooled(),
}
