"""What one image file really is: header, structure, and whether its pixels can be decoded.

Ordinary JPEG and PNG headers are read here without Pillow; it is imported when something else comes up.
"""

from __future__ import annotations

import io
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any, NamedTuple

from lorachk.facts.imageend import ends_well, gif_walk, jpeg_ends, png_ends
from lorachk.facts.imagehead import FIRST, head

SECONDS = 20.0  # per image; a photo takes hundredths of a second
_TAME_PIXELS = 40_000_000  # what decodes within seconds whatever its bytes are
_TAME_BYTES = 64 << 20
_TAME_SCANS = 100  # of a JPEG, each of which goes over the whole picture; libraries write up to about ten
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_TAME_FORMATS = {"JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "PPM"}


class ImageFacts(NamedTuple):
    """Facts of an image; `decodes` is None when its pixels were not decoded and nothing suggests they cannot be.

    `format` is the real one, whatever the name says; `orientation` the EXIF tag (None or 1: upright); `frames` counts
    pictures of an animation or pages (1 for a single image); `transparency`: some pixels may be seen through (a
    transparent colour, or an alpha channel that is not opaque all over; None for one that was not decoded).
    """

    bytes: int | None = None
    format: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    orientation: int | None = None
    frames: int | None = None
    transparency: bool | None = None
    decodes: bool | None = None
    problem: str | None = None


class Survey(NamedTuple):
    """Facts without decoding, and whether only decoding can tell if the file is whole."""

    facts: ImageFacts
    doubtful: bool = False


class _TooLong(Exception):
    pass


def inspect(source: str | bytes, *, full: bool, hostile: bool = False, seconds: float = SECONDS) -> ImageFacts:
    """Read the header of a file (path) or of its content (bytes), and with `full` decode all pixels as RGB.

    Without `full`, a file whose structure is not whole is decoded all the same: that is how truncation shows. An image
    that may keep its decoder busy in native code, where no time limit reaches it, is decoded only with `hostile`: for
    callers who can end the process. Never raises for what is wrong with the file.
    """
    found = survey(source, seconds=seconds)
    if (full or found.doubtful) and found.facts.problem is None and (hostile or tame(source, found.facts)):
        return decode(source, found.facts, seconds=seconds)
    return found.facts


def survey(source: str | bytes, *, seconds: float = SECONDS) -> Survey:
    """Header and structural end check; nothing is decoded."""
    try:
        file: IO[bytes] = _opened(source)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return Survey(ImageFacts(decodes=False, problem=f"cannot be read: {reason}"))
    with file:
        try:
            first = file.read(FIRST)
            size = file.seek(0, io.SEEK_END)
        except OSError as error:
            return Survey(ImageFacts(decodes=False, problem=f"cannot be read: {error.strerror}"))
        if not size:
            return Survey(ImageFacts(bytes=0, decodes=False, problem="the file is empty"))
        try:
            return _ordinary(file, first, size) or _any(file, first, size, seconds)
        except OSError as error:
            return Survey(ImageFacts(bytes=size, decodes=False, problem=f"cannot be read: {error.strerror}"))


def _opened(source: str | bytes) -> IO[bytes]:
    # Unbuffered: a header is one read, and Path costs as much as the rest.
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb", buffering=0)  # noqa: PTH123


def _ordinary(file: IO[bytes], first: bytes, size: int) -> Survey | None:
    file.seek(len(first))
    found = head(file, first)
    if found is None:
        return None
    facts = ImageFacts(
        size, found.format, found.mode, found.width, found.height, found.orientation, 1, None if found.alpha else False
    )
    if found.format == "PNG":
        return Survey(facts, not png_ends(file, size))
    return Survey(facts, not jpeg_ends(file, size, found.body, several=found.progressive))


def _any(file: IO[bytes], first: bytes, size: int, seconds: float) -> Survey:
    from PIL import Image

    facts = ImageFacts(bytes=size)
    file.seek(0)
    with _pillow(seconds):
        try:
            buffered = file if isinstance(file, io.BytesIO) else io.BufferedReader(file)  # type: ignore[type-var]
            image = Image.open(buffered)
            facts = facts._replace(
                format=image.format,
                mode=image.mode,
                width=image.width,
                height=image.height,
                orientation=_orientation(image),
                transparency=_transparency(image),
            )
            doubtful = not ends_well(buffered, image, size)
            facts = facts._replace(frames=_frames(image, buffered, size))
            return Survey(facts, doubtful)
        except _TooLong:
            return Survey(facts._replace(decodes=False, problem=f"takes more than {seconds:g} s to decode"))
        except Exception as error:  # Pillow's plugins raise nearly everything on hostile files
            if type(error).__name__ == "DecompressionBombError":
                facts = _bomb(file, facts)
            return Survey(facts._replace(decodes=False, problem=_what(error, first)))


def _bomb(file: IO[bytes], facts: ImageFacts) -> ImageFacts:
    """Format and size of an image that Pillow refuses for its size; only its header is read."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        file.seek(0)
        image = Image.open(file)
        return facts._replace(format=image.format, mode=image.mode, width=image.width, height=image.height)
    except _TooLong:
        raise
    except Exception:
        return facts
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def tame(source: str | bytes, facts: ImageFacts) -> bool:
    """Whether the image surely decodes, or fails to, within seconds: it cannot keep this process busy."""
    size, pixels = facts.bytes or 0, (facts.width or 0) * (facts.height or 0)
    if facts.format not in _TAME_FORMATS or size > _TAME_BYTES or pixels > _TAME_PIXELS:
        return False
    if facts.format not in ("JPEG", "MPO"):
        return True
    with _opened(source) as file:
        return file.read(_TAME_BYTES).count(b"\xff\xda") <= _TAME_SCANS


def decode(source: str | bytes, facts: ImageFacts, *, seconds: float = SECONDS) -> ImageFacts:
    """`facts` with the outcome of decoding all pixels of the first picture as RGB."""
    from PIL import Image

    with _pillow(seconds):
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                image.load()
                # Whether the mode converts does not depend on the pixels, and a second copy of them costs memory.
                image.crop((0, 0, 1, 1)).convert("RGB")
                if facts.transparency is None:
                    facts = facts._replace(transparency=_seen_through(image))
            return facts._replace(decodes=True)
        except _TooLong:
            return facts._replace(decodes=False, problem=f"takes more than {seconds:g} s to decode")
        except Exception as error:
            return facts._replace(decodes=False, problem=_what(error, b""))


@contextmanager
def _pillow(seconds: float) -> Iterator[None]:
    """Pillow's own strictness, whatever was set, no warnings, and a deadline."""
    from PIL import ImageFile

    with warnings.catch_warnings(), _deadline(seconds):
        # Pillow warns from 89 million pixels and refuses from 179 million; the refusal is the trainer's, too.
        warnings.simplefilter("ignore")
        allowed, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = allowed


def _orientation(image: Any) -> int | None:
    # Pillow takes it from EXIF or XMP, wherever the format keeps them; asking in vain decodes a PNG.
    if image.format != "TIFF" and not any("exif" in str(k).lower() or "xmp" in str(k).lower() for k in image.info):
        return None
    try:
        value = image.getexif().get(0x0112)
    except _TooLong:
        raise
    except Exception:  # broken EXIF is no reason to refuse the image: decoding does not need it
        return None
    return value if isinstance(value, int) else None


def _transparency(image: Any) -> bool | None:
    """Whether there are transparent pixels; None when only the alpha channel's pixels can tell."""
    if image.mode in _ALPHA:
        return None
    if "transparency" in image.info:
        return True
    return bool(image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A"))


def _seen_through(image: Any) -> bool | None:
    if image.mode not in _ALPHA:
        return None
    return bool(image.getchannel("A" if image.mode.endswith("A") else "a").getextrema()[0] < 255)


def _frames(image: Any, file: IO[bytes], size: int) -> int | None:
    if image.format == "GIF":
        at = file.tell()
        walked = gif_walk(file, size)
        file.seek(at)
        if walked.whole:
            return walked.frames
    try:
        return int(getattr(image, "n_frames", 1))
    except _TooLong:
        raise
    except Exception:  # of a broken later picture; the first may be read all the same
        return None


def _what(error: Exception, first: bytes) -> str:
    name = type(error).__name__
    if name == "UnidentifiedImageError":
        start = first[:64].lstrip().lower()
        if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
            return "is HTML or XML, not an image"
        if start.startswith(b"version https://git-lfs"):
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
