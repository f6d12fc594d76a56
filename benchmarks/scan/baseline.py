"""What people write themselves: json.load and a loop that asks the questions of the D rules. Prints its answers."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

_SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|image_pad|>")


def main(path: str) -> None:
    found: Counter[str] = Counter()
    with Path(path).open(encoding="utf-8") as file:
        records = json.load(file)
    folder = str(Path(path).parent)
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
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
