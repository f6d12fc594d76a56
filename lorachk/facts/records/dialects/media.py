"""Images and videos of a record: its own fields, and the parts of typed content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lorachk.facts.records.dialects.model import (
    ABSENT,
    KEY,
    NO_KEYS,
    PLACEHOLDER,
    Reference,
    Turn,
    escaped,
    json_type,
)

_IMAGE_PARTS = ("image", "image_url", "input_image")
_VIDEO_PARTS = ("video", "video_url", "input_video")
_NAMES = ("image", "image_url", "path", "url", "bytes", "base64", "source")
_EMBEDDED = {"bytes", "path"}  # the Image feature of `datasets`


def image_field(value: Mapping[str, Any]) -> tuple[str, list[Reference]]:
    """JSON type of the field `image`, or of `images` when that is not there; and the images it names."""
    image = value.get("image", ABSENT)
    if type(image) is str:
        return "string", [Reference(None, image, "/image")]
    if (image is ABSENT or image is None) and "images" in value:
        return json_type(value["images"]), listed(value["images"], "/images")
    return json_type(image), listed(image, "/image")


def listed(images: Any, pointer: str) -> list[Reference]:
    """The images of a field: a path, a list, an embedded file, or MiniCPM-V's object of placeholders."""
    if isinstance(images, list):
        return [reference(image, f"{pointer}/{number}") for number, image in enumerate(images)]
    if isinstance(images, dict) and not embedded(images):
        return [
            Reference(str(key), name if isinstance(name, str) else None, f"{pointer}/{escaped(key)}")
            for key, name in images.items()
        ]
    if images is None or images is ABSENT or not isinstance(images, (str, bytes, dict)):
        return []
    return [reference(images, pointer)]


def embedded(value: Mapping[str, Any]) -> bool:
    """Whether an object is one image of a Parquet file, with its bytes, path or both."""
    return bool(value) and value.keys() <= _EMBEDDED


def reference(value: Any, pointer: str) -> Reference:
    """One image: a path, its bytes, or an object that holds one under a name that some trainer reads."""
    if isinstance(value, str):
        return Reference(None, value, pointer)
    if isinstance(value, bytes):
        return Reference(None, None, pointer, value)
    if not isinstance(value, dict):
        return Reference(None, None, pointer)
    content = value.get("bytes")
    path = None
    for name in _NAMES:
        found = value.get(name)
        if isinstance(found, dict):  # {"image_url": {"url": ...}}, {"image": {"bytes": ..., "path": ...}}
            content = content or found.get("bytes")
            found = found.get("url") or found.get("path") or _base64(found.get("data"))
        elif name == "base64":
            found = _base64(found)
        if isinstance(found, str) and found:
            path = found
            break
    return Reference(None, path, pointer, content if isinstance(content, bytes) else None)


def _base64(data: Any) -> str | None:
    return f"data:;base64,{data}" if isinstance(data, str) and data else None


def count_videos(value: Mapping[str, Any]) -> int:
    """Videos of the fields `video` and `videos`; a list of lists is a list of videos cut into frames."""
    count = 0
    for name in ("video", "videos"):
        if name in value:
            count += videos_of(value[name])
    return count


def videos_of(videos: Any) -> int:
    """Videos of one field."""
    return len(videos) if isinstance(videos, list) else int(isinstance(videos, (str, bytes, dict)) and bool(videos))


def text_turn(role: str | None, speaker: str | None, text: str, pointer: str | None) -> Turn:
    """A turn whose content is a string."""
    keys, count = NO_KEYS, 0
    if "<" in text:
        count = text.count(PLACEHOLDER)
        if "<image_" in text:
            keys = KEY.findall(text)
    return Turn(role, speaker, "string", text, count, keys, pointer)


def any_turn(
    role: str | None, speaker: str | None, content: Any, pointer: str | None, at: str, calls: Any = None
) -> tuple[Turn, list[Reference], int]:
    """A turn of any content, the images its parts bring along, and how many videos.

    `at` is the pointer of the content; `calls` are an assistant's tool calls, which stand for text that is not there.
    """
    if calls and not content:
        return Turn(role, speaker, "parts", _as_json(calls), 0, NO_KEYS, pointer), [], 0
    if content is ABSENT:
        return Turn(role, speaker, "absent", "", 0, NO_KEYS, pointer), [], 0
    if isinstance(content, str):
        return text_turn(role, speaker, content, pointer), [], 0
    if not isinstance(content, list) or not all(isinstance(part, (str, dict)) for part in content):
        kind = "null" if content is None else "other"
        return Turn(role, speaker, kind, "", 0, NO_KEYS, pointer), [], 0
    texts: list[str] = []
    images: list[Reference] = []
    placeholders = videos = 0
    for number, part in enumerate(content):
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type")
        if isinstance(text := part.get("text"), str):
            texts.append(text)
        if kind in _IMAGE_PARTS:
            placeholders += 1
            if any(part.get(name) for name in _NAMES):
                images.append(reference(part, f"{at}/{number}"))
        elif kind in _VIDEO_PARTS:
            videos += any(part.get(name) for name in (kind, "video", "path", "url", "video_url"))
    return Turn(role, speaker, "parts", "\n".join(texts), placeholders, NO_KEYS, pointer), images, videos


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(type(value))
