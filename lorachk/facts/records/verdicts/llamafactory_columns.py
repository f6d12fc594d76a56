"""Columns and tags of a LLaMA-Factory dataset whose dataset_info.json is not at hand (DatasetAttr of ff6d4d1)."""

from __future__ import annotations

from typing import Any, NamedTuple


class Columns(NamedTuple):
    """DatasetAttr (data/parser.py): the columns and tags of one entry; its defaults."""

    formatting: str = "alpaca"
    ranking: bool = False
    kto_tag: str | None = None
    system: str | None = None
    tools: str | None = None
    images: str | None = None
    videos: str | None = None
    audios: str | None = None
    prompt: str | None = "instruction"
    query: str | None = "input"
    response: str | None = "output"
    history: str | None = None
    messages: str | None = "conversations"
    role_tag: str | None = "from"
    content_tag: str | None = "value"
    user_tag: str | None = "human"
    assistant_tag: str | None = "gpt"
    observation_tag: str | None = "observation"
    function_tag: str | None = "function_call"
    system_tag: str | None = "system"


# What an entry for such records must say for them to be read at all, where the entry is not at hand.
_ALPACA = Columns(images="images", videos="videos", audios="audios", history="history", system="system")
_FROM_VALUE = _ALPACA._replace(formatting="sharegpt", history=None, tools="tools")
_ROLE_CONTENT = _FROM_VALUE._replace(
    messages="messages", role_tag="role", content_tag="content", user_tag="user", assistant_tag="assistant"
)


def guess(value: dict[str, Any]) -> Columns | None:
    """The entry that a record of this form needs; None when it has no form that is known."""
    for key in ("conversations", "messages"):
        turns = value.get(key)
        if isinstance(turns, list) and turns and isinstance(turns[0], dict):
            columns = _FROM_VALUE if "from" in turns[0] else _ROLE_CONTENT
            columns = columns if columns.messages == key else columns._replace(messages=key)
            return columns if "image" not in value else columns._replace(images="image")
    if "instruction" in value and "output" in value:
        return _ALPACA if "image" not in value else _ALPACA._replace(images="image")
    return None
