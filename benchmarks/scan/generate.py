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
_DIFFERENT = 20_000  # conversations that differ; further records repeat them with another image and id


def _sentence(rng: random.Random, span: tuple[int, int]) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(*span)))


def _conversation(rng: random.Random) -> tuple[bool, str]:
    turns = []
    for _ in range(rng.randint(3, 8)):
        turns.append({"from": "human", "value": _sentence(rng, _QUESTION)})
        turns.append({"from": "gpt", "value": _sentence(rng, _ANSWER)})
    if with_image := rng.random() > _TEXT_ONLY:
        turns[0]["value"] = "<image>\n" + turns[0]["value"]
    return with_image, json.dumps(turns)


def generate(path: Path, records: int, seed: int = 0) -> None:
    """Write `records` records to `path`, as json.dump does (one line)."""
    rng = random.Random(seed)
    made = [_conversation(rng) for _ in range(min(records, _DIFFERENT))]
    with path.open("w", encoding="utf-8") as out:
        out.write("[")
        for number in range(records):
            with_image, turns = made[number % len(made)]
            image = f'"image": "coco/train2017/{number:012d}.jpg", ' if with_image else ""
            separator = ", " if number else ""
            out.write(f'{separator}{{"id": "{number:012d}", {image}"conversations": {turns}}}')
        out.write("]")
