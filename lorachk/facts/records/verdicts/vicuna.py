"""Turns as FastChat wrote them first and LLaVA and InternVL after it: human and gpt in turn, put into one prompt.

`preprocess` of FastChat (0e6d3e4) and `preprocess_v1` of LLaVA (c121f04) split the prompt again to find the answers.
Where that fails they print "tokenization mismatch" and mask every label of the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lorachk.facts.records.verdicts.types import named, short

_END, _ANSWER = "</s>", " ASSISTANT: "
_MISMATCH = "tokenization mismatch, nothing of the record is trained"


def alternation(turns: Any) -> tuple[str | None, int]:
    """The fault that stops `preprocess`, or None; and the number of the first turn it keeps.

    A first turn of gpt is left out. Every turn must be an object with from and value.
    """
    if not isinstance(turns, list):
        return f"conversations is {named(turns)}, not a list", 0
    if not turns:
        return "IndexError: conversations is empty", 0
    wanted, start = "human", 0
    for number, turn in enumerate(turns):
        try:
            role = turn["from"]
            if number or role != "gpt":  # a first turn of gpt is left out unread
                turn["value"]
        except (KeyError, TypeError, IndexError) as problem:
            if not isinstance(turn, dict):
                return f"TypeError: turn {number} is {named(turn)}, not an object", 0
            return f"KeyError: turn {number} has no {problem}", 0
        if role == wanted:
            wanted = "gpt" if wanted == "human" else "human"
        elif role not in ("human", "gpt"):
            return f"KeyError: from of turn {number} is {short(role)}, neither human nor gpt", 0
        elif number:
            return f"AssertionError: turns {number - 1} and {number} are both from {role}", 0
        else:
            start = 1
    return None, start


def unmatched(texts: Sequence[Any]) -> str | None:
    """Why the answers cannot be found again, or None. `texts` begin with a question."""
    if not texts:
        return f"no turn is left: {_MISMATCH}"
    if len(texts) % 2:
        return f"the last question has no answer: {_MISMATCH}"
    if not texts[-1]:
        return f"the last answer is empty: {_MISMATCH}"
    for text in texts:
        if text and (_END in text or "ASSISTANT:" in text):
            return None if _found_again(texts) else f"the text holds the template's own marks: {_MISMATCH}"
    for number in range(0, len(texts), 2):
        if not texts[number]:
            return f"a question is empty: {_MISMATCH}"
    return None


def empty_answer(texts: Sequence[Any]) -> int | None:
    """The position of an empty answer before the last, which runs into the question after it."""
    return next((i for i in range(1, len(texts) - 1, 2) if not texts[i]), None)


def _found_again(texts: Sequence[Any]) -> bool:
    parts = ["A chat. "]
    for number, text in enumerate(texts):
        name = "ASSISTANT:" if number % 2 else "USER:"
        parts.append(f"{name} {text}{_END if number % 2 else ' '}" if text else name)
    rounds = "".join(parts).split(_END)
    return rounds[-1] == "" and all(len(each.split(_ANSWER)) == 2 for each in rounds[:-1])
