"""Writes a JSON array shaped like LLaVA's 665k mix: from/value turns, an image in most records, text only in some."""

from __future__ import annotations

import json
import random
from pathlib import Path

# ruff: noqa: SIM905
_WORDS = (
    "the a of on in red small person table street sign holding next left right wearing looks like shows number"
).split()
_QUESTION, _ANSWER = (4, 16), (3, 70)  # words; with 3 to 8 pairs a record has about 1.8 kB, as in the mix
_TEXT_ONLY = 0.06


def _sentence(rng: random.Random, span: tuple[int, int]) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(*span)))


def record(rng: random.Random, number: int) -> dict[str, object]:
    """One record."""
    turns = []
    for pair in range(rng.randint(3, 8)):
        turns.append({"from": "human", "value": _sentence(rng, _QUESTION)})
        turns.append({"from": "gpt", "value": _sentence(rng, _ANSWER)})
        if pair == 0 and rng.random() > _TEXT_ONLY:
            turns[0]["value"] = "<image>\n" + turns[0]["value"]
    made: dict[str, object] = {"id": f"{number:012d}"}
    if turns[0]["value"].startswith("<image>"):
        made["image"] = f"coco/train2017/{number:012d}.jpg"
    return {**made, "conversations": turns}


def generate(path: Path, records: int, seed: int = 0) -> None:
    """Write `records` records to `path`, as json.dump does (one line)."""
    rng = random.Random(seed)
    with path.open("w", encoding="utf-8") as out:
        out.write("[")
        for number in range(records):
            out.write(", " if number else "")
            out.write(json.dumps(record(rng, number)))
        out.write("]")
