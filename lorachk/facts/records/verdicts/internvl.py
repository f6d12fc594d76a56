"""What OpenGVLab/InternVL's internvl_chat_finetune.py and dataset.py (2410d1d) do with a line.

`__getitem__` catches every exception and takes a random other line (*replaced*); but its own message reads the image
again, and where that fails the run stops. What is made of the turns depends on --conv_style: `internvl2_5` takes them
one by one, the older ones (Hermes-2, internlm2-chat, phi3-chat) as human and gpt in turn.

Compared with its own __getitem__ and preprocess functions of all four on 48,000 random records; images and tokenizer
were stood in for, so phi3-chat's label mask, which counts on its tokenizer, is left unknown.
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
    replaced,
    short,
    unknown,
    unread,
)
from lorachk.facts.records.verdicts.vicuna import alternation

_END = "</img>"


def judge(value: Any, _shape: Shape, settings: Settings) -> Verdict:
    """The fate of one record, every image opened."""
    if not isinstance(value, dict):
        return _no_object(value)
    image = value.get("image", "")
    if image == {}:
        return unknown("image is an empty object: that stops the run if anything else fails")
    if not isinstance(image, (str, list)):
        return crash(f"image is {named(image)}: the message about the failure fails itself (AttributeError)")
    if isinstance(image, list) and not all(isinstance(each, str) for each in image):
        return crash("image holds something else than a path: the message about the failure fails itself (TypeError)")
    if not image and value.get("video") not in (None, ""):
        return unknown("videos are read with petrel_client; without it the record is replaced")
    if "conversations" not in value:
        return replaced("KeyError: 'conversations'")
    turns = value["conversations"]
    if not isinstance(turns, list) or not turns:
        return replaced(f"conversations is {'empty' if turns == [] else named(turns)}, not a list of turns")
    images = len(image) if isinstance(image, list) else int(bool(image))
    single = isinstance(image, str) and images == 1
    if single:
        first = turns[0].get("value") if isinstance(turns[0], dict) else None
        if not isinstance(first, str):
            return replaced("value of turn 0 is not text")
    found = _styled(turns, images, single, settings.template)
    return (unread(value) or KEPT) if found is KEPT else found


def _styled(turns: list[Any], images: int, single: bool, template: str | None) -> Verdict:
    if template == "internvl2_5":
        return _by_turn(turns, images, single)
    older = _alternating(turns, images, single, template)
    if template is not None:
        return older
    newer = _by_turn(turns, images, single)
    return newer if newer.kind == older.kind else unknown("what happens depends on --conv_style")


def _no_object(value: Any) -> Verdict:
    if isinstance(value, list) and "image" not in value:
        return replaced("TypeError: the record is a list, not an object")
    if isinstance(value, str) and "image" not in value:
        return replaced("TypeError: the record is text, not an object")
    return crash(f"TypeError: the record is {named(value)}, not an object")


def _by_turn(turns: list[Any], images: int, single: bool) -> Verdict:
    """preprocess_internvl2_5: any order of human and gpt, after a system turn or none."""
    placed, stray, printed, answered, ended = 0, None, None, False, False
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict):
            return replaced(f"TypeError: turn {number} is {named(turn)}, not an object")
        if "from" not in turn or "value" not in turn:
            return replaced(f"KeyError: turn {number} has no {'value' if 'from' in turn else 'from'}")
        role, text = turn["from"], turn["value"]
        if role == "gpt":
            answered = True
        elif role != "human" and (role != "system" or number):
            return replaced(f"NotImplementedError: from of turn {number} is {short(role)}, neither human nor gpt")
        if not isinstance(text, str):
            if role == "human" and images and (not isinstance(text, list) or PLACEHOLDER in text):
                return replaced(f"AttributeError: value of turn {number} is {named(text)}, not text")
            printed = printed or changed(f"value of turn {number} is {named(text)}: it is read as it prints")
            continue
        if "<" in text:
            count = text.count(PLACEHOLDER)
            if role == "human":
                placed += count
            elif count:
                stray = stray or changed(f"<image> in turn {number}, which is from {role}, stays text")
            ended = ended or _END in text
    if single and PLACEHOLDER not in turns[0]["value"]:
        if turns[0]["from"] == "human":
            placed += 1
        else:
            stray = stray or changed(f"<image> is put in front of turn 0, which is from {turns[0]['from']}")
    if images and placed < images:
        return replaced(f"AssertionError: {placed} != {images}: fewer <image> in questions than images")
    if images and ended:
        return replaced(f"AssertionError: image tokens are truncated: a literal {_END} in the text")
    if not answered:
        return dropped("no answer: nothing of the record is trained")
    if placed > images:
        return changed(f"<image> stands {placed} times, for {images} image(s): the rest is read as text")
    return stray or printed or KEPT


def _alternating(turns: list[Any], images: int, single: bool, template: str | None) -> Verdict:
    """The older --conv_style: human and gpt in turn; placeholders are counted over the whole prompt."""
    fault, start = alternation(turns)
    if fault:
        return replaced(fault)
    placed, ends, doubt = 0, 0, start == len(turns)
    for number, turn in enumerate(turns[start:], start):
        text = turn["value"]
        if not isinstance(text, str):
            if text:
                return replaced(f"value of turn {number} is {named(text)}, not text")
            return unknown(f"value of turn {number} is {named(text)}: what happens depends on --conv_style")
        doubt = doubt or not text or text.isspace() or "<|" in text or "[UNUSED_TOKEN" in text
        if "<" in text:
            placed += text.count(PLACEHOLDER)
            ends += text.count(_END)
    if single and not start and PLACEHOLDER not in turns[0]["value"]:
        placed += 1
    if images and min(placed, images) + ends != images:
        return replaced(f"AssertionError: image tokens are truncated: {placed} <image>, {images} image(s)")
    if doubt or (len(turns) - start) % 2:
        return unknown("a turn that is empty, missing or holds a template's mark: --conv_style says what is trained")
    if template == "phi3-chat" and len(turns) - start > 2:
        return unknown("whether phi3-chat finds the answers of several rounds, only its tokenizer can tell")
    if placed > images:
        return changed(f"<image> stands {placed} times, for {images} image(s): the rest is read as text")
    return changed("the first turn is from gpt and is left out") if start else KEPT


LOADER = Loader("internvl", judge, "replaced", True, urls=False, data_uris=False, container="lines")
