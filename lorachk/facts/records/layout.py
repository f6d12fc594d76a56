"""How the records of a file are written, when all of the first ones are written in the one most usual way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

_LEARNT_FROM = 200  # records
# What dialects read beside the list of turns; a record with one of these goes the general way.
_READ = {"system", "chosen", "rejected", "video", "videos", "audio", "audios", "images", "image", "conversations"} | {
    *("messages", "conversation", "prompt", "completion", "instruction", "input", "output", "query", "response"),
    *("history", "text", "tools", "objects", "rejected_response", "rejected_messages", "label", "loss", "channel"),
}
# Key of the list of turns and of their roles -> dialect.
DIALECTS = {
    ("conversations", "from"): "llava",
    ("conversations", "role"): "minicpmv",
    ("messages", "role"): "messages",
}


class Layout(NamedTuple):
    """How the records of a file are written, learnt from its first ones. Plain data: it goes to worker processes."""

    member: str  # conversations or messages
    role: str  # from or role
    content: str  # value or content
    extras: tuple[str, ...]  # keys that no dialect reads
    start: bytes  # how a record starts: brace, white space, first key


def layout(values: Sequence[Any], start: bytes | None) -> Layout | None:
    """The layout all of the first records share; None when they are not written the most usual way."""
    head = values[:_LEARNT_FROM]
    if not head or start is None or not all(isinstance(v, dict) for v in head):
        return None
    member = "conversations" if "conversations" in head[0] else "messages"
    first = head[0].get(member)
    turned = isinstance(first, list) and bool(first) and isinstance(first[0], dict)
    role, content = ("from", "value") if turned and "from" in first[0] else ("role", "content")
    if (member, role) not in DIALECTS:
        return None
    extras: dict[str, None] = {}
    for value in head:
        turns = value.get(member)
        if not isinstance(turns, list) or not turns:
            return None
        if not all(isinstance(t, dict) and t.keys() == {role, content} for t in turns):
            return None
        if not all(isinstance(t[role], str) and isinstance(t[content], str) for t in turns):
            return None
        if not isinstance(value.get("image", ""), str):
            return None
        extras.update(dict.fromkeys(k for k in value if k not in (member, "image")))
    if extras.keys() & _READ or not all(k.isascii() and k.isprintable() for k in extras) or len(extras) > 40:
        return None
    return Layout(member, role, content, tuple(extras), start)
