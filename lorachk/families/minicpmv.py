"""MiniCPM-V: how an image is cut into slices, and how many tokens its block takes in the sequence.

Slice arithmetic of OpenBMB/MiniCPM-V finetune/dataset.py at 0dbb566 (`slice_image`, `get_grid_placeholder`,
`preprocess`) for 2.0 to 4.5, and of transformers' MiniCPMV4_6ImageProcessorPil and MiniCPMV4_6Processor for 4.6.
Sizes are (width, height) in pixels; a grid is (columns, rows).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

SCALE_RESOLUTION = 448  # pixels: a slice covers about its square
PATCH_SIZE = 14  # pixels of a ViT patch
MAX_SLICE_NUMS = 9  # default of the scripts and of config.slice_config

Size = tuple[int, int]


class Scheme(NamedTuple):
    """How one version writes an image into the sequence.

    `query_num`: tokens of a piece between its markers; None when it follows from the piece's size (4.6).
    `new_schema`: slices stand in <slice> markers of their own; else all of them between one pair.
    `image_id`: when <image_id>k</image_id> precedes the block.
    `merge`: patches of one side that become one token (4.6), 1 where the resampler makes a fixed number.
    """

    query_num: int | None
    new_schema: bool
    image_id: Literal["never", "sliced", "always"]
    merge: int = 1


class Block(NamedTuple):
    """An image in the sequence: pieces (the whole and its slices) and tokens, markers included."""

    pieces: int
    tokens: int


_SCHEMES = {
    "minicpmv2": Scheme(64, False, "never"),
    "minicpmv25": Scheme(96, False, "never"),
    "minicpmv26": Scheme(64, True, "sliced"),
    "minicpmo": Scheme(64, True, "sliced"),
    "minicpmv4": Scheme(64, False, "never"),
    "minicpmv45": Scheme(64, True, "sliced"),
    "minicpmv46": Scheme(None, True, "always", merge=4),
}


def scheme(family: str | None, llm_type: str | None = None, downsample_mode: str = "16x") -> Scheme | None:
    """The scheme of a family, or None for a family this module cannot count.

    `llm_type` is finetune.py's flag; the script decides by it, not by the model: qwen writes the new schema, anything
    else the old one. `downsample_mode` is that of 4.6: 16x or 4x.
    """
    found = _SCHEMES.get(family or "")
    if found is None:
        return None
    if found.query_num is None:
        return found._replace(merge=2 if downsample_mode == "4x" else 4)
    if llm_type is not None:
        new = llm_type == "qwen"
        return found._replace(new_schema=new, image_id="sliced" if new else "never")
    return found


def grid(size: Size, max_slice_nums: int = MAX_SLICE_NUMS, *, rows_win_ties: bool = False) -> Size | None:
    """Columns and rows an image is cut into; None when it stays whole.

    `rows_win_ties`: 4.6 prefers more rows among equally good grids, the scripts the first grid found.
    """
    width, height = size
    ratio = width * height / (SCALE_RESOLUTION * SCALE_RESOLUTION)
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
            if error < least or (rows_win_ties and error == least and rows > best[1]):
                best, least = (columns, rows), error
    return best


def _multiple(length: float, of: int) -> int:
    return max(round(length / of) * of, of)


def _resized(width: float, height: float, unit: int, *, upscale: bool) -> Size:
    """Size of a piece: about the scale resolution's area, same shape, both sides multiples of `unit`."""
    if upscale or width * height > SCALE_RESOLUTION * SCALE_RESOLUTION:
        shape = width / height
        height = int(SCALE_RESOLUTION / math.sqrt(shape))
        width = int(height * shape)
    return _multiple(width, unit), _multiple(height, unit)


def piece_sizes(size: Size, max_slice_nums: int = MAX_SLICE_NUMS, *, merge: int = 1) -> list[Size]:
    """Sizes of the whole image and of its slices, row by row, as the vision tower gets them."""
    unit = PATCH_SIZE * merge
    cut = grid(size, max_slice_nums, rows_win_ties=merge > 1)
    if cut is None:
        return [_resized(*size, unit, upscale=True)]
    columns, rows = cut
    slice_ = _resized(_multiple(size[0], columns) / columns, _multiple(size[1], rows) / rows, unit, upscale=True)
    return [_resized(*size, unit, upscale=False), *[slice_] * (columns * rows)]


def block(size: Size, used: Scheme, max_slice_nums: int = MAX_SLICE_NUMS, *, number: int = 0) -> Block:
    """Pieces and tokens of one image.

    `number` is the image's number in its record (4.6 counts all images, the scripts only those that were cut): each of
    its digits is a token.
    """
    pieces = piece_sizes(size, max_slice_nums, merge=used.merge)
    if used.query_num is None:
        content = sum((w // PATCH_SIZE) * (h // PATCH_SIZE) // used.merge**2 for w, h in pieces)
    else:
        content = used.query_num * len(pieces)
    tokens = content + 2 * len(pieces)
    cut = len(pieces) > 1
    if cut:
        found = grid(size, max_slice_nums, rows_win_ties=used.merge > 1)
        assert found
        tokens += found[1] - 1  # rows are joined by newlines
        if not used.new_schema:
            tokens += 2  # one pair of <slice> markers around all
    if used.image_id == "always" or (cut and used.image_id == "sliced"):
        tokens += 2 + len(str(number))
    return Block(len(pieces), tokens)
