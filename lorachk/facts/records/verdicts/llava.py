"""What haotian-liu/LLaVA's llava/train/train.py (c121f04) does with a record.

Nothing is caught: what fails stops the run when a worker reaches the record, without naming it. The number of images
is checked nowhere; `prepare_inputs_labels_for_multimodal` takes one image per `<image>` that is left.

Compared with its own preprocess_multimodal and preprocess (v1; a tokenizer of characters) on 20,000 random records.
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
    unknown,
    unread,
)
from lorachk.facts.records.verdicts.vicuna import alternation, empty_answer, unmatched

# Any other --version is vicuna_v1, also v0 and v0.5.
_SINGLE = ("default", "llava_v0", "v0_mmtag")  # preprocess() of these does not look at roles as the others do
_OTHERS = ("mpt", "llava_llama_2", "llama_2", "mistral_instruct", "mistral_direct", "chatml_direct", "v1_mmtag")


def judge(value: Any, _shape: Shape, settings: Settings) -> Verdict:
    """The fate of one record, every image opened."""
    if not isinstance(value, dict):
        return crash(f"TypeError: the record is {named(value)}, not an object")
    pictured = "image" in value
    if pictured and not isinstance(value["image"], str):
        return crash(f"TypeError in os.path.join: image is {named(value['image'])}, not a path")
    if "conversations" not in value:
        return crash("KeyError: 'conversations'")
    turns = value["conversations"]
    if settings.template in ("plain", "v0_plain"):
        return _plain(turns, pictured)
    if settings.template in _SINGLE:
        return unknown(f"what --version {settings.template} makes of the turns is not known")
    fault, start = alternation(turns)
    if fault:
        return crash(fault)
    texts, placed, repeated = [], 0, None
    for number in range(len(turns)):
        text = turns[number].get("value")
        if isinstance(text, str):
            if PLACEHOLDER in text and number >= start:
                placed += 1
                if text.count(PLACEHOLDER) > 1:
                    repeated = number
        elif pictured or (text and number >= start):
            return crash(f"TypeError: value of turn {number} is {named(text)}, not text")
        texts.append(text)
    if pictured and placed > 1:
        return crash(f"IndexError: index is out of bounds: <image> stands in {placed} turns, for one image")
    if start:
        del texts[0]
    return (
        _masked(texts, settings.template)
        or _differs(pictured, placed, repeated, start)
        or _blank(texts)
        or unread(value)
        or KEPT
    )


def _masked(texts: list[Any], template: str | None) -> Verdict | None:
    if template in _OTHERS:
        if len(texts) % 2 or not all(texts):
            return unknown(f"what --version {template} trains of an empty or missing answer is not known")
        return None
    reason = unmatched(texts)
    return dropped(reason) if reason else None


def _differs(pictured: bool, placed: int, repeated: int | None, start: int) -> Verdict | None:
    if pictured and not placed:
        return changed("no turn has <image>: the image is left out")
    if placed and not pictured:
        return changed("<image> without an image is trained as text")
    if repeated is not None:
        return changed(f"several <image> in turn {repeated} become one")
    return changed("the first turn is from gpt and is left out") if start else None


def _blank(texts: list[Any]) -> Verdict | None:
    number = empty_answer(texts)
    return None if number is None else changed(f"answer {number} is empty and is not trained")


def _plain(turns: Any, pictured: bool) -> Verdict:
    """--version plain (pretraining): the image, and the second turn as its caption."""
    if not isinstance(turns, list) or len(turns) != 2:
        return crash("AssertionError: --version plain takes exactly two turns")
    if not all(isinstance(turn, dict) and isinstance(turn.get("value"), str) for turn in turns):
        return crash("a turn has no value that is text")
    if PLACEHOLDER not in turns[0]["value"]:
        return crash("AssertionError: --version plain needs <image> in the first turn")
    if PLACEHOLDER in turns[1]["value"]:
        return crash("IndexError: index is out of bounds: <image> stands in 2 turns, for one image")
    return KEPT if pictured else changed("<image> without an image: an empty image is trained")


LOADER = Loader("llava", judge, "crash", True, urls=False, data_uris=False, container="array")
