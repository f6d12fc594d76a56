"""Headers of ordinary JPEG and PNG files, read some ten times as fast as by Pillow.

Whatever is unusual (EXIF that is not plain, several pictures in one file, colour profiles of PNG, more than 89 million
pixels, anything broken) gives None and is left to Pillow: these readers may refuse, but never differ from it.
"""

from __future__ import annotations

import zlib
from typing import IO, NamedTuple

FIRST = 4096  # bytes that hold the header of most files
_LONGEST = 1 << 20  # bytes of header (EXIF, colour profiles) that are read here
PIXELS = 89_478_485  # Pillow warns above these and refuses above twice as many
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_PNG_MODES = {(8, 0): "L", (8, 2): "RGB", (8, 3): "P", (8, 6): "RGBA"}
_PNG_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9}  # Pillow refuses shorter ones
_PNG_PASSED = {b"bKGD", b"sBIT", b"tIME", b"hIST", b"PLTE"}
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_ORIENTATION = 0x0112


class Head(NamedTuple):
    """What the header says; `body` is the byte where compressed pixels (JPEG: the first scan) start."""

    format: str
    mode: str
    width: int
    height: int
    orientation: int | None
    alpha: bool
    progressive: bool
    body: int


def head(file: IO[bytes], first: bytes) -> Head | None:
    """Header of `file`, of which `first` bytes have been read; None for what Pillow should look at."""
    if first.startswith(b"\xff\xd8\xff"):
        return _jpeg(file, first)
    if first.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        return _png(first)
    return None


def _jpeg(file: IO[bytes], data: bytes) -> Head | None:
    at = 2
    frame: tuple[str, int, int, bool] | None = None
    orientation: int | None = None
    exif = False
    while True:
        if at + 4 > len(data) or at + 2 + (length := data[at + 2] << 8 | data[at + 3]) > len(data):
            more = file.read(65536) if len(data) < _LONGEST else b""
            if not more:
                return None
            data += more
            continue
        if data[at] != 0xFF or length < 2:
            return None
        marker, start, at = data[at + 1], at + 4, at + 2 + length
        if marker == 0xDA:
            break
        if marker in (0xC0, 0xC1, 0xC2):
            layers = data[start + 5] if length >= 8 else 0
            if frame or data[start] != 8 or layers not in _JPEG_MODES or length != 8 + 3 * layers:
                return None
            height, width = data[start + 1] << 8 | data[start + 2], data[start + 3] << 8 | data[start + 4]
            frame = _JPEG_MODES[layers], width, height, marker == 0xC2
        elif marker == 0xDB:
            # Tables of 8-bit precision, one byte and 64 values each.
            if (length - 2) % 65 or any(data[i] >> 4 for i in range(start, at, 65)):
                return None
        elif marker == 0xE1:
            if data.startswith(b"Exif\0\0", start):
                if exif or (found := _orientation(data[start + 6 : at])) is None:
                    return None
                exif, orientation = True, found or None
            elif data.find(b"tiff:Orientation", start, at) >= 0:
                return None
        elif not _passed(marker, data, start, length):
            return None
    if frame is None:
        return None
    mode, width, height, progressive = frame
    if not 0 < width * height <= PIXELS:
        return None
    return Head("JPEG", mode, width, height, orientation, False, progressive, at)


def _passed(marker: int, data: bytes, start: int, length: int) -> bool:
    """Whether the segment says nothing of mode, size or orientation, and Pillow cannot stumble over it."""
    match marker:
        case 0xC4 | 0xDD | 0xFE:  # Huffman tables, restart interval, comment
            return True
        case 0xE0:
            return length >= 16 or not data.startswith(b"JFIF", start)
        case 0xE2:
            if data.startswith(b"ICC_PROFILE\0", start):
                return length >= 16
            return not data.startswith((b"MPF\0", b"FPXR\0"), start)
        case 0xED:
            return not data.startswith(b"Photoshop 3.0\0", start)
        case 0xEE:
            return length >= 9 or not data.startswith(b"Adobe", start)
    return 0xE3 <= marker <= 0xEF


def _orientation(exif: bytes) -> int | None:
    """Orientation tag of a TIFF block, 0 without one; None when the block is not plain."""
    order = exif[:2]
    if order not in (b"II", b"MM") or len(exif) < 14:
        return None
    endian = "little" if order == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], endian)  # type: ignore[arg-type]

    at = number(4, 4)
    if number(2, 2) != 42 or at < 8 or at + 2 > len(exif):
        return None
    entries = number(at, 2)
    if at + 2 + 12 * entries > len(exif):
        return None
    found = 0
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        kind, count = number(entry + 2, 2), number(entry + 4, 4)
        size = _TIFF_SIZES.get(kind, 0) * count
        if not size or (size > 4 and number(entry + 8, 4) + size > len(exif)):
            return None  # Pillow stops reading where a value lies outside the block
        if number(entry, 2) == _ORIENTATION:
            if found or kind != 3 or count != 1:
                return None
            found = number(entry + 8, 2)
            if not found:
                return None
    return found


def _png(data: bytes) -> Head | None:
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    mode = _PNG_MODES.get((data[24], data[25])) if len(data) > 33 else None
    if mode is None or not 0 < width * height <= PIXELS or data[26] or data[27] or data[28] > 1:
        return None
    at, palette = 8, False
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if kind == b"IDAT":
            return Head("PNG", mode, width, height, None, mode == "RGBA", False, at) if palette or mode != "P" else None
        if end > len(data) or zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return None
        if kind == b"PLTE":
            palette = length > 0
        elif kind == b"tEXt":
            if b"Raw profile" in data[at:end]:
                return None
        elif kind == b"IHDR":
            if at != 8:
                return None
        elif kind not in _PNG_PASSED and length != _PNG_LENGTHS.get(kind, -1):
            return None
        at = end
    return None
