"""What one image file really is: header, and whether its pixels can be decoded. Imports Pillow when first called."""

from __future__ import annotations

import io
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any, NamedTuple

SECONDS = 20.0  # per image; a photo takes hundredths of a second
_TAIL = 4096  # bytes at the end in which the end marker must stand, else the whole is decoded


class ImageFacts(NamedTuple):
    """Facts of an image; `decodes` is None when its pixels were not decoded and nothing suggests they cannot be."""

    bytes: int | None = None
    format: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    orientation: int | None = None
    decodes: bool | None = None
    problem: str | None = None


class _TooLong(Exception):
    pass


def inspect(source: str | bytes, *, full: bool) -> ImageFacts:
    """Read the header of a file (path) or of its content (bytes), and with `full` decode all pixels as RGB.

    Without `full`, a file that lacks its format's end marker is decoded all the same: that is how truncation shows.
    Never raises for what is wrong with the file.
    """
    from PIL import Image, ImageFile

    facts = ImageFacts()
    file: IO[bytes]
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")  # noqa: SIM115
    except OSError as error:
        return ImageFacts(decodes=False, problem=f"cannot be read: {error.strerror}")
    with file, warnings.catch_warnings(), _deadline(SECONDS):
        # Pillow warns from 89 million pixels and refuses from 179 million; the refusal is the trainer's, too.
        warnings.simplefilter("ignore")
        allowed, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            size = file.seek(0, io.SEEK_END)
            facts = facts._replace(bytes=size)
            if not size:
                return facts._replace(decodes=False, problem="the file is empty")
            file.seek(0)
            image = Image.open(file)
            facts = facts._replace(
                format=image.format,
                mode=image.mode,
                width=image.width,
                height=image.height,
                orientation=_upright(image),
            )
            if full or not _ends_well(file, image.format, size):
                image.convert("RGB")
                facts = facts._replace(decodes=True)
        except _TooLong:
            return facts._replace(decodes=False, problem=f"takes more than {SECONDS:g} s to decode")
        except Exception as error:  # Pillow's plugins raise nearly everything on hostile files
            return facts._replace(decodes=False, problem=_what(error, file))
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = allowed
    return facts


def _upright(image: Any) -> int | None:
    if image.format not in ("JPEG", "MPO", "WEBP", "TIFF", "PNG") or not (
        image.info.get("exif") or image.format == "TIFF"
    ):
        return None
    try:
        value = image.getexif().get(0x0112)
    except Exception:  # broken EXIF is no reason to refuse the image: decoding does not need it
        return None
    return value if isinstance(value, int) else None


def _ends_well(file: IO[bytes], format_: str | None, size: int) -> bool:
    """Whether the format's end marker is where it should be. False only asks for a closer look."""
    at = file.tell()
    try:
        if format_ == "WEBP":
            file.seek(4)
            return int.from_bytes(file.read(4), "little") + 8 <= size
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    finally:
        file.seek(at)
    match format_:
        case "JPEG" | "MPO":
            return b"\xff\xd9" in tail
        case "PNG":
            return b"IEND" in tail
        case "GIF":
            return tail.rstrip(b"\0").endswith(b";")
        case _:
            return True


def _what(error: Exception, file: IO[bytes]) -> str:
    name = type(error).__name__
    if name == "UnidentifiedImageError":
        try:
            file.seek(0)
            head = file.read(64).lstrip().lower()
        except (OSError, ValueError):
            head = b""
        if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
            return "is HTML or XML, not an image"
        if head.startswith(b"version https://git-lfs"):
            return "is a Git LFS pointer, not the image (run `git lfs pull`)"
        return "is in no image format Pillow knows"
    text = " ".join(str(error).split())[:160]
    return f"{name}: {text}" if text else name


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise _TooLong in the main thread after `seconds`; Pillow decodes in chunks, between which signals are seen."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
