"""Records as LLaMA-Factory reads them with the columns and tags of a dataset_info.json (data/converter.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorachk.facts.records.datasetinfo import Mapping_
from lorachk.facts.records.dialects.chat import STYLES
from lorachk.facts.records.dialects.media import any_turn, listed, videos_of
from lorachk.facts.records.dialects.model import ABSENT, NO_TURN, Reference, Shape, Turn, escaped, json_type
from lorachk.facts.records.dialects.plain import Gathered


def mapped(value: Mapping[str, Any], mapping: Mapping_) -> Shape | None:
    """The shape that the map gives a record; None when the record has none of its columns."""
    if mapping.formatting == "alpaca":
        columns = (mapping.prompt, mapping.query, mapping.response)
        return _alpaca(value, mapping) if any(c in value for c in columns if c) else None
    entries = value.get(mapping.messages, ABSENT) if mapping.messages else ABSENT
    return _messages(value, mapping, entries) if isinstance(entries, list) else None


def _media(value: Mapping[str, Any], mapping: Mapping_) -> tuple[str, list[Reference], int]:
    """Image field, images and videos of the columns that the map names; others are not read."""
    images = value.get(mapping.images, ABSENT) if mapping.images else ABSENT
    videos = videos_of(value.get(mapping.videos)) if mapping.videos else 0
    return json_type(images), listed(images, f"/{escaped(mapping.images)}"), videos


def _alpaca(value: Mapping[str, Any], mapping: Mapping_) -> Shape:
    gathered = Gathered(value)
    gathered.system(mapping.system)
    gathered.history(mapping.history)
    text_only = not (mapping.query or mapping.response or mapping.ranking or mapping.kto_tag)
    if text_only and mapping.prompt:  # pre-training: every token of it is trained
        gathered.turn("assistant", value.get(mapping.prompt), f"/{escaped(mapping.prompt)}")
    else:
        gathered.question(mapping.prompt, mapping.query)
        answer = mapping.chosen if mapping.ranking else mapping.response
        if answer and value.get(answer, ABSENT) is not ABSENT:
            gathered.turn("assistant", value[answer], f"/{escaped(answer)}")
    field, images, videos = _media(value, mapping)
    dialect = "text" if text_only else "alpaca"
    placeholders = sum(turn.placeholders for turn in gathered.turns)
    return Shape(
        dialect, dialect, field, images + gathered.images, videos + gathered.videos, gathered.turns, "", placeholders
    )


def _messages(value: Mapping[str, Any], mapping: Mapping_, entries: list[Any]) -> Shape:
    field, images, videos = _media(value, mapping)
    member = escaped(mapping.messages)
    speakers = {
        mapping.user_tag: "user",
        mapping.observation_tag: "tool",
        mapping.assistant_tag: "assistant",
        mapping.function_tag: "assistant",
        mapping.system_tag: "system",
    }
    speakers.pop(None, None)
    inside = [(entry, f"/{member}/{number}") for number, entry in enumerate(entries)]
    if mapping.ranking and mapping.chosen and isinstance(value.get(mapping.chosen), dict):
        inside.append((value[mapping.chosen], f"/{escaped(mapping.chosen)}"))
    turns: list[Turn] = []
    parts = False
    if mapping.system and isinstance(system := value.get(mapping.system), str) and system:
        turns.append(any_turn(None, "system", system, f"/{escaped(mapping.system)}", "")[0])
    for entry, at in inside:
        if not isinstance(entry, dict):
            turns.append(NO_TURN._replace(pointer=at))
            continue
        role, content = entry.get(mapping.role_tag), entry.get(mapping.content_tag, ABSENT)
        name = role if isinstance(role, str) else None
        calls = entry.get("tool_calls") if mapping.formatting == "openai" else None
        turn, found, more = any_turn(
            name, speakers.get(name), content, at, f"{at}/{escaped(mapping.content_tag)}", calls
        )
        turns.append(turn)
        images += found
        videos += more
        parts = parts or isinstance(content, list)
    placeholders = sum(turn.placeholders for turn in turns)
    tags = (mapping.role_tag, mapping.content_tag)
    style = "from" if tags == ("from", "value") else "role" if tags == ("role", "content") else ""
    if style == "from":
        dialect = "llava" if images or placeholders or videos else "sharegpt"
    else:
        dialect = "parts" if parts else "messages"
    return Shape(dialect, STYLES.get(style), field, images, videos, turns, member, placeholders)
