"""A file that is scanned in parts gives the same facts as one that is read from start to end, faults included."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.engine.store import Limits, Store
from lorachk.facts import dataset
from lorachk.facts.collector import Context, Options
from lorachk.facts.records import parts
from lorachk.run import Run

TABLES = ("dataset", "record", "turn", "image", "field", "box")


def record(number: int, text: str = 'a \\": "b" é') -> dict[str, Any]:
    turns = [
        {"from": "human", "value": f"<image>\n{text} {number}" + "x" * 1500},
        {"from": "gpt", "value": "<box>1 2 3 4</box>" if number % 7 == 0 else "y"},
    ]
    made = {"id": number, "image": f"i/{number % 50}.jpg", "conversations": turns}
    return made if number % 3 else {**made, "extra": {"k": [number]}}


def facts(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, parallel: bool, trainer: str | None, here: bool = False
) -> dict[str, Any]:
    monkeypatch.setattr(dataset, "_IN_PARTS", 1 << 10 if parallel else 1 << 40)
    monkeypatch.setattr(dataset, "_PARALLEL", 1 << 10 if parallel and not here else 1 << 40)
    with Store(Limits(memory="500MB")) as store:
        context = Context(Run(data=[str(path)], trainer=trainer), store, options=Options(workers=2))
        dataset.collect(context)
        found = {t: store.query(f"SELECT * FROM {t} ORDER BY ALL").rows for t in TABLES if t in store.collected}
        return {**found, "unknown": sorted((r["fact"], r["reason"]) for r in store.rows("unknown"))}


def written(path: Path, records: list[Any], how: str) -> Path:
    if how == "lines":
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    elif how == "gzip":
        with gzip.open(path, "wt", encoding="utf-8") as out:
            json.dump(records, out)
    elif how == "utf-16":
        path.write_text(json.dumps(records), encoding="utf-16")
    else:
        path.write_text(json.dumps(records, indent=int(how) if how != "none" else None))
    return path


@pytest.mark.parametrize("how", ["none", "2", "lines", "gzip", "utf-16"])
@pytest.mark.parametrize("trainer", [None, "llava"])
def test_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, trainer: str | None) -> None:
    monkeypatch.setattr(parts.parts, "__kwdefaults__", {"size": 64 << 10})
    path = written(tmp_path / "train.json", [record(i) for i in range(400)], how)
    side_by_side = facts(path, monkeypatch, parallel=True, trainer=trainer)
    assert side_by_side == facts(path, monkeypatch, parallel=False, trainer=trainer)
    assert side_by_side == facts(path, monkeypatch, parallel=True, trainer=trainer, here=True)
    assert len(side_by_side["record"]) == 400


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"id": 200,', '"id": NaN,'),
        ('"id": 200,', "'id': 200,"),
        ('"id": 200,', '"id": 200'),
        ('"id": 200,', '"id": "\\ud800",'),
        ('{"id": 200,', '[1], {"id": 200,'),
        ('"id": 200,', '"id": 200, "id": 7,'),
        ('"id": 200,', '"id": {"id": 200, "l": [{"id": 1}, {"id": 2}]},'),
        ('"id": 200,', '"id": "' + "z" * 300_000 + '",'),
    ],
)
@pytest.mark.parametrize("how", ["none", "lines"])
def test_files_with_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, how: str) -> None:
    monkeypatch.setattr(parts.parts, "__kwdefaults__", {"size": 64 << 10})
    path = written(tmp_path / "train.json", [record(i) for i in range(400)], how)
    path.write_text(path.read_text().replace(old, new))
    side_by_side = facts(path, monkeypatch, parallel=True, trainer=None)
    assert side_by_side == facts(path, monkeypatch, parallel=False, trainer=None)


def test_a_truncated_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.parts, "__kwdefaults__", {"size": 64 << 10})
    path = written(tmp_path / "train.json", [record(i) for i in range(400)], "none")
    path.write_text(path.read_text()[:-700])
    side_by_side = facts(path, monkeypatch, parallel=True, trainer=None)
    assert side_by_side == facts(path, monkeypatch, parallel=False, trainer=None)
    (problem,) = [row[8] for row in side_by_side["dataset"]]
    assert "the file ends inside record 399" in problem
