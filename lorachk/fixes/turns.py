"""Unsafe fixes of the order of turns: each trains something else than is written."""

from __future__ import annotations

from typing import Any

from lorachk.facts.records.dialects.model import SPEAKERS
from lorachk.fixes.fixer import Around, Change, Record
from lorachk.fixes.text import texts

_NO_SYSTEM = ("minicpmv", "llava", "fastchat", "qwen-vl", "qwen-vl-chat")
_BEGIN_WITH_A_QUESTION = ("minicpmv", "minicpmv-multi", "llava", "sharegpt", "qwen-vl")


def _list(record: Record) -> list[dict[str, Any]] | None:
    """The turns, when all are objects with a text and none is of a tool."""
    turns = record.value.get(record.shape.member)
    listed = record.shape.turns or []
    if not isinstance(turns, list) or len(turns) != len(listed) or not texts(record):
        return None
    if any(t.speaker == "tool" or t.role in ("function_call", "tool_call") for t in listed):
        return None
    return turns if all(isinstance(t, dict) for t in turns) else None


def _with(record: Record, turns: list[dict[str, Any]], code: str, what: str) -> Change:
    return Change({**record.value, record.shape.member: turns}, code, what)


def leading_system(record: Record, around: Around) -> Change | None:
    """A system turn in front, for trainers that have no place for one."""
    turns = _list(record)
    trainer = around.trainer or ("minicpmv" if record.shape.dialect.startswith("minicpmv") else "")
    if not turns or len(turns) < 2 or trainer not in _NO_SYSTEM or around.settings.llm_type == "llama3":
        return None
    if (record.shape.turns or [])[0].speaker != "system":
        return None
    changed = {**record.value, record.shape.member: turns[1:]}
    return Change(changed, "D105", "the system turn is left out")


def swapped(record: Record, _: Around) -> Change | None:
    """Answers and questions that changed places: every answer comes before its question."""
    turns = _list(record)
    speakers = [t.speaker for t in record.shape.turns or ()]
    if record.shape.dialect not in _BEGIN_WITH_A_QUESTION:  # elsewhere a greeting may come first
        return None
    if not turns or len(turns) % 2 or speakers != ["assistant", "user"] * (len(turns) // 2):
        return None
    key = "from" if record.shape.style == "from/value" else "role"
    names = {SPEAKERS[t[key]]: t[key] for t in turns}
    other = {"user": names["assistant"], "assistant": names["user"]}
    changed = [{**t, key: other[SPEAKERS[t[key]]]} for t in turns]
    return _with(record, changed, "D105", "the roles of user and assistant are exchanged")


def merged(record: Record, _: Around) -> Change | None:
    """Two turns of one role become one, with a line break between."""
    turns = _list(record)
    if not turns:
        return None
    key = "value" if record.shape.style == "from/value" else "content"
    made: list[dict[str, Any]] = []
    before = None
    for turn, known in zip(turns, record.shape.turns or [], strict=True):
        if made and known.speaker == before and before in ("user", "assistant"):
            made[-1] = {**made[-1], key: f"{made[-1][key]}\n{turn[key]}"}
        else:
            made.append(turn)
        before = known.speaker
    if len(made) == len(turns):
        return None
    code = "D105" if record.shape.dialect in ("llava", "sharegpt") else "D205"
    return _with(record, made, code, "turns of one role that follow each other are joined")
