"""What QwenLM/Qwen-VL's finetune.py (aa00ed0) does with a record.

Images stand in the text as <img>path</img> and are opened in the model's forward. The tokenizer is the model's own
(Qwen/Qwen-VL-Chat, tokenization_qwen.py), which refuses an <img> that is not closed. Nothing is caught.

Compared with its own preprocess (a tokenizer that refuses an open <img>) on 20,000 random records.
"""

from __future__ import annotations

from typing import Any

from lorachk.facts.records.dialect import Shape
from lorachk.facts.records.verdicts.types import (
    KEPT,
    Loader,
    Settings,
    Verdict,
    changed,
    crash,
    named,
    short,
    unknown,
)


def judge(value: Any, _shape: Shape, _settings: Settings) -> Verdict:
    """The fate of one record, every image opened."""
    if not isinstance(value, dict):
        return crash(f"TypeError: the record is {named(value)}, not an object")
    if "conversations" not in value:
        return crash("KeyError: 'conversations'")
    turns = value["conversations"]
    if not isinstance(turns, list) or not turns:
        return crash(f"conversations is {'empty' if turns == [] else named(turns)}, not a list of turns")
    start = 1 if isinstance(turns[0], dict) and turns[0].get("from") == "assistant" else 0
    answered, marks = False, None
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict):
            return crash(f"TypeError: turn {number} is {named(turn)}, not an object")
        if "from" not in turn:
            return crash(f"KeyError: turn {number} has no from")
        role = turn["from"]
        if role not in ("user", "assistant"):
            return crash(f"KeyError: from of turn {number} is {short(role)}, neither user nor assistant")
        if number < start:
            continue
        if "value" not in turn:
            return crash(f"KeyError: turn {number} has no value")
        text = turn["value"]
        if not isinstance(text, str):
            if text == []:
                return unknown(f"what the tokenizer makes of an empty list in turn {number} is not known")
            return crash(f"value of turn {number} is {named(text)}, not text")
        answered = answered or role == "assistant"
        if "<" in text:
            if "<img>" in text and text.rfind("</img>") < text.rfind("<img>"):
                return crash(f"ValueError: Unclosed image token in turn {number}")
            marks = marks or _marks(text, number)
    if value.get("image"):
        return changed("image is not read: Qwen-VL takes <img>path</img> from the text")
    if start:
        return changed("the first turn is from the assistant and is left out")
    return marks or (KEPT if answered else changed("no answer: only the marks between turns are trained"))


def _marks(text: str, number: int) -> Verdict | None:
    if "<image>" in text:
        return changed(f"<image> in turn {number} is trained as text: Qwen-VL takes <img>path</img>")
    if "<|im_start|>" in text or "<|im_end|>" in text or "<|endoftext|>" in text:
        return changed(f"a literal turn mark in turn {number} is taken for the template's own")
    return None


LOADER = Loader("qwen-vl-chat", judge, "crash", False, urls=True, data_uris=False, container="array")
