"""MiniCPM-V: how an image is cut into slices, and how many tokens its block takes in the sequence.

Slice arithmetic of OpenBMB/MiniCPM-V finetune/dataset.py at 0dbb566 (`slice_image`, `get_grid_placeholder`,
`preprocess`) for 2.0 to 4.5, of the processors that ship with those models (`get_slice_image_placeholder`), and of
transformers' MiniCPMV4_6ImageProcessorPil and MiniCPMV4_6Processor (5.23.0) for 4.6 and 4.7.
Sizes are (width, height) in pixels; a grid is (columns, rows).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from lorachk.families.visual.result import Size, Visual, visual
from lorachk.families.visual.settings import Values, field

SCALE_RESOLUTION = 448  # pixels: a slice covers about its square
PATCH_SIZE = 14  # pixels of a ViT patch
MAX_SLICE_NUMS = 9  # default of the scripts and of config.slice_config

Ids = Literal["never", "sliced", "always"]


@dataclass(frozen=True)
class Resampled(Values):
    """2.0 to 4.5: a resampler makes `query_num` tokens of every piece.

    `writer`: `script` is finetune.py, `processor` what the model's own processor writes. The script decides the schema
    by its flag `llm_type`, not by the model: qwen writes the new one, anything else the old one; without the flag it is
    the one that fits the model. New schema: slices have markers of their own and an <image_id> precedes the block, in
    the script only for an image that was cut.
    """

    query_num: int = field(64, "config/query_num", "image/image_feature_size")
    max_slice_nums: int = field(
        9, "config/slice_config/max_slice_nums", "config/max_slice_nums", "image/max_slice_nums", least=0
    )
    scale_resolution: int = field(
        448, "config/slice_config/scale_resolution", "config/scale_resolution", "image/scale_resolution", least=28
    )
    patch_size: int = field(14, "config/slice_config/patch_size", "config/patch_size", "image/patch_size")
    slice_mode: bool = field(True, "config/slice_mode", "image/slice_mode")
    use_image_id: bool = field(True, "config/use_image_id", "image/use_image_id")
    writer: str = field("script")
    llm_type: str = field("")
    new_by_script: bool = field(True)
    new_by_processor: bool = field(True)

    @property
    def new_schema(self) -> bool:
        """Whether slices have markers of their own."""
        if self.writer == "processor":
            return self.new_by_processor
        return self.llm_type == "qwen" if self.llm_type else self.new_by_script

    @property
    def image_id(self) -> Ids:
        """When <image_id>k</image_id> precedes the block; k counts the record's images, or those that were cut."""
        if not self.new_schema:
            return "never"
        if self.writer == "script":
            return "sliced"
        return "always" if self.use_image_id else "never"

    def count(self, width: int, height: int, number: int, /) -> Visual:
        """The block of one image; see `Values.count`."""
        cut = self._grid(width, height)
        pieces = sizes((width, height), cut, self.scale_resolution, self.patch_size)
        markers = 0 if self.new_schema or not cut else 2  # one pair of <slice> around all slices
        return _block(pieces, [self.query_num] * len(pieces), cut, number if self._with_id(cut) else None, markers)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        cut = self._grid(width, height)
        features = "<unk>" * self.query_num
        whole = f"<image>{features}</image>"
        if self._with_id(cut):
            whole = f"<image_id>{number}</image_id>{whole}"
        if cut is None:
            return whole
        cell = f"<slice>{features}</slice>" if self.new_schema else f"<image>{features}</image>"
        slices = "\n".join([cell * cut[0]] * cut[1])
        return whole + (slices if self.new_schema else f"<slice>{slices}</slice>")

    def _grid(self, width: int, height: int) -> Size | None:
        # finetune.py slices whatever slice_mode says.
        slices = self.max_slice_nums if self.slice_mode or self.writer == "script" else 0
        return grid((width, height), slices, self.scale_resolution)

    def _with_id(self, cut: Size | None) -> bool:
        return self.image_id == "always" or (self.image_id == "sliced" and cut is not None)


@dataclass(frozen=True)
class Merged(Values):
    """4.6 and 4.7, native in transformers: a piece becomes as many tokens as its size gives.

    `downsample_mode`: 16x merges 4 x 4 patches into a token, 4x 2 x 2. `token_mode`: the mode the tokens are counted
    by where that is another than the one the sizes are rounded by: LLaMA-Factory's DOWNSAMPLE_MODE changes only the
    count, and transformers before 5.23 rounded by 16x in either mode. Empty: the same.
    """

    downsample_mode: str = field("16x", "image/downsample_mode")
    token_mode: str = field("")
    max_slice_nums: int = field(9, "image/max_slice_nums", least=0)
    scale_resolution: int = field(448, "image/scale_resolution", least=28)
    patch_size: int = field(14, "image/patch_size")
    slice_mode: bool = field(True, "image/slice_mode")
    use_image_id: bool = field(True, "image/use_image_id")

    @property
    def image_id(self) -> Ids:
        """When <image_id>k</image_id> precedes the block; k counts all images of the record."""
        return "always" if self.use_image_id else "never"

    def count(self, width: int, height: int, number: int, /) -> Visual:
        """The block of one image; see `Values.count`."""
        cut, pieces, contents = self._pieces(width, height)
        return _block(pieces, contents, cut, number if self.use_image_id else None, 0)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        cut, _, contents = self._pieces(width, height)
        pad = "<|image_pad|>"
        whole = f"<image>{pad * contents[0]}</image>"
        if self.use_image_id:
            whole = f"<image_id>{number}</image_id>{whole}"
        if cut is None:
            return whole
        return whole + "\n".join([f"<slice>{pad * contents[1]}</slice>" * cut[0]] * cut[1])

    def _pieces(self, width: int, height: int) -> tuple[Size | None, list[Size], list[int]]:
        """The grid, and of each piece its size and tokens."""
        merge, per_token = (_merge(mode) for mode in (self.downsample_mode, self.token_mode or self.downsample_mode))
        cut = grid((width, height), self.max_slice_nums if self.slice_mode else 0, self.scale_resolution)
        pieces = sizes((width, height), cut, self.scale_resolution, self.patch_size * merge)
        return cut, pieces, [(w // self.patch_size) * (h // self.patch_size) // per_token**2 for w, h in pieces]


def _merge(mode: str) -> int:
    return 2 if mode == "4x" else 4


def _block(pieces: list[Size], contents: list[int], cut: Size | None, number: int | None, markers: int) -> Visual:
    count = len(pieces)
    text = [] if number is None else [str(number)]
    text += ["\n"] * (cut[1] - 1 if cut else 0)  # rows are joined by newlines
    markers += 2 * count + (0 if number is None else 2)
    return visual(count, sum(contents), markers, pieces[0], starts=count, ends=count, text=text)


def grid(
    size: Size,
    max_slice_nums: int = MAX_SLICE_NUMS,
    scale_resolution: int = SCALE_RESOLUTION,
) -> Size | None:
    """Columns and rows an image is cut into; None when it stays whole.

    Of equally good grids the scripts take the first they find, 4.6 the one with more rows. That is the same one: only
    grids of as many slices can be equally good, and with fewer columns they have more rows.
    """
    width, height = size
    ratio = width * height / (scale_resolution * scale_resolution)
    multiple = min(math.ceil(ratio), max_slice_nums)
    if multiple <= 1:
        return None
    log_ratio = math.log(width / height)
    best, least = (1, 1), math.inf
    for count in (multiple - 1, multiple, multiple + 1):
        if count == 1 or count > max_slice_nums:
            continue
        for columns in range(1, count + 1):
            if count % columns:
                continue
            rows = count // columns
            error = abs(log_ratio - math.log(columns / rows))
            if error < least:
                best, least = (columns, rows), error
    return best


def sizes(size: Size, cut: Size | None, scale_resolution: int = SCALE_RESOLUTION, unit: int = PATCH_SIZE) -> list[Size]:
    """Sizes of the whole image and of its slices, row by row, as the vision tower gets them.

    `unit`: pixels that both sides of a piece are multiples of, a patch or the patches that become one token.
    """
    if cut is None:
        return [_resized(*size, scale_resolution, unit, upscale=True)]
    columns, rows = cut
    cell = _multiple(size[0], columns) / columns, _multiple(size[1], rows) / rows
    slice_ = _resized(*cell, scale_resolution, unit, upscale=True)
    return [_resized(*size, scale_resolution, unit, upscale=False), *[slice_] * (columns * rows)]


def _multiple(length: float, of: int) -> int:
    return max(round(length / of) * of, of)


def _resized(width: float, height: float, scale_resolution: int, unit: int, *, upscale: bool) -> Size:
    """Size of a piece: about the scale resolution's area, same shape, both sides multiples of `unit`."""
    if upscale or width * height > scale_resolution * scale_resolution:
        shape = width / height
        height = int(scale_resolution / math.sqrt(shape))
        width = int(height * shape)
    return _multiple(width, unit), _multiple(height, unit)


_OLD = Resampled(new_by_script=False, new_by_processor=False)
FAMILIES: dict[str, Values] = {
    "minicpmv2": _OLD,
    "minicpmv25": replace(_OLD, query_num=96),
    "minicpmv26": Resampled(),
    "minicpmo": Resampled(),
    # finetune.py has no branch for 4.0 and falls to the old schema; its own processor is that of 2.6.
    "minicpmv4": Resampled(new_by_script=False),
    "minicpmv45": Resampled(),
    "minicpmv46": Merged(),
    "minicpmv47": Merged(),
}
