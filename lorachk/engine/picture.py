"""Image files for the examples of rule pages, made from a line of text."""

from __future__ import annotations

import io
import re
from pathlib import PurePath


def picture(text: str, name: str) -> bytes:
    """Bytes of the image that the text describes; the format follows from the file's `name`.

    `640x480 [MODE] [format=PNG] [orientation=6] [frames=3] [opaque] [truncated]`. Modes with alpha are half transparent
    unless `opaque`. `20000x20000 header` is a PNG whose header says so and whose pixels are missing. Raises ValueError,
    KeyError or OSError for what cannot be made.
    """
    from PIL import Image

    words = text.split()
    size = re.fullmatch(r"(\d+)x(\d+)", words[0]) if words else None
    if size is None:
        raise ValueError("expected WIDTHxHEIGHT")
    width, height = int(size[1]), int(size[2])
    if "header" in words:
        return _png_header(width, height)
    given = dict(w.split("=", 1) for w in words if "=" in w)
    mode = next((w for w in words[1:] if re.fullmatch(r"[A-Z0-9][A-Za-z0-9]*(;16)?", w)), "RGB")
    kind = given.get("format") or Image.registered_extensions().get(PurePath(name).suffix.lower(), "PNG")
    gradient = Image.linear_gradient("L").resize((width, height))
    if mode.endswith("A") and "opaque" not in words:
        made = Image.merge("RGBA", [gradient] * 4).convert(mode)
    else:
        made = gradient.convert(mode)
    options: dict[str, object] = {}
    if "orientation" in given:
        exif = Image.Exif()
        exif[0x0112] = int(given["orientation"])
        options["exif"] = exif
    if int(given.get("frames", 1)) > 1:
        more = [made.rotate(7 * turn) for turn in range(1, int(given["frames"]))]
        options |= {"save_all": True, "append_images": more}
    out = io.BytesIO()
    made.save(out, kind, **options)
    data = out.getvalue()
    return data[: len(data) * 6 // 10] if "truncated" in words else data


def _png_header(width: int, height: int) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
