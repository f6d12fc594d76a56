"""What people write themselves: json.load and a loop that asks the questions of the D rules. Prints its answers.

    python baseline.py FILE [--lean]

The questions are those that the D rules ask of such records when no trainer is named: structure, roles and their
order, content types, placeholders against images, placeholders in answers, empty and missing answers, special tokens,
duplicates, types that differ between records, missing images. Not asked: which key stands twice in an object (a hook
in json.load would double its time), boxes, and where in the file a record stands. `--lean` asks only for roles,
content types, placeholders, special tokens and missing images.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

_SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|image_pad|>")


def main(path: str, *, lean: bool) -> None:
    found: Counter[str] = Counter()
    with Path(path).open(encoding="utf-8") as file:
        records = json.load(file)
    folder = str(Path(path).parent)
    types: Counter[tuple[str, type]] = Counter()
    seen: set[int] = set()
    for record in records:
        found["records"] += 1
        turns = record.get("conversations")
        if not isinstance(turns, list) or not turns:
            found["no conversation"] += 1
            continue
        images = [record["image"]] if isinstance(record.get("image"), str) else []
        placeholders, previous = 0, None
        for number, turn in enumerate(turns):
            found["turns"] += 1
            role, text = turn.get("from"), turn.get("value")
            if role not in ("human", "gpt", "system") or role == previous or (number == 0 and role == "gpt"):
                found["bad roles"] += 1
            previous = role
            if not isinstance(text, str):
                found["content type"] += 1
                continue
            found["bytes"] += len(text.encode())
            placeholders += text.count("<image>")
            if any(token in text for token in _SPECIAL):
                found["literal tokens"] += 1
        if placeholders != len(images):
            found["placeholder mismatch"] += 1
        found["missing images"] += sum(not os.path.isfile(f"{folder}/{image}") for image in images)  # noqa: PTH113 - as fast as it can be
        if not lean:
            _further(record, turns, found, types, seen)
    found["key paths and types"] = len(types)
    print(json.dumps(found))


def _further(
    record: dict[str, Any],
    turns: list[dict[str, Any]],
    found: Counter[str],
    types: Counter[tuple[str, type]],
    seen: set[int],
) -> None:
    answers = [turn["value"] for turn in turns if turn.get("from") == "gpt" and isinstance(turn.get("value"), str)]
    if not answers:
        found["no answer"] += 1
    found["empty answers"] += sum(not answer.strip() for answer in answers)
    found["placeholder in an answer"] += sum("<image>" in answer for answer in answers)
    trained = hash((record.get("image"), *[turn.get("value") for turn in turns]))
    if trained in seen:
        found["duplicates"] += 1
    seen.add(trained)
    for key, value in record.items():
        types[key, type(value)] += 1
    for turn in turns:
        for key, value in turn.items():
            types[key, type(value)] += 1


if __name__ == "__main__":
    main(sys.argv[1], lean="--lean" in sys.argv)
