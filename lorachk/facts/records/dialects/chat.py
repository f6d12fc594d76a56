"""Conversations: a list of turns under `conversations` or `messages`, from/value or role/content."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lorachk.facts.records.dialects.media import any_turn, count_videos, image_field, text_turn
from lorachk.facts.records.dialects.model import (
    ABSENT,
    NO_KEYS,
    NO_TURN,
    SPEAKERS,
    Reference,
    Shape,
    Turn,
)

STYLES = {"from": "from/value", "role": "role/content"}
# Qwen-VL's tokenizer takes what stands between <img> and </img> for a path; <img src="..."> is just text.
_INLINE = re.compile(r"<img>([^<>\n]+)</img>")


class Taken:
    """Turns of one list, and what was seen on the way: style, first role, parts, inline images, placeholders."""

    __slots__ = ("images", "inline", "parts", "placeholders", "role", "style", "turns", "videos")

    def __init__(self, entries: list[Any], member: str, keyed: bool, pointers: bool = False) -> None:
        """`pointers`: give every turn its own, because the list is not the whole conversation."""
        self.images: list[Reference] = []
        self.turns: list[Turn] = []
        self.videos = self.placeholders = 0
        self.parts = self.inline = False
        self.style = ""
        self.role: Any = None
        if pointers or not self._plain(entries, keyed):
            self._any(entries, member, keyed, pointers)

    def _plain(self, entries: list[Any], keyed: bool) -> bool:
        """The usual list, every role and content a string, with little Python per turn; False when it is not that."""
        try:
            style, content = ("from", "value") if "from" in entries[0] else ("role", "content")
            roles = [entry[style] for entry in entries]
            texts = [entry[content] for entry in entries]
            "".join(roles)  # a TypeError for what is no string
            marked = "<" in "".join(texts)
        except (LookupError, TypeError):
            return False
        if not all(texts):
            return False
        new, speaker = tuple.__new__, SPEAKERS.get  # Turn's own constructor takes three times as long
        turns = [
            new(Turn, (role, speaker(role), "string", text, 0, NO_KEYS, None))
            for role, text in zip(roles, texts, strict=True)
        ]
        self.turns, self.style, self.role = turns, style, roles[0]
        for number, text in enumerate(texts) if marked else ():
            if "<" in text:
                turn = text_turn(roles[number], turns[number].speaker, text, None)
                if turn.placeholders or turn.keys:
                    turns[number] = turn
                    self.placeholders += len(turn.keys) if keyed else turn.placeholders
                self.inline = self.inline or ("</img>" in text and _INLINE.search(text) is not None)
        return True

    def _any(self, entries: list[Any], member: str, keyed: bool, pointers: bool) -> None:
        for number, entry in enumerate(entries):
            at = f"/{member}/{number}"
            pointer = at if pointers else None
            if not isinstance(entry, dict):
                self.turns.append(NO_TURN._replace(pointer=pointer) if pointers else NO_TURN)
                continue
            if "from" in entry or "value" in entry:
                style, role, content, key = "from", entry.get("from"), entry.get("value", ABSENT), "value"
            else:
                role, content, key = entry.get("role"), entry.get("content", ABSENT), "content"
                style = "role" if "role" in entry or content is not ABSENT else ""
            if not self.style:
                self.style, self.role = style, role
            name = role if isinstance(role, str) else None
            speaker = SPEAKERS.get(name) if name else None
            turn, images, videos = any_turn(name, speaker, content, pointer, f"{at}/{key}", entry.get("tool_calls"))
            self.turns.append(turn)
            self.images += images
            self.videos += videos
            self.parts = self.parts or isinstance(content, list)
            self.inline = self.inline or ("</img>" in turn.text and _INLINE.search(turn.text) is not None)
            self.placeholders += len(turn.keys) if keyed else turn.placeholders


def conversation(value: Mapping[str, Any], member: str, entries: list[Any]) -> Shape:
    """The shape of a record with a list of turns under `member`."""
    field, images = image_field(value)
    keyed = field == "object" and not (images and images[0].key is None)
    taken = Taken(entries, member, keyed)
    if taken.images:
        images = images + taken.images
    videos = taken.videos
    if "video" in value or "videos" in value:
        videos += count_videos(value)
    style, turns, placeholders = taken.style, taken.turns, taken.placeholders
    if not style:
        dialect = "unknown"
    elif style == "role":
        dialect = _role_content(value, member, field, keyed, taken.parts)
    elif images or placeholders or videos or field not in ("absent", "null"):
        dialect = "llava"
    elif member == "conversations" and (taken.inline or taken.role in ("user", "assistant")):
        dialect, (images, turns) = "qwen-vl", _inline(turns, member)
        placeholders = len(images)
    else:
        dialect = "sharegpt"
    if "system" in value or "chosen" in value:
        turns = _beside(value, turns, member, dialect in ("sharegpt", "messages", "parts"))
    return Shape(dialect, STYLES.get(style), field, images, videos, turns, member, placeholders)


def _role_content(value: Mapping[str, Any], member: str, field: str, keyed: bool, parts: bool) -> str:
    if member == "conversations" and ("image" in value or "images" not in value):
        if parts and field not in ("string", "object"):
            return "parts"
        return "minicpmv-multi" if keyed else "minicpmv"
    return "parts" if parts else "messages"


def _inline(turns: list[Turn], member: str) -> tuple[list[Reference], list[Turn]]:
    """Qwen-VL: the images are named in the text."""
    images: list[Reference] = []
    counted = []
    for number, turn in enumerate(turns):
        if "</img>" in turn.text:
            paths = _INLINE.findall(turn.text)
            images += [Reference(None, path, f"/{member}/{number}/value") for path in paths]
            turn = turn._replace(placeholders=len(paths))
        counted.append(turn)
    return images, counted


def _beside(value: Mapping[str, Any], turns: list[Turn], member: str, with_system: bool) -> list[Turn]:
    """Turns that stand beside the list: the system prompt, and the chosen answer of preference data."""
    chosen = value.get("chosen")
    if isinstance(chosen, dict) and turns:
        turns = [*turns, Taken([chosen], "chosen", False, pointers=True).turns[0]._replace(pointer="/chosen")]
    system = value.get("system")
    if with_system and isinstance(system, str) and system:
        # the list's own positions no longer tell where a turn stands
        placed = (t if t.pointer else t._replace(pointer=f"/{member}/{i}") for i, t in enumerate(turns))
        turns = [text_turn(None, "system", system, "/system"), *placed]
    return turns
