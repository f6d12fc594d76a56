"""What lm-sys/FastChat's fastchat/train/train.py (0e6d3e4; also behind train_lora.py) does with a record.

Nothing is caught; without --lazy_preprocess the run stops before its first step. Images are not read.

Compared with its own preprocess (a tokenizer of characters) on 20,000 random records.
"""

from __future__ import annotations

from typing import Any

from lorachk.facts.records.dialect import Shape
from lorachk.facts.records.verdicts.types import KEPT, Loader, Settings, Verdict, changed, crash, dropped, named
from lorachk.facts.records.verdicts.vicuna import alternation, empty_answer, unmatched


def judge(value: Any, shape: Shape, _settings: Settings) -> Verdict:
    """The fate of one record."""
    if not isinstance(value, dict):
        return crash(f"TypeError: the record is {named(value)}, not an object")
    if "conversations" not in value:
        return crash("KeyError: 'conversations'")
    turns = value["conversations"]
    fault, start = alternation(turns)
    if fault:
        return crash(fault)
    texts = [turn["value"] for turn in turns[start:]]
    for number, text in enumerate(texts, start):
        if text and not isinstance(text, str):
            return crash(f"TypeError: value of turn {number} is {named(text)}, not text")
    if reason := unmatched(texts):
        return dropped(reason)
    if shape.images:
        return changed("FastChat trains text only: the image is left out")
    if start:
        return changed("the first turn is from gpt and is left out")
    blank = empty_answer(texts)
    return KEPT if blank is None else changed(f"answer {blank} is empty and is not trained")


LOADER = Loader("fastchat", judge, "changed", False, urls=False, data_uris=False, container="array")
