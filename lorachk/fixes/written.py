"""How each trainer wants a conversation written (reference/trainers.md 1.14), as far as it takes nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_CHAT = {"user": "user", "assistant": "assistant"}
_SHARED = {"user": "human", "assistant": "gpt"}


class Written(NamedTuple):
    """Keys of a turn, names of the roles by speaker, and the JSON type of `image` when only one will do."""

    role: str
    content: str
    names: Mapping[str, str]
    image: str | None = None


WRITTEN = {
    "minicpmv": Written("role", "content", _CHAT, "string"),
    "llava": Written("from", "value", _SHARED, "string"),
    "vlm-r1": Written("from", "value", _SHARED),
    "qwen-vl": Written("from", "value", _SHARED),
    "qwen-vl-series": Written("from", "value", _SHARED),
    "qwen-vl-chat": Written("from", "value", _CHAT),
    "internvl": Written("from", "value", _SHARED),
    "fastchat": Written("from", "value", _SHARED),
}
BY_STYLE = {"role/content": Written("role", "content", _CHAT), "from/value": Written("from", "value", _SHARED)}
