"""What hiyouga/LLaMA-Factory (ff6d4d1) makes of a record's turns, how much of each it keeps, and what that breaks."""

from __future__ import annotations

from collections.abc import Sequence

from lorachk.facts.encoding.layout import Layout, standin
from lorachk.facts.encoding.types import Cut, Message, Unencodable

_CALLS = ("function_call", "tool_call")  # written by the template's tool format
_ROLES = {"user": "user", "assistant": "assistant", "tool": "observation"}


def infer_seqlen(source: int, target: int, limit: int) -> tuple[int, int]:
    """Tokens kept of a question and of its answer when `limit` are left (processor_utils.py)."""
    if target * 2 < limit:
        most = limit
    elif source * 2 < limit:
        most = limit - source
    else:
        most = int(limit * (target / (source + target)))
    kept = min(most, target)
    return min(max(limit - kept, 0), source), kept


def dialogue(messages: Sequence[Message]) -> tuple[str, list[tuple[str, str]]]:
    """System message, and the turns with images as stand-ins. Raises Unencodable for what its converters drop."""
    system = ""
    turns: list[tuple[str, str]] = []
    for number, message in enumerate(messages):
        text = "".join(standin(part) if isinstance(part, int) else part for part in message.parts)
        if message.speaker == "system" and not number:
            system = text
            continue
        if message.role in _CALLS:
            raise Unencodable("how the template writes function calls is not modelled", None)
        role = _ROLES.get(message.speaker or "", "")
        if role not in (("assistant",) if len(turns) % 2 else ("user", "observation")):
            raise Unencodable(f"Invalid role tag: turn {number} is from {message.role}", "dropped")
        turns.append((role, text))
    if not turns or len(turns) % 2:
        raise Unencodable(f"Invalid message count: {len(turns)} turns", "dropped")
    return system, turns


def mismatch(layout: Layout, row: Cut) -> str | None:
    """What the collator or the model's forward raises after the cut, or None."""
    if layout.exact and row.features != row.features_wanted:
        return f"Image features and image tokens do not match: tokens: {row.features}, features {row.features_wanted}"
    if layout.whole and not layout.exact and row.starts != row.ends:
        return f"RuntimeError in get_mm_inputs: {row.starts} image starts and {row.ends} ends"
    return None
