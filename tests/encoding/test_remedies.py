"""What a smaller image budget would leave is what a run with it finds; a wrong number sends people the wrong way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorachk.engine.store import Store
from lorachk.facts.collector import Context
from lorachk.facts.dataset import collect
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.run import Run

MODELS = Path(__file__).parents[2] / "fixtures" / "models"
SIZES = ((448, 448), (640, 480), (1024, 768), (1920, 1080), (300, 900))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, size in enumerate(SIZES):
        Image.new("1", size).save(tmp_path / f"{number}.png")
    return tmp_path


def records(style: str) -> list[dict[str, Any]]:
    role, content, names = ("role", "content", ("user", "assistant"))
    if style == "from":
        role, content, names = "from", "value", ("human", "gpt")
    made = []
    for number in range(60):
        turns = [
            {role: names[0], content: "<image>\nWhat is in it?"},
            {role: names[1], content: "A chart of values. " * (1 + number)},
        ]
        made.append({"image": f"{number % len(SIZES)}.png", "conversations": turns})
    return made


def run_of(folder: Path, style: str, **options: Any) -> Run:
    path = folder / "train.json"
    path.write_text(json.dumps(records(style)))
    return resolve(ResolveOptions(isolated=True, data=[str(path)], image_root=str(folder), **options)).run


def tables(run: Run) -> dict[str, list[dict[str, Any]]]:
    with Store() as store:
        collect(Context(run, store))
        return {table: store.rows(table) for table in ("encoding", "remedy")}


@pytest.mark.parametrize(
    ("style", "options", "arguments"),
    [
        ("role", {"trainer": "minicpmv", "model": "minicpmv-2_6-tiny"}, {}),
        ("from", {"trainer": "qwen-vl", "model": "qwen2_5-vl-tiny"}, {}),
        ("from", {"trainer": "llamafactory", "model": "qwen2_5-vl-tiny"}, {"template": "qwen2_vl"}),
        (
            "from",
            {"trainer": "internvl", "model": "internvl2_5-tiny"},
            {"conv_style": "internvl2_5", "dynamic_image_size": True, "use_thumbnail": True},
        ),
    ],
)
def test_what_is_promised_is_what_comes(
    folder: Path, style: str, options: dict[str, str], arguments: dict[str, Any]
) -> None:
    options = {**options, "model": str(MODELS / options["model"])}
    run = run_of(folder, style, max_length=600, **options)
    run = replace(run, training_args={**run.training_args, **arguments})
    found = tables(run)
    cut = sum(row["cut"] for row in found["encoding"])
    assert len(found["remedy"]) > 0
    for remedy in found["remedy"]:
        assert remedy["exact"] is True
        assert remedy["records_cut"] < cut
        name, value = remedy["setting"], remedy["value"]
        other = replace(run, training_args={**run.training_args, name: value})
        if name == "max_slice_nums":
            other = replace(other, max_slice_nums=value)
        after = tables(other)["encoding"]
        assert sum(row["cut"] for row in after) == remedy["records_cut"]
        assert max(row["tokens"] for row in after) == remedy["largest"]


def test_without_a_tokenizer_nothing_is_promised_that_is_no_upper_bound(folder: Path) -> None:
    run = run_of(folder, "from", trainer="qwen-vl", family="qwen2_5_vl", max_length=300)
    assert tables(run)["remedy"] == []
