"""Bounds without a tokenizer hold the exact numbers: a wrong one passes a record that is cut, or cries for nothing."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorachk.engine.store import Store
from lorachk.facts.collector import Context
from lorachk.facts.dataset import collect
from lorachk.launchers.resolve import ResolveOptions, resolve

MODELS = Path(__file__).parents[2] / "fixtures" / "models"
WORDS = ["the", "a", "Zürich", "字字", "😀", "3.14", "don't", "\n", "  ", "x" * 40, "ﬁ", "e\u0301"]
CASES = [
    ("llamafactory", "Qwen/Qwen2.5-VL-7B", "qwen2_5-vl-tiny", {"template": "qwen2_vl"}),
    ("qwen-vl", "Qwen/Qwen2.5-VL-7B", "qwen2_5-vl-tiny", {}),
    ("internvl", "OpenGVLab/InternVL2_5-4B", "internvl2_5-tiny", {"conv_style": "internvl2_5"}),
    ("ms-swift", "Qwen/Qwen2.5-VL-7B", "qwen2_5-vl-tiny", {}),
    ("ms-swift", "Qwen/Qwen2.5-VL-7B", "qwen2_5-vl-tiny", {"system": "Be brief. " * 90}),
    ("minicpmv", "openbmb/MiniCPM-V-2_6", "minicpmv-2_6-tiny", {}),
]


def written(folder: Path, trainer: str) -> Path:
    rng = random.Random(trainer)
    for number, size in enumerate(((448, 448), (640, 480), (1920, 1080))):
        Image.new("1", size).save(folder / f"{number}.png")
    names = ("user", "assistant") if trainer == "minicpmv" else ("human", "gpt")
    role, content = ("role", "content") if trainer == "minicpmv" else ("from", "value")
    made = []
    for _ in range(150):
        turns = []
        for _ in range(rng.randint(1, 4)):
            turns += [{role: name, content: " ".join(rng.choices(WORDS, k=rng.randint(1, 40)))} for name in names]
        turns[0][content] = "<image>\n" + turns[0][content]
        made.append({"image": f"{rng.randrange(3)}.png", "conversations": turns})
    path = folder / "train.json"
    path.write_text(json.dumps(made))
    return path


def encodings(path: Path, trainer: str, model: str, limit: int, arguments: dict[str, Any]) -> dict[int, dict[str, Any]]:
    options = ResolveOptions(
        isolated=True, data=[str(path)], image_root=str(path.parent), trainer=trainer, model=model, max_length=limit
    )
    run = resolve(options).run
    with Store() as store:
        collect(Context(replace(run, training_args={**run.training_args, **arguments}), store))
        return {row["record"]: row for row in store.rows("encoding")}


@pytest.mark.parametrize(("trainer", "name", "folder", "arguments"), CASES)
def test_the_exact_numbers_lie_between(
    tmp_path: Path, trainer: str, name: str, folder: str, arguments: dict[str, Any]
) -> None:
    path = written(tmp_path, trainer)
    decided = 0
    for limit in (500, 1200, 2600):
        bounded = encodings(path, trainer, name, limit, arguments)
        exact = encodings(path, trainer, str(MODELS / folder), limit, arguments)
        assert bounded.keys() == exact.keys()
        for record, row in exact.items():
            if row["tokens"] is None:
                continue
            found = bounded[record]
            high = found["text_tokens_max"]
            total = row["tokens"] - (found["image_tokens"] or 0)
            assert found["text_tokens_min"] <= total <= high
            assert found["cut"] in (None, row["cut"])
            assert found["image_cut"] is not True or row["cut"]
            decided += found["cut"] is not None
    assert decided > 200
