"""What a record is taken apart into: turns, references to images, and the shape of the whole."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

KEY = re.compile(r"<image_\d+>")
PLACEHOLDER = "<image>"

# Roles as the trainers' own sources spell them; they compare them letter by letter, so `User` is no role.
# LLaVA, VLM-R1, Qwen2.5-VL, LLaMA-Factory (sharegpt): human gpt system observation function_call.
# OpenAI, TRL, MiniCPM-V, Qwen-VL, axolotl: system developer user assistant tool, and function of old.
# ms-swift (dataset/preprocessor/core.py): all of these, bot, tool_call tool_response function_response observations.
# Chat templates: model (Gemma), ipython (Llama 3.1).
SPEAKERS = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "observations": "tool",
    "tool_response": "tool",
    "function_response": "tool",
    "ipython": "tool",
    "function_call": "assistant",
    "tool_call": "assistant",
}


class Turn(NamedTuple):
    """A turn: role as written, its speaker, the type of its content, and the text of it (parts joined).

    `role` is None where the dialect writes none (alpaca). `pointer` inside the record is None for `/member/position`.
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
    reference: str | None  # None: not a string, or there is nothing but the content
    pointer: str
    content: bytes | None = None  # the image itself, embedded in Parquet


class Shape(NamedTuple):
    """A record taken apart. `turns` is None when there is no conversation; `member` is the key of its list, if any."""

    dialect: str
    style: str | None
    image_field: str
    images: list[Reference]
    videos: int
    turns: list[Turn] | None
    member: str
    placeholders: int


class Absent:
    """Type of ABSENT."""


ABSENT = Absent()  # a key that is not there, as opposed to null
NO_KEYS: list[str] = []
NO_TURN = Turn(None, None, "other", "", 0, NO_KEYS)
_TYPES: dict[type, str] = {str: "string", list: "list", dict: "object", type(None): "null", Absent: "absent"}


def json_type(value: Any) -> str:
    """absent, null, string, list, object, other."""
    return _TYPES.get(type(value), "other")


def escaped(key: Any) -> str:
    """A key as a part of an RFC 6901 pointer; Parquet's maps have keys that are not text."""
    return str(key).replace("~", "~0").replace("/", "~1")
