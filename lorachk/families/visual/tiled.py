"""Families that cut an image into equal tiles: InternVL, Llama 3.2 Vision (mllama), Phi-4-multimodal.

InternVL: `dynamic_preprocess` of OpenGVLab/InternVL (as ms-swift carries it) and transformers' GotOcr2ImageProcessorPil
with InternVLProcessor. mllama: MllamaImageProcessorPil. Phi-4: Phi4MultimodalImageProcessor. transformers 5.23.0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from lorachk.families.visual.result import Refused, Size, Visual, visual
from lorachk.families.visual.settings import DEFAULT, Files, Values, field

_TILES = 512  # no model has nearly as many, and all grids of so many can still be listed


@dataclass(frozen=True)
class Dynamic(Values):
    """InternVL: the tiles' grid nearest to the image's shape, and a thumbnail beside more than one tile.

    `writer`: `internvl` is OpenGVLab's own code, `transformers` the processor of the -hf checkpoints; they differ in
    the order among equally good grids. `tile_size` in pixels, `image_seq_length` tokens of a tile, `cut` whether tiles
    are made at all. OpenGVLab's trainer divides `max_tiles` by the number of images of the record.
    """

    writer: str = field("internvl")
    tile_size: int = field(448, "config/force_image_size", "image/size/height", "config/vision_config/image_size")
    patch_size: int = field(14, "config/vision_config/patch_size")
    downsample_ratio: float = field(0.5, "config/downsample_ratio", least=0)
    image_seq_length: int = field(256, "processor/image_seq_length", "config/image_seq_length")
    min_tiles: int = field(1, "config/min_dynamic_patch", "image/min_patches", most=_TILES)
    max_tiles: int = field(12, "config/max_dynamic_patch", "image/max_patches", most=_TILES)
    cut: bool = field(True, "config/dynamic_image_size")
    use_thumbnail: bool = field(True, "config/use_thumbnail")

    def refine(self, files: Files, origins: dict[str, str], /) -> Dynamic:
        """Whose code it is, and the tokens of a tile where only the edges are stated."""
        values = self
        if origins["writer"] == DEFAULT and files.at("config/model_type") == "internvl":
            values = replace(values, writer="transformers")
            origins["writer"] = "config.json:/model_type"
        for name, key in (("tile_size", "image_size"), ("patch_size", "patch_size")):
            pair = files.at(f"config/vision_config/{key}")  # [height, width] in the native config
            if origins[name] == DEFAULT and isinstance(pair, list) and pair and isinstance(pair[0], int):
                changes: dict[str, Any] = {name: pair[0]}
                values = replace(values, **changes)
                origins[name] = f"config.json:/vision_config/{key}"
        if origins["image_seq_length"] == DEFAULT:
            edges = values.tile_size // values.patch_size
            values = replace(values, image_seq_length=int(edges**2 * values.downsample_ratio**2))
        return values

    def count(self, width: int, height: int, _number: int, /) -> Visual:
        """The block of one image, between <img> and </img>."""
        grid = (1, 1)
        if self.cut and (self.writer == "internvl" or self.max_tiles > 1):
            grid = nearest_grid((width, height), self.tile_size, self._grids())
        tiles = grid[0] * grid[1]
        pieces = tiles + (self.use_thumbnail and tiles > 1)
        size = (grid[0] * self.tile_size, grid[1] * self.tile_size)
        return visual(pieces, pieces * self.image_seq_length, 2, size, starts=1, ends=1)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        return f"<img>{'<IMG_CONTEXT>' * self.count(width, height, number).features}</img>"

    def _grids(self) -> tuple[Size, ...]:
        return _grids(self.min_tiles, self.max_tiles, listed=self.writer == "transformers")


@dataclass(frozen=True)
class CrossAttended(Values):
    """Llama 3.2 Vision: one placeholder per image; the model attends to the tiles from layers of their own.

    `tile_size` in pixels; every tile gives (tile_size / patch)^2 + 1 rows to attend to, 1601 in the official models.
    """

    tile_size: int = field(560, "image/size/height", "config/vision_config/image_size", absent=224)
    max_image_tiles: int = field(
        4, "image/max_image_tiles", "config/vision_config/max_num_tiles", absent=4, most=_TILES
    )

    def count(self, width: int, height: int, _number: int, /) -> Visual:
        """The block of one image; see `Values.count`."""
        rows, columns = _canvas((width, height), self.tile_size, self.max_image_tiles)
        size = _fitted((width, height), (columns * self.tile_size, rows * self.tile_size), self.tile_size)
        return visual(rows * columns, 1, 0, size)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        return "<|image|>" * self.count(width, height, number).features


@dataclass(frozen=True)
class HighDefinition(Values):
    """Phi-4-multimodal: a global view and tiles whose padding is left out, with separators.

    The base resolution is `tile_size` with `patch_size`; features are halved along both edges. Of these 256 + 1 + 16
    are fixed in the processor, whatever the tile size.
    """

    tile_size: int = field(448, "image/size/height", absent=448)
    patch_size: int = field(14, "image/patch_size", absent=14)
    dynamic_hd: int = field(36, "image/dynamic_hd", absent=36, most=_TILES)

    def count(self, width: int, height: int, _number: int, /) -> Visual:
        """The block of one image; see `Values.count`."""
        tile = self.tile_size
        grid = (math.ceil(width / tile), math.ceil(height / tile))
        if grid[0] * grid[1] > self.dynamic_hd:
            grid = nearest_grid((width, height), tile, _grids(1, self.dynamic_hd))
        target = (tile * grid[0], tile * grid[1])
        scale_wide, scale_high = target[0] / width, target[1] / height
        size = (target[0], int(height * scale_wide))
        if scale_wide >= scale_high:
            size = (int(width * scale_high), target[1])
        if min(size) < 10:
            raise Refused(f"the aspect ratio is very extreme {size}")
        columns, rows = (self._shown(t, s) for t, s in zip(target, size, strict=True))
        return visual(1 + grid[0] * grid[1], 256 + 1 + 16 + columns * rows + rows, 0, target)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        return "<|endoftext10|>" * self.count(width, height, number).features

    def _shown(self, target: int, size: int) -> int:
        """Features along one edge that are not all padding: every second patch, counted from each tile's first."""
        edge = self.tile_size // self.patch_size
        patches = target // self.tile_size * edge - (target - size) // self.patch_size
        return sum(math.ceil(min(edge, patches - tile) / 2) for tile in range(0, patches, edge))


@lru_cache(maxsize=64)
def _grids(least: int, most: int, *, listed: bool = False) -> tuple[Size, ...]:
    """Grids (columns, rows) of `least` to `most` tiles, fewest first.

    Among grids of as many tiles, transformers goes by columns; InternVL's code sorts a set, whose order Python leaves
    open but which comes out the same in every CPython when it is filled the same way.
    """
    if listed:
        grids = [(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if least <= c * r <= most]
    else:
        found: set[Size] = set()
        for edge in range(least, most + 1):
            for columns in range(1, edge + 1):
                found.update((columns, rows) for rows in range(1, edge + 1) if least <= columns * rows <= most)
        grids = list(found)
    return tuple(sorted(grids, key=lambda grid: grid[0] * grid[1]))


def nearest_grid(size: Size, tile_size: int, grids: tuple[Size, ...]) -> Size:
    """The grid nearest to the image's shape; of equally near ones the later, when the image fills half of it."""
    width, height = size
    best, least = (1, 1), math.inf
    for grid in grids:
        error = abs(width / height - grid[0] / grid[1])
        if error < least:
            best, least = grid, error
        elif error == least and width * height > 0.5 * tile_size * tile_size * grid[0] * grid[1]:
            best = grid
    return best


def _canvas(size: Size, tile_size: int, most: int) -> Size:
    """Rows and columns of mllama's canvas: the least upscaling, else the least downscaling, then the least area."""
    width, height = size
    best, chosen = (1, 1), (False, -math.inf, -math.inf)
    for rows in range(1, most + 1):
        for columns in range(1, most // rows + 1):
            scale = min(rows * tile_size / height, columns * tile_size / width)
            larger = scale >= 1
            key = (larger, -scale if larger else scale, -rows * columns)
            if key > chosen:
                best, chosen = (rows, columns), key
    return best


def _fitted(size: Size, canvas: Size, tile_size: int) -> Size:
    """mllama's resized image: within the canvas, no edge below a tile's unless the shape asks for it."""
    goal = tuple(min(max(side, tile_size), edge) for side, edge in zip(size, canvas, strict=True))
    scale_wide, scale_high = goal[0] / size[0], goal[1] / size[1]
    if scale_wide < scale_high:
        return goal[0], min(math.floor(size[1] * scale_wide) or 1, goal[1])
    return min(math.floor(size[0] * scale_high) or 1, goal[0]), goal[1]


FAMILIES: dict[str, Values] = {
    "internvl": Dynamic(),
    "mllama": CrossAttended(),
    "phi4_multimodal": HighDefinition(),
}
