"""Safe fixes of how a record names its images: key and type of the field, paths, the order of an image object."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from lorachk.facts.records.dialects.model import KEY, PLACEHOLDER
from lorachk.fixes.fixer import Around, Change, Record, found, placed, renamed
from lorachk.fixes.text import texts, with_texts
from lorachk.fixes.written import WRITTEN

_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jfif", ".avif", ".heic"}
_LISTED = 200_000  # entries of a folder that are looked through


def image_field(record: Record, around: Around) -> Change | None:
    """The JSON type that the trainer reads: a list of one as its element, a path as a list, several as an object."""
    value = record.value
    wanted = WRITTEN.get(around.trainer or "")
    if around.trainer == "llamafactory" and isinstance(value.get("images"), str):
        return Change({**value, "images": [value["images"]]}, "D107", "images is now a list of one path")
    minicpmv = around.trainer == "minicpmv"
    if around.trainer is None and record.shape.dialect == "minicpmv":
        minicpmv = True
    if not (minicpmv or (wanted and wanted.image == "string")):
        return None
    if "image" not in value and "images" in value:
        value = renamed(value, {"images": "image"})
    image = value.get("image")
    if isinstance(image, list) and len(image) == 1 and isinstance(image[0], str):
        return Change({**value, "image": image[0]}, "D107", "a list of one image is now its path")
    if minicpmv and isinstance(image, list) and len(image) > 1 and all(isinstance(i, str) for i in image):
        return _object(Record(value, record.shape), image)
    if value is not record.value and isinstance(image, str):
        return Change(value, "D107", "images is now called image")
    return None


def _object(record: Record, images: list[str]) -> Change | None:
    """A list of images as MiniCPM-V's object, when each has its place in the text."""
    before = texts(record)
    if before is None or sum(text.count(PLACEHOLDER) for text in before.values()) != len(images):
        return None
    if any(KEY.search(text) for text in before.values()):
        return None
    keys = iter([f"<image_{i:02}>" for i in range(len(images))])
    after = {}
    for pointer, text in before.items():
        first, *rest = text.split(PLACEHOLDER)
        after[pointer] = first + "".join(next(keys) + part for part in rest)
    image = {f"<image_{i:02}>": path for i, path in enumerate(images)}
    value = with_texts({**record.value, "image": image}, after)
    return Change(value, "D107", "a list of images is now an object of <image_00> keys, as the text names them")


def near_path(record: Record, around: Around) -> Change | None:
    """A path that leads nowhere, where one file differs from it in letter case, ending or backslashes only."""
    value: Any = record.value
    for image in record.shape.images:
        if image.reference is None or image.content is not None or not _local(image.reference):
            continue
        meant = _meant(image.reference, tuple(around.folders))
        at = next((p for p in _pointers(image.pointer) if found(value, p) == image.reference), None)
        if meant and at:
            value = placed(value, at, meant)
    if value is record.value:
        return None
    return Change(value, "I101", "a path now names the one file that is there")


def _pointers(pointer: str) -> list[str]:
    """Where the path itself stands: at the reference, or inside the object or part that holds it."""
    inside = ("path", "image", "url", "image_url", "image_url/url", "image/path")
    return [pointer, *(f"{pointer}/{key}" for key in inside)]


def _local(reference: str) -> bool:
    return "://" not in reference and not reference.startswith("data:") and "\0" not in reference


@lru_cache(maxsize=100_000)
def _meant(reference: str, folders: tuple[str, ...]) -> str | None:
    """The path that was meant; None when the file is there, or when it is not sure which one was."""
    turned = reference.replace("\\", "/")
    joined = [os.path.join(folder, reference) for folder in folders]  # noqa: PTH118
    if any(os.path.isfile(path) for path in joined):  # noqa: PTH113
        return None
    if turned != reference and any(os.path.isfile(os.path.join(f, turned)) for f in folders):  # noqa: PTH113, PTH118
        return turned
    path = PurePosixPath(turned)
    meant: set[str] = set()
    for folder in folders:
        names, stems = _listing(os.path.join(folder, str(path.parent)))  # noqa: PTH118
        # The same name in another case says more than another ending does.
        meant |= set(names.get(path.name.lower(), ()) or stems.get(path.stem.lower(), ()))
    return f"{turned[: len(turned) - len(path.name)]}{meant.pop()}" if len(meant) == 1 else None


@lru_cache(maxsize=256)
def _listing(folder: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Files of a folder by name and images by stem, both in small letters."""
    names: dict[str, list[str]] = {}
    stems: dict[str, list[str]] = {}
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= _LISTED:
                    return {}, {}  # what was not seen could be meant as well
                if not entry.is_file():
                    continue
                names.setdefault(entry.name.lower(), []).append(entry.name)
                stem, ending = os.path.splitext(entry.name)  # noqa: PTH122
                if ending.lower() in _ENDINGS:
                    stems.setdefault(stem.lower(), []).append(entry.name)
    except (OSError, ValueError):
        return {}, {}
    return names, stems


def key_order(record: Record, around: Around) -> Change | None:
    """MiniCPM-V lays images down in the object's order and places in the text's: the object follows the text."""
    if around.trainer not in (None, "minicpmv") or record.shape.dialect != "minicpmv-multi":
        return None
    image = record.value.get("image")
    named = [key for turn in record.shape.turns or () for key in turn.keys]
    if not isinstance(image, dict) or named == list(image) or sorted(named) != sorted(image):
        return None
    ordered = {key: image[key] for key in named}
    return Change({**record.value, "image": ordered}, "D218", "images are listed in the order of the text")
