"""The fast header readers: where they differ from Pillow, sizes, token counts and rules are wrong without a word."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from lorachk.facts.imagefile import ImageFacts, _any, survey
from lorachk.facts.imagehead import FIRST, Head, head


def fast(data: bytes) -> Head | None:
    file = io.BytesIO(data)
    file.seek(min(FIRST, len(data)))
    return head(file, data[:FIRST])


def agrees(data: bytes) -> bool:
    """What the fast reader says is what Pillow says; whether it said anything."""
    found = fast(data)
    if found is None:
        return False
    with Image.open(io.BytesIO(data)) as image:
        orientation = image.getexif().get(0x0112) if image.format == "JPEG" else None
        assert (found.format, found.mode, found.width, found.height) == (image.format, image.mode, *image.size)
        assert found.orientation == orientation
        assert found.alpha == (image.mode == "RGBA")
        assert "transparency" not in image.info
        assert getattr(image, "n_frames", 1) == 1
    slow = _any(io.BytesIO(data), data[:FIRST], len(data), 20)
    assert survey(data)._replace(doubtful=False) == slow._replace(doubtful=False)
    return True


@st.composite
def pictures(draw: Any) -> bytes:
    kind = draw(st.sampled_from(["JPEG", "PNG"]))
    modes = ["RGB", "L", "CMYK"] if kind == "JPEG" else ["RGB", "L", "RGBA", "P", "LA", "1", "I;16"]
    size = draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    image = Image.linear_gradient("L").resize(size).convert("RGB").convert("L").convert(draw(st.sampled_from(modes)))
    options: dict[str, Any] = {}
    if draw(st.booleans()):
        exif = Image.Exif()
        if draw(st.booleans()):
            exif[0x0112] = draw(st.integers(0, 9))
        exif[0x010F] = "x" * draw(st.integers(0, 9000))
        exif[0x0128] = 2
        options["exif"] = exif
    if draw(st.booleans()):
        options["icc_profile"] = b"p" * draw(st.integers(0, 100_000))
    if draw(st.booleans()):
        options["dpi"] = (72, 72)
    if kind == "JPEG":
        options |= {"progressive": draw(st.booleans()), "quality": draw(st.integers(1, 100))}
        options["comment"] = b"c" * draw(st.integers(0, 60))
        if draw(st.booleans()):
            options["xmp"] = draw(st.sampled_from([b"<x/>", b'<x tiff:Orientation="6"/>']))
    else:
        info = PngImagePlugin.PngInfo()
        if draw(st.booleans()):
            info.add_text("Software", "t" * draw(st.integers(0, 5000)))
        if draw(st.booleans()):
            info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>')
        options["pnginfo"] = info
        if image.mode == "P" and draw(st.booleans()):
            options["transparency"] = draw(st.integers(0, 255))
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@settings(max_examples=150, deadline=None)
@given(pictures())
def test_what_it_says_is_what_pillow_says(data: bytes) -> None:
    agrees(data)


@settings(max_examples=200, deadline=None)
@given(pictures(), st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=3))
def test_of_a_damaged_header_it_says_nothing_pillow_would_not(data: bytes, damage: list[tuple[int, int]]) -> None:
    """Reading a header that Pillow refuses would let a broken image pass."""
    broken = bytearray(data)
    for at, value in damage:
        broken[at % len(broken)] = value
    found = fast(bytes(broken))
    if found is None:
        return
    with Image.open(io.BytesIO(bytes(broken))) as image:
        assert (found.format, found.mode, found.width, found.height) == (image.format, image.mode, *image.size)
        if found.format == "JPEG":
            assert found.orientation == image.getexif().get(0x0112)


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P")]
)
def test_ordinary_files_take_the_fast_way(kind: str, mode: str) -> None:
    """Else a dataset of a hundred thousand images takes minutes."""
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.linear_gradient("L").convert(mode).save(out, kind, **({"exif": exif} if kind == "JPEG" else {}))
    assert agrees(out.getvalue())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_what_a_viewer_applies(orientation: int) -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.new("RGB", (40, 20))
    picture.save(out, "JPEG", exif=exif)
    facts: ImageFacts = survey(out.getvalue()).facts
    assert facts.orientation == orientation
    with Image.open(io.BytesIO(out.getvalue())) as image:
        turned = ImageOps.exif_transpose(image)
    assert (turned.size != (40, 20)) == (facts.orientation > 4)
