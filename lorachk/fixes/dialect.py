"""Safe fixes of how a conversation is written: its key, the keys of its turns, the names of its roles."""

from __future__ import annotations

from typing import Any

from lorachk.facts.records.dialects.model import SPEAKERS
from lorachk.fixes.fixer import Around, Change, Record, renamed
from lorachk.fixes.written import BY_STYLE, WRITTEN

_LISTS = ("conversations", "messages")
_MISSPELLED = ("conversation", "Conversations", "conversaions", "conversions", "convs", "conversation_list")


def list_key(record: Record, around: Around) -> Change | None:
    """`conversation` for `conversations`, and `messages` where the trainer reads only `conversations`."""
    value, wanted = record.value, WRITTEN.get(around.trainer or "")
    if "conversations" in value or around.mapping:
        return None
    named = next((k for k in _MISSPELLED if k in value), None) if "messages" not in value else None
    if named is None and wanted and "messages" in value:
        named = "messages"
    if named is None or not _turns(value[named]):
        return None
    code = "D104" if named == "messages" else "D103"
    return Change(renamed(value, {named: "conversations"}), code, f"{named} is now called conversations")


def turn_keys(record: Record, around: Around) -> Change | None:
    """from/value against role/content, as the trainer reads it."""
    wanted = WRITTEN.get(around.trainer or "")
    member = record.shape.member
    if not wanted or not _turns(record.value.get(member)) or around.mapping:
        return None
    other = {"from": "role", "value": "content"} if wanted.role == "role" else {"role": "from", "content": "value"}
    turns = record.value[member]
    if not any(key in turn for turn in turns for key in other):
        return None
    # A turn that has both spellings, or parts instead of text, needs a person.
    for turn in turns:
        if any(old in turn and new in turn for old, new in other.items()):
            return None
        if not isinstance(turn.get("value", turn.get("content")), str):
            return None
    changed = [_roles(renamed(turn, other), wanted.role, wanted.names) for turn in turns]
    what = f"{'/'.join(other)} is now {'/'.join(other.values())}"
    return Change({**record.value, member: changed}, "D104", what)


def role_names(record: Record, around: Around) -> Change | None:
    """Names of roles as the trainer spells them. Without one that is particular: letter case and blanks only."""
    member, style = record.shape.member, record.shape.style or ""
    if not _turns(record.value.get(member)) or around.mapping:
        return None
    wanted = WRITTEN.get(around.trainer or "")
    exact = wanted is not None and around.trainer != "vlm-r1"  # which reads turns by their place
    wanted = wanted if exact else BY_STYLE.get(style)
    if wanted is None:
        return None
    known = wanted.names.values()
    if all(turn.role in known for turn in record.shape.turns or ()):  # nearly always
        return None
    turns = record.value[member]
    changed = []
    for turn in turns:
        name = turn.get(wanted.role)
        if isinstance(name, str) and (exact or name not in SPEAKERS):
            turn = _roles(turn, wanted.role, wanted.names)
        changed.append(turn)
    if changed == turns:
        return None
    return Change({**record.value, member: changed}, "D105", "roles are named as the trainer names them")


def _turns(turns: Any) -> bool:
    return isinstance(turns, list) and bool(turns) and all(isinstance(t, dict) for t in turns)


def _roles(turn: dict[str, Any], key: str, names: Any) -> dict[str, Any]:
    name = turn.get(key)
    plain = name.strip().lower() if isinstance(name, str) else ""
    speaker = SPEAKERS.get(plain)
    if plain in ("function_call", "tool_call") or speaker is None:
        return turn
    wanted = names.get(speaker, plain)
    return turn if wanted == name else {**turn, key: wanted}
