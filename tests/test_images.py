"""Image files: a broken one that is called whole stops the run; a whole one that is called broken is a false alarm."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from lorachk.facts.imagefile import inspect
from lorachk.facts.imagepaths import Resolver
from lorachk.facts.images import inline


def made(path: Path, size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = Image.effect_noise(size, 60)
    # noise can hold all 256 greys, and a GIF of these is read as a grey image
    image = noise.quantize(16) if mode == "P" else noise.convert(mode)
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.jpg", "RGB"),
        ("a.jpg", "L"),
        ("a.jpg", "CMYK"),
        ("a.png", "RGBA"),
        ("a.png", "P"),
        ("a.gif", "P"),
        ("a.webp", "RGB"),
        ("a.bmp", "RGB"),
        ("a.tiff", "RGB"),
    ],
)
@pytest.mark.parametrize("full", [True, False])
def test_whole_images_are_whole(tmp_path: Path, name: str, mode: str, full: bool) -> None:
    facts = inspect(str(made(tmp_path / name, mode=mode)), full=full, hostile=True)
    assert (facts.width, facts.height, facts.problem) == (64, 48, None)
    assert facts.decodes is not False
    assert facts.mode == mode


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.webp"])
def test_truncation_shows_without_decoding_every_image(tmp_path: Path, name: str) -> None:
    file = made(tmp_path / name, (300, 300))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    facts = inspect(str(file), full=False, hostile=True)
    assert facts.decodes is False
    assert facts.problem


def test_bytes_after_the_end_are_no_fault(tmp_path: Path) -> None:
    """Phones append data to JPEGs; such files decode."""
    file = made(tmp_path / "a.jpg")
    file.write_bytes(file.read_bytes() + b"trailer" * 2000)
    assert inspect(str(file), full=False, hostile=True).decodes is not False
    assert inspect(str(file), full=True, hostile=True).decodes is True


def test_real_format_and_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = made(tmp_path / "a.jpg", exif=exif)
    wrong = tmp_path / "a.png"
    file.rename(wrong)
    facts = inspect(str(wrong), full=True, hostile=True)
    assert (facts.format, facts.orientation, facts.decodes) == ("JPEG", 6, True)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"version https://git-lfs", "LFS"),
        (b"nonsense", "no image format"),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    facts = inspect(str(file), full=False, hostile=True)
    assert facts.decodes is False
    assert problem in (facts.problem or "")


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    """A few kilobytes must not take gigabytes of the machine that checks them."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    file = tmp_path / "bomb.png"
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    facts = inspect(str(file), full=True, hostile=True)
    assert facts.decodes is False
    assert "DecompressionBombError" in (facts.problem or "")
    assert (facts.format, facts.width) == ("PNG", 60_000)


def test_resolution_order(tmp_path: Path) -> None:
    made(tmp_path / "launch/a.png")
    made(tmp_path / "data/a.png")
    made(tmp_path / "root/b.png")
    folders = [str(tmp_path / "launch"), str(tmp_path / "data")]
    assert Resolver(None, folders).resolve("a.png").path == str(tmp_path / "launch/a.png")
    assert Resolver(str(tmp_path / "root"), folders).resolve("b.png").exists is True
    assert Resolver(str(tmp_path / "root"), folders).resolve("a.png").exists is False
    assert Resolver(None, []).resolve("https://x.org/a.png") == ("url", None, None, None)
    assert Resolver(None, folders).resolve(f"file://{tmp_path}/data/a.png").exists is True


@pytest.mark.parametrize(
    ("reference", "meant"),
    [("x/A.png", "x/a.png"), ("x/a.jpg", "x/a.png"), ("x\\a.png", "x/a.png"), ("~/x/a.png", "x/a.png")],
)
def test_near_misses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, meant: str) -> None:
    made(tmp_path / "x/a.png")
    (tmp_path / "x/a.txt").write_text("caption")  # never what was meant
    monkeypatch.setenv("HOME", str(tmp_path))
    found = Resolver(None, [str(tmp_path)]).resolve(reference)
    assert found.exists is False
    assert found.near_miss == str(tmp_path / meant)


def test_a_reference_may_be_anything(tmp_path: Path) -> None:
    for reference in ("", "\0", "a" * 10_000, "..", "data:", "file://", "\udcff"):
        found = Resolver(None, [str(tmp_path)]).resolve(reference)
        assert found.exists is not None
        if found.kind == "data":
            assert inline(reference).decodes is False


def test_data_uris() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 7)).save(buffer, "PNG")
    good = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    assert (inline(good).width, inline(good).decodes) == (5, True)
    for broken in (good[:-40], "data:image/png;base64,", "data:image/png", "data:,%89PNG"):
        assert inline(broken).decodes is False
        assert inline(broken).problem
