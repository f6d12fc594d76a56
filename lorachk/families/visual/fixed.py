"""Families with the same number of tokens for every piece: Gemma 3 and 3n, PaliGemma, Idefics 2 and 3, SmolVLM.

Arithmetic of transformers' processors and Pillow image processors (5.23.0). What they write around images holds
ordinary text; `Visual.text` has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lorachk.families.visual.result import Refused, Size, Visual, visual
from lorachk.families.visual.settings import DEFAULT, Files, Values, field

_LARGEST = 4096  # pixels: MAX_IMAGE_SIZE of Idefics 3 and SmolVLM


@dataclass(frozen=True)
class Soft(Values):
    """Gemma 3: `image_seq_length` soft tokens per piece between begin and end marker, with blank lines around.

    `do_pan_and_scan` cuts a long image into further crops. The processor switches it off whatever the file says; the
    call has to ask for it (LLaMA-Factory: image_do_pan_and_scan).
    """

    image_seq_length: int = field(256, "processor/image_seq_length", "config/mm_tokens_per_image")
    image_size: int = field(896, "image/size/height", "config/vision_config/image_size", absent=224)
    do_pan_and_scan: bool = field(False)
    pan_and_scan_min_crop_size: int = field(256)
    pan_and_scan_max_num_crops: int = field(4)
    pan_and_scan_min_ratio_to_activate: float = field(1.2, least=0)

    def count(self, width: int, height: int, _number: int, /) -> Visual:
        """The block of one image; see `Values.count`."""
        crops = self._crops(width, height) if self.do_pan_and_scan else 0
        text = ["\n\n", "\n\n"]
        if crops:
            text = ["Here is the original image \n\n", "\n\n and here are some crops to help you see better \n\n"]
            text += ["\n\n \n\n"] * (crops - 1) + ["\n\n"]
        n = 1 + crops
        size = (self.image_size, self.image_size)
        return visual(n, n * self.image_seq_length, 2 * n, size, starts=n, ends=n, text=text)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        piece = f"<start_of_image>{'<image_soft_token>' * self.image_seq_length}<end_of_image>"
        first, *rest = self.count(width, height, number).text
        return first + "".join(piece + stretch for stretch in rest)

    def _crops(self, width: int, height: int) -> int:
        long, short = max(width, height), min(width, height)
        if long / short < self.pan_and_scan_min_ratio_to_activate:
            return 0
        crops = min(long // self.pan_and_scan_min_crop_size, math.floor(long / short + 0.5))
        crops = min(self.pan_and_scan_max_num_crops, max(2, crops))
        return crops if min(math.ceil(long / crops), short) >= self.pan_and_scan_min_crop_size else 0


@dataclass(frozen=True)
class Prefix(Values):
    """PaliGemma: `image_seq_length` placeholders in front of the text, (image_size / patch)^2 of the tower."""

    image_seq_length: int = field(256, "image/image_seq_length", "processor/image_seq_length")
    image_size: int = field(224, "image/size/height", "config/vision_config/image_size")
    patch_size: int = field(14, "config/vision_config/patch_size")

    def refine(self, _files: Files, origins: dict[str, str], /) -> Prefix:
        """The number of placeholders from the edges where only these are stated."""
        if not origins["image_seq_length"].startswith(DEFAULT):
            return self
        return replace(self, image_seq_length=(self.image_size // self.patch_size) ** 2)

    def count(self, _width: int, _height: int, _number: int, /) -> Visual:
        """The block of one image; see `Values.count`."""
        return visual(1, self.image_seq_length, 0, (self.image_size, self.image_size))

    def write(self, _width: int, _height: int, _number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        return "<image>" * self.image_seq_length


@dataclass(frozen=True)
class Quartered(Values):
    """Idefics 2: one perceiver output per piece; `do_image_splitting` adds the image's four quarters.

    Each piece stands between <fake_token_around_image>; neighbours share it, also those of the next image when nothing
    stands between the two, which this does not see.
    """

    image_seq_len: int = field(64, "processor/image_seq_len", "config/perceiver_config/resampler_n_latents")
    do_image_splitting: bool = field(True, "image/do_image_splitting", absent=False)
    shortest_edge: int = field(378, "image/size/shortest_edge", absent=378)
    longest_edge: int = field(980, "image/size/longest_edge", absent=980)

    def count(self, width: int, height: int, _number: int, /) -> Visual:
        """The block of one image; see `Values.count`."""
        if self.do_image_splitting and height == 1:
            raise Refused(f"an image of {width} x 1 pixels has quarters without height, by which the processor divides")
        pieces = 5 if self.do_image_splitting else 1
        wide, high = _shrunk((width, height), self.longest_edge)
        size = max(wide, self.shortest_edge), max(high, self.shortest_edge)
        return visual(pieces, pieces * self.image_seq_len, pieces + 1, size)

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        fake, features = "<fake_token_around_image>", "<image>" * self.image_seq_len
        return fake + (features + fake) * self.count(width, height, number).pieces


@dataclass(frozen=True)
class Gridded(Values):
    """Idefics 3 and SmolVLM: the image in a grid of squares, each with its <row_1_col_1>, then the whole image.

    `longest_edge`: the image is brought to it, in either direction; `tile_size`: edge of a square. The tags are special
    tokens up to row and column 6; more are ordinary text and would take more tokens.
    """

    image_seq_len: int = field(169, "processor/image_seq_len")
    longest_edge: int = field(4 * 364, "image/size/longest_edge", absent=4 * 364)
    tile_size: int = field(364, "image/max_image_size/longest_edge", absent=364)
    do_image_splitting: bool = field(True, "image/do_image_splitting", absent=True)

    def count(self, width: int, height: int, _number: int, /) -> Visual:
        """The block of one image; see `Values.count`."""
        columns, rows, size = self._grid(width, height)
        pieces = rows * columns + 1
        text = ["\n"] * (rows - 1) + ["\n\n"] * (rows > 0)
        return visual(pieces, pieces * self.image_seq_len, 2 * pieces + 1, size, text=text)

    def write(self, width: int, height: int, _number: int, /) -> str:
        """The block of one image as text; see `Values.write`."""
        columns, rows, _ = self._grid(width, height)
        fake, features = "<fake_token_around_image>", "<image>" * self.image_seq_len
        lines = [
            "".join(f"{fake}<row_{row + 1}_col_{column + 1}>{features}" for column in range(columns)) + "\n"
            for row in range(rows)
        ]
        return "".join(lines) + "\n" * (rows > 0) + f"{fake}<global-img>{features}{fake}"

    def _grid(self, width: int, height: int) -> tuple[int, int, Size]:
        """Columns and rows, 0 when it stays whole, and the size of all of it."""
        if not self.do_image_splitting:
            return 0, 0, (self.tile_size, self.tile_size)
        size = _whole_tiles(_shrunk(_to_longest((width, height), self.longest_edge), _LARGEST), self.tile_size)
        if max(size) <= self.tile_size:
            return 0, 0, size
        return size[0] // self.tile_size, size[1] // self.tile_size, size


def _to_longest(size: Size, longest: int) -> Size:
    """The size with its longer side at `longest`, the other made even, as Idefics 3 first resizes."""
    width, height = size
    shape = width / height
    if width >= height:
        high = int(longest / shape)
        return longest, max(high + high % 2, 1)
    wide = int(longest * shape)
    return max(wide + wide % 2, 1), longest


def _shrunk(size: Size, longest: int) -> Size:
    """The size with its longer side at most `longest`."""
    width, height = size
    shape = width / height
    if width >= height and width > longest:
        width, height = longest, int(longest / shape)
    elif height > width and height > longest:
        width, height = int(longest * shape), longest
    return max(width, 1), max(height, 1)


def _whole_tiles(size: Size, tile: int) -> Size:
    """The size with both sides rounded up to tiles, the shorter after the longer."""
    width, height = size
    shape = width / height
    if width >= height:
        width = math.ceil(width / tile) * tile
        return width, math.ceil(int(width / shape) / tile) * tile
    height = math.ceil(height / tile) * tile
    return math.ceil(int(height * shape) / tile) * tile, height


FAMILIES: dict[str, Values] = {
    "gemma3": Soft(),
    "gemma3n": Soft(image_size=768),
    "paligemma": Prefix(),
    "idefics2": Quartered(),
    "idefics3": Gridded(),
    "smolvlm": Gridded(image_seq_len=81, longest_edge=4 * 384, tile_size=384),  # the 2.2B; 64 and 512 in smaller ones
}
