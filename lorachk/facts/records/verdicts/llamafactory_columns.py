"""Columns and tags of a LLaMA-Factory dataset whose dataset_info.json is not at hand."""

from __future__ import annotations

from typing import Any

from lorachk.facts.records.datasetinfo import Mapping_

# What an entry for such records must say for them to be read at all, where the entry is not at hand.
_ALPACA = Mapping_(images="images", videos="videos", audios="audios", history="history", system="system")
_FROM_VALUE = _ALPACA._replace(formatting="sharegpt", history=None, tools="tools")
_ROLE_CONTENT = _FROM_VALUE._replace(
    messages="messages", role_tag="role", content_tag="content", user_tag="user", assistant_tag="assistant"
)


def guess(value: dict[str, Any]) -> Mapping_ | None:
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
