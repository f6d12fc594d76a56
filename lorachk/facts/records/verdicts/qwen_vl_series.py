"""What 2U1/Qwen2-VL-Finetune's (Qwen-VL-Series) src/dataset/sft_dataset.py (6695161) does with a record.

Nothing is caught. Turns are read in pairs by position: the first is masked, the second trained, whoever speaks.

Compared with its own SupervisedDataset (a processor that counts) on 28,000 random records; that image tokens in an
answer stop the forward was not run.
"""

from __future__ import annotations

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
    short,
    unknown,
    unread,
)

_PAD = {"image": "<|image_pad|>", "video": "<|video_pad|>"}


def judge(value: Any, _shape: Shape, _settings: Settings) -> Verdict:
    """The fate of one record, every image and video opened."""
    if not isinstance(value, dict):
        return crash(f"TypeError: the record is {named(value)}, not an object")
    kind = "image" if "image" in value else "video" if "video" in value else None
    there = 0
    if kind:
        there, fault = _files(value[kind], kind)
        if fault:
            return crash(fault)
    if value.get("conversations") is None:
        return crash("KeyError or TypeError: the record has no conversations")
    turns = value["conversations"]
    if turns in ("", {}):
        turns = []
    if not isinstance(turns, list):
        return crash(f"TypeError: conversations is {named(turns)}, not a list")
    tag = "<video>" if kind == "video" else PLACEHOLDER
    asked, doubt, short_of = 0, None, None
    for number, turn in enumerate(turns):
        fault = _turn(turn, number)
        if fault:
            return crash(fault)
        text, role = turn["value"], turn["from"]
        count = text.count(tag) if "<" in text else 0
        if "_pad|>" in text:
            return unknown(f"a literal pad token in turn {number} is taken for an image")
        if number % 2 == 0:
            asked += count
            if count and not kind:
                return crash(f"TypeError: {tag} in turn {number}, and the record has no image")
            if asked > there and count:
                short_of = short_of or f"{tag} stands {asked} times by turn {number}, for {there} {kind}(s)"
        elif count:
            doubt = crash(f"Image features and image tokens do not match: {tag} in answer {number}")
        if role != ("gpt" if number % 2 else "human") and doubt is None:
            doubt = changed(f"from of turn {number} is {short(role)}: it is {'trained' if number % 2 else 'masked'}")
    if len(turns) % 2:
        return crash("IndexError: list index out of range: turns are read in pairs, and their number is odd")
    if short_of:
        return crash(short_of)
    if kind and not asked:
        return crash(f"torch.cat(): expected a non-empty list of Tensors: no question has {tag}")
    if doubt and doubt.kind == "crash":
        return doubt
    if not turns:
        return dropped("no turns: nothing of the record is trained")
    if kind and asked < there:
        return changed(f"{there - asked} {kind}(s) have no {tag} and are left out")
    return doubt or unread(value) or KEPT


def _files(value: Any, kind: str) -> tuple[int, str | None]:
    if isinstance(value, str):
        return 1, None
    if not isinstance(value, list):
        return 0, f"{kind} is {named(value)}, neither a path nor a list"
    wrong = next((each for each in value if not isinstance(each, str)), "")
    return len(value), None if wrong == "" else f"{kind} holds {named(wrong)}, not a path"


def _turn(turn: Any, number: int) -> str | None:
    if not isinstance(turn, dict):
        return f"TypeError: turn {number} is {named(turn)}, not an object"
    for key in ("value", "from"):
        if key not in turn:
            return f"KeyError: turn {number} has no {key}"
    if not isinstance(turn["value"], str):
        return f"TypeError: value of turn {number} is {named(turn['value'])}, not text"
    if isinstance(turn["from"], (list, dict)):
        return f"TypeError: from of turn {number} is {named(turn['from'])}"
    return None


LOADER = Loader("qwen-vl-series", judge, "crash", True, urls=True, data_uris=False, container="array")
