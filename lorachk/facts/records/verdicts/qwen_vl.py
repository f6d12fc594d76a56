"""What QwenLM/Qwen3-VL's qwen-vl-finetune/qwenvl/data/data_processor.py (9658872; also Qwen2.5-VL) does with a record.

`__getitem__` tries a record three times and then takes the next one (*replaced*), printing the exception.
Only `from: human` is a question: every other speaker is trained as the assistant. Labels are found by the token id of
"assistant" alone, so a question that holds this token is trained, up to its end.

Compared with its own _build_messages on 20,000 random records (but for an object of images, whose files were not
opened). What becomes of a question that holds "assistant" was read, not run: it takes Qwen's tokenizer.
"""

from __future__ import annotations

import re
from typing import Any

from lorachk.facts.records.dialect import PLACEHOLDER, Shape
from lorachk.facts.records.verdicts.types import (
    KEPT,
    Loader,
    Settings,
    Verdict,
    changed,
    crash,
    dropped,
    named,
    replaced,
    short,
    unknown,
    unread,
)

# Where Qwen's pre-tokenizer surely cuts "assistant" out as a word of its own: nothing that joins it on either side.
_ALONE = re.compile(r"(?:^|[\r\n0-9]|<image>\s*|<video>\s*)assistant(?![^\W\d_])")
_JOINED = re.compile(r"(?<! )assistant")


def judge(value: Any, _shape: Shape, _settings: Settings) -> Verdict:
    """The fate of one record, every image and video opened."""
    if not isinstance(value, dict):
        if isinstance(value, list):
            return unknown("a record that is a list is one pack of --data_packing")
        return crash(f"TypeError: the record is {named(value)}, not an object")
    images, fault = _pool(value.get("image"), "image")
    videos, other = _pool(value.get("video"), "video")
    if fault or other:
        return replaced(fault or other or "")
    if "conversations" not in value:
        return replaced("KeyError: 'conversations'")
    turns = value["conversations"]
    if not isinstance(turns, list) or not turns:
        return replaced(f"conversations is {'empty' if turns == [] else named(turns)}, not a list of turns")
    used, used_videos, answered, doubt = 0, 0, False, None
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict):
            return replaced(f"TypeError: turn {number} is {named(turn)}, not an object")
        if "from" not in turn or "value" not in turn:
            return replaced(f"KeyError: turn {number} has no {'from' if 'from' not in turn else 'value'}")
        text = turn["value"]
        if turn["from"] == "human":
            if not isinstance(text, str):
                return replaced(f"TypeError: value of turn {number} is {named(text)}, not text")
            if "<" in text:
                used += text.count(PLACEHOLDER)
                used_videos += text.count("<video>")
            if "assistant" in text:
                doubt = doubt or _leak(text, number)
        else:
            answered = True
            if turn["from"] != "gpt":
                doubt = changed(f"from of turn {number} is {short(turn['from'])}: its text is trained as an answer")
            elif not isinstance(text, str):
                doubt = changed(f"value of turn {number} is {named(text)}: trained as it prints")
            elif PLACEHOLDER in text:
                doubt = changed(f"<image> in answer {number} is trained as text")
    wrong = _counts(used, images, "image") or _counts(used_videos, videos, "video")
    if wrong or answered:
        return wrong or doubt or unread(value) or KEPT
    return doubt or dropped("no answer: nothing of the record is trained")


def _pool(value: Any, key: str) -> tuple[int, str | None]:
    """How many files the key names, or the fault."""
    if not value:
        return 0, None
    if isinstance(value, str):
        return 1, None
    if not isinstance(value, (list, dict)):
        return 0, f"TypeError: {key} is {named(value)}, neither a path nor a list"
    if isinstance(value, dict):
        return 0, f"the keys of the object {key} are taken for paths"
    wrong = next((each for each in value if not isinstance(each, str)), "")
    return len(value), None if wrong == "" else f"TypeError: {key} holds {named(wrong)}, not a path"


def _counts(used: int, there: int, what: str) -> Verdict | None:
    if used > there:
        reason = f"Number of <{what}> placeholders exceeds the number of provided {what}s"
        return replaced(f"{reason}: {used} for {there}")
    return replaced(f"{there - used} {what}(s) remain unused (not consumed by placeholders)") if used < there else None


def _leak(text: str, number: int) -> Verdict | None:
    if _ALONE.search(text.strip()):
        return changed(f'the word "assistant" in turn {number} starts a label: the question after it is trained')
    if _JOINED.search(text):
        return unknown(f'whether "assistant" in turn {number} starts a label, only the tokenizer can tell')
    return None


LOADER = Loader("qwen-vl", judge, "replaced", True, urls=False, data_uris=False, container=None)
