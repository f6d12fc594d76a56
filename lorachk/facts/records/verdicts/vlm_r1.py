"""What om-ai-lab/VLM-R1's open_r1/grpo_jsonl.py (90052f4) does with a line.

All lines are read, and every image path is looked up, before training starts; nothing is caught. Only the first turn
(the question) and the second (its solution) are read; images are put in front of the question, whatever its text says.

Compared with the body of its loop over lines and its make_conversation_from_jsonl on 20,000 random records; the batch
assertion of the trainer was read, not run.
"""

from __future__ import annotations

from typing import Any

from lorachk.facts.records.dialect import PLACEHOLDER, Shape
from lorachk.facts.records.verdicts.types import KEPT, Loader, Settings, Verdict, changed, crash, named, unknown, unread


def judge(value: Any, _shape: Shape, settings: Settings) -> Verdict:
    """The fate of one record, every image opened."""
    if not isinstance(value, dict):
        return crash(f"TypeError: the line is {named(value)}, not an object")
    count = 0
    if "image" in value:
        image = value["image"]
        if isinstance(image, str):
            count = 1
        elif not isinstance(image, list):
            return crash(f"Unsupported image type: image is {named(image)}")
        else:
            wrong = next((each for each in image if not isinstance(each, str)), "")
            if wrong != "":
                return crash(f"TypeError in os.path.join: image holds {named(wrong)}, not a path")
            count = len(image)
    if "conversations" not in value:
        return crash("KeyError: 'conversations'")
    turns = value["conversations"]
    if not isinstance(turns, list):
        return crash(f"conversations is {named(turns)}, not a list")
    if len(turns) < 2:
        return crash("IndexError: list index out of range: fewer than two turns")
    for number in (0, 1):
        if not isinstance(turns[number], dict):
            return crash(f"TypeError: turn {number} is {named(turns[number])}, not an object")
        if "value" not in turns[number]:
            return crash(f"KeyError: turn {number} has no value")
    question = turns[0]["value"]
    if not isinstance(question, str):
        return crash(f"AttributeError: value of turn 0 is {named(question)}, not text")
    return unread(value) or _read(turns, question, count, settings.family)


def _read(turns: list[Any], question: str, count: int, family: str | None) -> Verdict:
    tiled = family is not None and "intern" in family  # only its module returns no additional_output
    if count > 1 and not tiled:
        reason = "AssertionError (len(additional_output) == len(inputs)): more than one image"
        return (
            crash(reason) if family and ("qwen" in family or "glm" in family) else unknown(f"{reason}, unless InternVL")
        )
    if not count and PLACEHOLDER in question:
        return changed("<image> is taken out of the question, and there is no image")
    if turns[0].get("from") in ("gpt", "assistant", "system"):
        return changed(f"the first turn is the question, though it is from {turns[0]['from']}")
    if len(turns) > 2:
        return changed("turns after the second are not read")
    if not count and not tiled:
        return unknown("a batch of records with and without an image stops the run (AssertionError)")
    return KEPT


LOADER = Loader("vlm-r1", judge, "crash", False, urls=False, data_uris=False, container="lines")
