"""Whether an image file is whole, by walking its structure; no pixel is decoded.

False only asks for a closer look (a full decode): files with an odd end that every decoder takes are not at fault.
"""

from __future__ import annotations

import io
import re
from typing import IO, Any, NamedTuple

_WHOLE = 1 << 28  # bytes; a larger file is not walked where that needs all of it in memory
_CHUNKS = 1_000_000  # PNG chunks that are walked
# In entropy-coded data FF is followed by 00 (the byte FF itself), a restart marker, or another FF as filling.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class Gif(NamedTuple):
    """Outcome of walking a GIF's blocks."""

    whole: bool
    frames: int


def jpeg_ends(file: IO[bytes], size: int, scan: int, *, several: bool = True) -> bool:
    """Whether the end-of-image marker follows the scans; `scan` is the byte where the first one's data starts.

    A file with one scan that ends in the marker is whole: data of a scan holds no FF D9. One with `several` scans is
    walked from table to table. What is appended after the marker is allowed.
    """
    if not several and size - 2 >= scan:
        file.seek(size - 2)
        if file.read(2) == b"\xff\xd9":
            return True
    if size > _WHOLE:
        return False
    file.seek(scan)
    data, at = file.read(), 0
    while match := _MARKER.search(data, at):
        at = match.end()
        if data[at - 1] == 0xD9:
            return True
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2:
            return False
        at += length
    return False


def jpeg_scan(file: IO[bytes], size: int) -> int | None:
    """The byte where the data of the first scan starts; None when the segments before it are broken."""
    at = 2
    while at + 4 <= size:
        file.seek(at)
        start = file.read(4)
        if len(start) < 4 or start[0] != 0xFF:
            return None
        if start[1] == 0xFF:
            at += 1
            continue
        length = int.from_bytes(start[2:], "big")
        if length < 2:
            return None
        at += 2 + length
        if start[1] == 0xDA:
            return at
    return None


def png_ends(file: IO[bytes], size: int) -> bool:
    """Whether the chunks lead to IEND with the lengths they state."""
    at = 8
    for _ in range(_CHUNKS):
        if at + 12 > size:
            return False
        file.seek(at)
        start = file.read(8)
        if start[4:] == b"IEND":
            return True
        at += 12 + int.from_bytes(start[:4], "big")
    return False


def gif_walk(file: IO[bytes], size: int) -> Gif:
    """Walk the blocks to the trailer and count the pictures."""
    if size > _WHOLE:
        return Gif(False, 0)
    file.seek(0)
    data = file.read()
    frames = 0
    try:
        at = 13 + _palette(data[10])
        while True:
            match data[at]:
                case 0x3B:
                    return Gif(True, frames)
                case 0x21:
                    at += 2
                case 0x2C:
                    frames += 1
                    at += 11 + _palette(data[at + 9])
                case _:
                    return Gif(False, frames)
            while length := data[at]:
                at += length + 1
            at += 1
    except IndexError:
        return Gif(False, frames)


def _palette(flags: int) -> int:
    """Bytes of a GIF colour table."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def riff_ends(file: IO[bytes], size: int) -> bool:
    """Whether the file is as long as its RIFF header (WebP) says."""
    file.seek(4)
    return int.from_bytes(file.read(4), "little") + 8 <= size


def boxes_end(file: IO[bytes], size: int) -> bool:
    """Whether the top-level boxes (AVIF) fill the file."""
    at = 0
    for _ in range(_CHUNKS):
        if at == size:
            return at > 0
        file.seek(at)
        start = file.read(16)
        if len(start) < 8:
            return False
        length = int.from_bytes(start[:4], "big")
        if length == 1:
            length = int.from_bytes(start[8:16], "big")
        if length == 0:
            return True  # reaches to the end
        if length < 8:
            return False
        at += length
        if at > size:
            return False
    return False


def tiff_ends(image: Any, size: int) -> bool:
    """Whether all strips or tiles of the first page lie inside the file. `image`: Pillow's TiffImageFile."""
    tags = image.tag_v2
    for starts, lengths in ((273, 279), (324, 325)):
        if starts in tags and lengths in tags:
            pairs = zip(tags[starts], tags[lengths], strict=True)
            return all(int(start) + int(length) <= size for start, length in pairs)
    return False


def raw_ends(image: Any, size: int) -> bool:
    """Whether uncompressed pixels (BMP, PPM, TGA) lie inside the file. `image`: opened by Pillow, not loaded."""
    if len(image.tile) != 1 or image.tile[0][0] != "raw":
        return False
    _, (left, upper, right, lower), offset, args = image.tile[0]
    mode = args if isinstance(args, str) else args[0]
    stride = args[1] if isinstance(args, tuple) and len(args) > 1 else 0
    bits = {"1": 1, "L": 8, "P": 8, "RGB": 24, "BGR": 24, "BGRX": 32, "BGRA": 32, "RGBA": 32}.get(mode.split(";")[0])
    if not stride and (bits is None or ";" in mode):
        return False
    return bool(offset + (stride or ((right - left) * (bits or 0) + 7) // 8) * (lower - upper) <= size)


def ends_well(file: IO[bytes], image: Any, size: int) -> bool:
    """Whether the file of an image opened by Pillow is whole. Leaves the file where it was."""
    at = file.tell()
    try:
        match image.format:
            case "JPEG" | "MPO":
                scan = jpeg_scan(file, size)
                return scan is not None and jpeg_ends(file, size, scan)
            case "PNG":
                return png_ends(file, size)
            case "GIF":
                return gif_walk(file, size).whole
            case "WEBP":
                return riff_ends(file, size)
            case "AVIF":
                return boxes_end(file, size)
            case "TIFF":
                return tiff_ends(image, size)
            case "BMP" | "DIB" | "PPM" | "TGA":
                return raw_ends(image, size)
            case _:
                return False
    except (OSError, ValueError, TypeError, IndexError, KeyError):
        return False
    finally:
        file.seek(at, io.SEEK_SET)
