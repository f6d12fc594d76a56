"""The end check: it must find what a download cut off, and must not accuse a file that every decoder takes."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lorachk.facts.imagefile import inspect, survey

_KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("PNG", "RGB", {}),
    ("PNG", "P", {"transparency": 3}),
    ("GIF", "P", {}),
    ("GIF", "P", {"frames": 3}),
    ("PNG", "RGB", {"frames": 3}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"frames": 2}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
    ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"frames": 3}),
    ("MPO", "RGB", {"frames": 2}),
    ("PPM", "RGB", {}),
    ("TGA", "RGB", {}),
    ("ICO", "RGBA", {}),
]


def made(kind: str, mode: str, options: dict[str, Any], size: tuple[int, int] = (120, 90)) -> bytes:
    options = dict(options)
    frames = options.pop("frames", 1)
    image = Image.effect_noise(size, 60).convert(mode)
    if frames > 1:
        options |= {"save_all": True, "append_images": [image.rotate(90 * i) for i in range(1, frames)]}
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pillow(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.convert("RGB")
    except Exception:
        return False
    return True


@pytest.mark.parametrize(("kind", "mode", "options"), _KINDS)
def test_whole_files_are_whole_and_counted(kind: str, mode: str, options: dict[str, Any]) -> None:
    found = survey(made(kind, mode, options))
    assert found.facts.problem is None
    assert found.facts.format == kind
    assert found.facts.frames == options.get("frames", 1)
    if kind != "ICO":  # rare formats are decoded instead
        assert not found.doubtful


@pytest.mark.parametrize(("kind", "mode", "options"), _KINDS)
@settings(max_examples=12, deadline=None)
@given(share=st.floats(0.02, 0.999))
def test_a_cut_file_is_judged_as_pillow_judges_it(kind: str, mode: str, options: dict[str, Any], share: float) -> None:
    data = made(kind, mode, options)
    cut = data[: int(len(data) * share)]
    assert (inspect(cut, full=False, hostile=True).decodes is not False) == pillow(cut)


@pytest.mark.parametrize(("kind", "mode", "options"), [k for k in _KINDS if k[0] in ("JPEG", "PNG", "GIF", "WEBP")])
@pytest.mark.parametrize("tail", [b"\0" * 5000, b"trailer" * 900, b"\xff", b"\xff\xd9", b"\n"])
def test_what_follows_the_end_is_no_fault(kind: str, mode: str, options: dict[str, Any], tail: bytes) -> None:
    """Phones append videos, downloads append a line."""
    found = survey(made(kind, mode, options) + tail)
    assert found.facts.problem is None
    assert not found.doubtful


def test_an_end_marker_in_a_thumbnail_is_not_the_end() -> None:
    """A search of the tail would find the thumbnail's end in a file cut right behind its header."""
    thumbnail = made("JPEG", "RGB", {}, (20, 20))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + thumbnail
    data = made("JPEG", "RGB", {"exif": exif})
    cut = data[: data.index(thumbnail) + len(thumbnail)]
    assert cut.endswith(b"\xff\xd9")
    assert inspect(cut, full=False, hostile=True).decodes is False


def test_transparency_is_that_of_the_pixels() -> None:
    """An opaque alpha channel changes nothing, and screenshots have one: a warning would be noise."""
    clear, opaque = io.BytesIO(), io.BytesIO()
    Image.new("RGBA", (9, 9), (1, 2, 3, 0)).save(clear, "PNG")
    Image.new("RGBA", (9, 9), (1, 2, 3, 255)).save(opaque, "PNG")
    assert inspect(clear.getvalue(), full=True, hostile=True).transparency is True
    assert inspect(opaque.getvalue(), full=True, hostile=True).transparency is False
    assert inspect(opaque.getvalue(), full=False, hostile=True).transparency is None
    assert inspect(made("PNG", "P", {"transparency": 3}), full=False, hostile=True).transparency is True
    assert inspect(made("JPEG", "RGB", {}), full=False, hostile=True).transparency is False
