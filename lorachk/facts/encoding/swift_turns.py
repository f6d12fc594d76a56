"""Rounds of question and answer as modelscope/ms-swift (3602360) makes them of a record's messages.

swift/template/base.py: `_swift_prepare_inputs` merges neighbours of one role, `_add_non_thinking_prefix` and
`_remove_history_thinking` edit answers, `_get_std_messages` completes the rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lorachk.facts.encoding.swift_templates import Meta
from lorachk.facts.encoding.types import Message, Settings, Unencodable


class Rounds(NamedTuple):
    """System message (None or empty: none), rounds, and what is put in front of an answer that is missing.

    An answer is the list of the messages it was merged from; None for a last question without one.
    """

    system: str | None
    rounds: list[tuple[str, list[str] | None]]
    prefix: str


def rounds(messages: Sequence[Message], meta: Meta, settings: Settings, strategy: str) -> Rounds:
    """Raises Unencodable for roles that are not modelled, or that the template refuses."""
    system, turns = _turns(messages, meta)
    thinks = meta.thinks and not meta.plain_prefix if settings.enable_thinking is None else settings.enable_thinking
    last = max((n for n, (role, _) in enumerate(turns) if role == "user"), default=-1)
    if meta.plain_prefix:
        first = last if strategy == "last_round" else -1
        for number, (role, texts) in enumerate(turns):
            if role == "assistant" and number >= first and not texts[0].startswith(("<think>", meta.plain_prefix)):
                texts[0] = meta.plain_prefix + texts[0]
    if (meta.thinks or thinks) and strategy == "last_round":
        for role, texts in turns[: max(last, 0)]:
            if role == "assistant":
                texts[0] = texts[0].split("</think>")[-1].strip()
    if meta.special == "gemma3":
        _gemma3(system, turns)
        system = None
    if system is None:
        system = meta.default if settings.system is None else settings.system
    if turns and turns[0][0] == "assistant":
        turns.insert(0, ("user", [""]))
    found: list[tuple[str, list[str] | None]] = []
    for number in range(0, len(turns), 2):
        answer = turns[number + 1][1] if number + 1 < len(turns) else None
        found.append(("".join(turns[number][1]), answer))
    if not found:
        raise Unencodable("AssertionError: no messages", "dropped")
    if meta.chat_sep is None:
        found = found[-1:]
    return Rounds(system, found, meta.thinking_prefix if thinks else meta.plain_prefix)


def _turns(messages: Sequence[Message], meta: Meta) -> tuple[str | None, list[tuple[str, list[str]]]]:
    system: str | None = None
    turns: list[tuple[str, list[str]]] = []
    for number, message in enumerate(messages):
        text = "".join(f"\0{part}\0" if isinstance(part, int) else part for part in message.parts)
        if message.speaker == "system" and not number:
            if meta.system is None and meta.special != "gemma3":
                raise Unencodable("AssertionError: The template does not support `system`", "dropped")
            system = text.strip() if meta.special == "qwen3_5" else text
            continue
        if message.speaker == "tool" or message.role in ("function_call", "tool_call"):
            raise Unencodable("what the agent template makes of tools is not modelled", None)
        if message.speaker not in ("user", "assistant"):
            raise Unencodable(f"AssertionError: turn {number} is from {message.role}", "dropped")
        if meta.special == "qwen3_5":
            text = _qwen3_5(message.speaker, text)
        if turns and turns[-1][0] == message.speaker:
            turns[-1][1].append(text)
        else:
            turns.append((message.speaker, [text]))
    return system, turns


def _qwen3_5(role: str, text: str) -> str:
    """Qwen3_5Template: everything is stripped, and a thought gets its canonical line feeds."""
    text = text.strip()
    if role == "assistant" and "</think>" in text and "<think>" in text:
        before, _, after = text.partition("</think>")
        thought = before.rstrip("\n").rsplit("<think>", 1)[-1].lstrip("\n").strip()
        return f"<think>\n{thought}\n</think>\n\n" + after.lstrip("\n")
    return text


def _gemma3(system: str | None, turns: list[tuple[str, list[str]]]) -> None:
    """Gemma3Template: a record's system message goes into the first turn; answers lose line feeds at their ends."""
    if system is not None and turns:
        turns[0][1][0] = f"{system}\n\n{turns[0][1][0]}"
    for role, texts in turns:
        if role == "assistant" and len(texts) == 1:
            texts[0] = texts[0].strip("\n")
