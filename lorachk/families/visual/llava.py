"""LLaVA 1.5, LLaVA-NeXT and LLaVA-OneVision: patches of a fixed square, and of any-resolution tiles of it.

Arithmetic of transformers' LlavaProcessor, LlavaNextProcessor and LlavaOnevisionProcessor with their Pillow image
processors (5.23.0). LLaVA's own repository reaches the same numbers in `prepare_inputs_labels_for_multimodal`; there
the sequence holds one placeholder that the model replaces.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from lorachk.families.visual.result import Refused, Size, Visual, visual
from lorachk.families.visual.settings import DEFAULT, Files, Values, field

_TOWER = re.compile(r"patch(\d+)(?:-(\d+))?$")  # openai/clip-vit-large-patch14-336
_EDGES = ("image/crop_size/height", "image/crop_size", "image/size/height", "image/size/shortest_edge", "image/size")
_TOWER_EDGE = "config/vision_config/image_size"


@dataclass(frozen=True)
class Patches(Values):
    """LLaVA 1.5: one square per image; all its patches, plus the tower's extra tokens, less the first by `default`.

    `image_size`: edge in pixels of what the tower gets, whatever the image's shape: it is cropped, or padded to a
    square first (`image_aspect_ratio pad`), which changes no count. `mm_use_im_start_end`: LLaVA's own option for two
    markers around the image.
    """

    image_size: int = field(336, *_EDGES, _TOWER_EDGE, absent=224)
    patch_size: int = field(14, "processor/patch_size", "config/vision_config/patch_size")
    num_additional_image_tokens: int = field(1, "processor/num_additional_image_tokens", least=0)
    vision_feature_select_strategy: str = field(
        "default", "processor/vision_feature_select_strategy", "config/vision_feature_select_strategy"
    )
    mm_use_im_start_end: bool = field(False, "config/mm_use_im_start_end")

    def refine(self, files: Files, origins: dict[str, str], /) -> Patches:
        """What the kind of vision tower decides."""
        if str(files.at("config/image_aspect_ratio")).startswith("anyres"):
            raise Refused("LLaVA's own any-resolution tiles are not counted; convert the model to llava_next")
        return _tower(self, files, origins)

    def count(self, _width: int, _height: int, _number: int, /) -> Visual:
        """The block of one image; see `Values.count`."""
        edge = self.image_size // self.patch_size
        tokens = edge * edge + self.num_additional_image_tokens - (self.vision_feature_select_strategy == "default")
        marks = int(self.mm_use_im_start_end)
        return visual(1, tokens, 2 * marks, (self.image_size, self.image_size), starts=marks, ends=marks)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        features = "<image>" * self.count(width, height, number).features
        return f"<im_start>{features}<im_end>" if self.mm_use_im_start_end else features


@dataclass(frozen=True)
class AnyRes(Values):
    """LLaVA-NeXT: the whole image, and the best-fitting of `image_grid_pinpoints` in tiles without its padding.

    `image_grid_pinpoints` are (height, width) in pixels, as the files have them. Every row of the tiles' features ends
    in a newline feature.
    """

    image_size: int = field(336, *_EDGES, _TOWER_EDGE, absent=224)
    patch_size: int = field(14, "processor/patch_size", "config/vision_config/patch_size")
    num_additional_image_tokens: int = field(1, "processor/num_additional_image_tokens", least=0)
    vision_feature_select_strategy: str = field(
        "default", "processor/vision_feature_select_strategy", "config/vision_feature_select_strategy"
    )
    image_grid_pinpoints: tuple[Size, ...] = field(
        ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)),
        "image/image_grid_pinpoints",
        "config/image_grid_pinpoints",
    )

    def refine(self, files: Files, origins: dict[str, str], /) -> AnyRes:
        """What the kind of vision tower decides."""
        return _tower(self, files, origins)

    def count(self, width: int, height: int, _number: int, /) -> Visual:
        """The block of one image; see `Values.count`."""
        best = best_resolution((width, height), self.image_grid_pinpoints)
        edge = self.image_size // self.patch_size
        wide, high = unpadded((width, height), best, self.image_size, edge)
        tokens = wide * high + high + edge * edge + self.num_additional_image_tokens
        tokens -= self.vision_feature_select_strategy == "default"
        return visual(1 + _tiles(best, self.image_size), tokens, 0, best)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        return "<image>" * self.count(width, height, number).features


@dataclass(frozen=True)
class OneVision(Values):
    """LLaVA-OneVision: any resolution, whose features are scaled down to at most `anyres_max_9` tiles' worth.

    `nested`: the images of a record reach the processor as a list of its own with more than one image (TRL), which
    leaves each of them whole.
    """

    image_size: int = field(384, "image/crop_size/height", "image/size/height", "image/size/shortest_edge", absent=384)
    num_image_tokens: int = field(729, "processor/num_image_tokens")
    vision_feature_select_strategy: str = field(
        "full", "processor/vision_feature_select_strategy", "config/vision_feature_select_strategy"
    )
    vision_aspect_ratio: str = field("anyres_max_9", "processor/vision_aspect_ratio", "config/vision_aspect_ratio")
    image_grid_pinpoints: tuple[Size, ...] = field(
        tuple((384 * rows, 384 * columns) for rows in range(1, 7) for columns in range(1, 7)),
        "image/image_grid_pinpoints",
        "config/image_grid_pinpoints",
    )
    nested: bool = field(False)

    def count(self, width: int, height: int, _number: int, /) -> Visual:
        """The block of one image; see `Values.count`."""
        fewer = self.vision_feature_select_strategy == "default"
        if self.nested:
            return visual(1, self.num_image_tokens + 1 - fewer, 0, (self.image_size, self.image_size))
        best = best_resolution((width, height), self.image_grid_pinpoints)
        edge = math.isqrt(self.num_image_tokens)
        wide, high = unpadded((width, height), best, self.image_size, edge)
        most = re.search(r"\d+$", self.vision_aspect_ratio)
        if not most or not int(most[0]):
            raise Refused(f"vision_aspect_ratio {self.vision_aspect_ratio!r} names no number of tiles (anyres_max_9)")
        ratio = math.sqrt(wide * high / (int(most[0]) * edge**2))
        if ratio > 1.1:
            wide, high = int(wide // ratio), int(high // ratio)
        tokens = wide * high + high + self.num_image_tokens - fewer
        return visual(1 + _tiles(best, self.image_size), tokens, 0, best)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        return "<image>" * self.count(width, height, number).features


_T = TypeVar("_T", Patches, AnyRes)


def best_resolution(size: Size, pinpoints: tuple[Size, ...]) -> Size:
    """The (width, height) of the pinpoints, given as (height, width), that keeps most of the image and wastes least.

    Raises Refused where nothing of the image is left in any of them, in which case the processor fails too.
    """
    width, height = size
    best, kept, wasted = None, 0, math.inf
    for high, wide in pinpoints:
        scale = min(wide / width, high / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        waste = wide * high - effective
        if effective > kept or (effective == kept and waste < wasted):
            best, kept, wasted = (wide, high), effective, waste
    if best is None:
        raise Refused(f"an image of {width} x {height} pixels has no pixels left in any resolution of the grid")
    return best


def unpadded(size: Size, best: Size, image_size: int, edge: int) -> Size:
    """Columns and rows of features of the tiles, without those that only show padding. `edge`: features of a tile."""
    width, height = size
    wide, high = (best[0] // image_size) * edge, (best[1] // image_size) * edge
    if not wide or not high:
        raise Refused(f"grid resolution {best[0]} x {best[1]} is smaller than the tile of {image_size} pixels")
    if width / height > wide / high:
        high -= (high - int(round(height * (wide / width), 7))) // 2 * 2
    else:
        wide -= (wide - int(round(width * (high / height), 7))) // 2 * 2
    return wide, high


def _tiles(best: Size, image_size: int) -> int:
    return math.ceil(best[0] / image_size) * math.ceil(best[1] / image_size)


def _tower(values: _T, files: Files, origins: dict[str, str]) -> _T:
    """The values with what follows from the kind of tower, where no file states it."""
    found = _TOWER.search(str(files.at("config/mm_vision_tower")))
    if found:  # LLaVA's own config names the tower and nothing else
        for name, number in (("patch_size", found[1]), ("image_size", found[2])):
            if number and origins[name].startswith(DEFAULT):
                changes: dict[str, Any] = {name: int(number)}
                values = replace(values, **changes)
                origins[name] = "config.json:/mm_vision_tower"
    if origins["num_additional_image_tokens"] != DEFAULT:
        return values
    kind = files.at("config/vision_config/model_type") or files.at("config/mm_vision_tower") or ""
    if "siglip" in str(kind):  # has no class token that could be left out
        origins["num_additional_image_tokens"] = f"{DEFAULT} of a SigLIP tower"
        values = replace(values, num_additional_image_tokens=0)
        if origins["vision_feature_select_strategy"] == DEFAULT:
            values = replace(values, vision_feature_select_strategy="full")
    elif files.at("processor/patch_size") is not None:
        origins["num_additional_image_tokens"] = f"{DEFAULT} of the processor's class"
        values = replace(values, num_additional_image_tokens=0)
    return values


FAMILIES: dict[str, Values] = {"llava": Patches(), "llava_next": AnyRes(), "llava_onevision": OneVision()}
