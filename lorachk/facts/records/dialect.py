"""Recognises how a record is written and takes it apart into images and turns; no judgement here.

Dialects: `minicpmv` (conversations with role/content; one image or none), `minicpmv-multi` (image is an object of
placeholders), `llava` (from/value, also called ShareGPT), `messages` (role/content; text or typed parts), `unknown`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

KEY = re.compile(r"<image_\d+>")
PLACEHOLDER = "<image>"

_SPEAKERS = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "ipython": "tool",
    "function_call": "assistant",
    "tool_call": "assistant",
}
_IMAGE_PARTS = ("image", "image_url", "input_image")


class Turn(NamedTuple):
    """A turn: role as written, its speaker, the type of its content, and the text of it (parts joined).

    `pointer` inside the record is None for `/member/position`.
    """

    role: str | None
    speaker: str | None
    content_type: str
    text: str
    placeholders: int
    keys: list[str]
    pointer: str | None = None


class Reference(NamedTuple):
    """An image a record names: key in an image object, the reference, and its pointer inside the record."""

    key: str | None
    reference: str | None  # None: not a string
    pointer: str
    content: bytes | None = None  # the image itself, embedded in Parquet


class Shape(NamedTuple):
    """A record taken apart. `turns` is None when there is no conversation list; `member` is that list's key."""

    dialect: str
    style: str | None
    image_field: str
    images: list[Reference]
    videos: int
    turns: list[Turn] | None
    member: str
    placeholders: int


def shape(value: Any) -> Shape:
    """Take a record apart. Never raises: what does not fit any dialect is `unknown`."""
    if not isinstance(value, dict):
        return Shape("unknown", None, "absent", [], 0, None, "", 0)
    image = value.get("image", _ABSENT)
    field, member = _type(image), "conversations"
    listed = value.get("conversations")
    if not isinstance(listed, list):
        member, listed = "messages", value.get("messages")
        if not isinstance(listed, list):
            listed = None
    images: list[Reference] = []
    if field == "string":
        images.append(Reference(None, image, "/image"))
    elif field == "object":
        images = [Reference(k, v if isinstance(v, str) else None, f"/image/{_escaped(k)}") for k, v in image.items()]
    elif field == "list":
        images = _listed(image, "/image")
    if field in ("absent", "null") and "images" in value:
        several = value["images"]
        field = _type(several)
        if field == "list":
            images = _listed(several, "/images")
        elif field == "string":
            images = [Reference(None, several, "/images")]
    if listed is None:
        return Shape("unknown", None, field, images, 0, None, "", 0)
    keyed = field == "object"
    turns: list[Turn] = []
    placeholders, style = 0, ""
    for number, entry in enumerate(listed):
        if not isinstance(entry, dict):
            turns.append(_NO_TURN)
            continue
        if "from" in entry or "value" in entry:
            role, content = entry.get("from"), entry.get("value", _ABSENT)
            style = style or "from"
        else:
            role, content = entry.get("role"), entry.get("content", _ABSENT)
            if not style and ("role" in entry or "content" in entry):
                style = "role"
        name = role if isinstance(role, str) else None
        if isinstance(content, str):
            keys: list[str] = _NONE
            count = 0
            if "<image" in content:
                count = content.count(PLACEHOLDER)
                if "<image_" in content:
                    keys = KEY.findall(content)
            turns.append(Turn(name, _SPEAKERS.get(name) if name else None, "string", content, count, keys))
            placeholders += len(keys) if keyed else count
        else:
            turn, found = _parts(name, content, f"/{member}/{number}/content")
            images += found
            turns.append(turn)
            placeholders += turn.placeholders
    dialect = _dialect(style, member, keyed)
    return Shape(dialect, _STYLES.get(style), field, images, 0, turns, member, placeholders)


def turn_pointer(found: Shape, number: int) -> str:
    """Pointer of a turn inside its record."""
    given = found.turns[number].pointer if found.turns else None
    return f"/{found.member}/{number}" if given is None else given


class _Absent:
    pass


_ABSENT = _Absent()
_NONE: list[str] = []
_STYLES = {"from": "from/value", "role": "role/content"}
_NO_TURN = Turn(None, None, "other", "", 0, _NONE)
_TYPES = {str: "string", list: "list", dict: "object", type(None): "null", _Absent: "absent"}


def _type(value: Any) -> str:
    return _TYPES.get(type(value), "other")


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _dialect(style: str, member: str, keyed: bool) -> str:
    if style == "from":
        return "llava"
    if style == "role":
        if member == "messages":
            return "messages"
        return "minicpmv-multi" if keyed else "minicpmv"
    return "unknown"


def _listed(values: list[Any], pointer: str) -> list[Reference]:
    """Images of a list: paths, or objects that hold one under path, image or url."""
    return [Reference(None, _reference(v), f"{pointer}/{i}") for i, v in enumerate(values)]


def _reference(value: Any) -> str | None:
    if isinstance(value, dict):
        value = next((value[k] for k in ("path", "image", "url", "image_url") if value.get(k)), None)
        if isinstance(value, dict):
            value = value.get("url")
    return value if isinstance(value, str) else None


def _parts(role: str | None, content: Any, pointer: str) -> tuple[Turn, list[Reference]]:
    """A turn whose content is not a string, and the images its parts bring along."""
    speaker = _SPEAKERS.get(role) if role else None
    if not isinstance(content, list):
        kind = _type(content) if content is None or content is _ABSENT else "other"
        return Turn(role, speaker, kind, "", 0, _NONE), []
    texts, placeholders, images = [], 0, []
    for number, part in enumerate(content):
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            if isinstance(text := part.get("text"), str):
                texts.append(text)
            if part.get("type") in _IMAGE_PARTS:
                placeholders += 1
                if any(part.get(k) for k in ("image", "image_url", "url", "path")):
                    images.append(Reference(None, _reference(part), f"{pointer}/{number}"))
    return Turn(role, speaker, "parts", "\n".join(texts), placeholders, _NONE), images
