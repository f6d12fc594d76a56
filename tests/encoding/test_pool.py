"""Records encoded in processes, and those of a file that one can only read through, come out as all others do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.engine.store import Store
from lorachk.facts.collector import Context, Options
from lorachk.facts.dataset import collect
from lorachk.facts.encoding import collect as encoding
from lorachk.launchers.resolve import ResolveOptions, resolve

MODEL = str(Path(__file__).parents[2] / "fixtures" / "models" / "qwen2-tiny")
RECORDS = [
    {"messages": [{"role": "user", "content": "What? " * n}, {"role": "assistant", "content": "That. " * (60 - n)}]}
    for n in range(1, 50)
]


def rows(path: Path) -> list[dict[str, Any]]:
    options = ResolveOptions(isolated=True, data=[str(path)], trainer="trl", model=MODEL, max_length=200)
    with Store() as store:
        collect(Context(resolve(options).run, store, options=Options(workers=2)))
        found = sorted(store.rows("encoding"), key=lambda row: row["record"])
        return [{name: value for name, value in row.items() if name != "path"} for row in found]


@pytest.mark.parametrize("name", ["train.json", "train.json.gz", "utf16.json"])
def test_how_records_are_met_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text = json.dumps(RECORDS)
    plain = tmp_path / "plain.json"
    plain.write_text(text)
    expected = rows(plain)
    assert len(expected) == len(RECORDS)
    assert {row["cut"] for row in expected} == {True, False}
    path = tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-16" if name == "utf16.json" else "utf-8")
    monkeypatch.setattr(encoding, "_PARALLEL", 1)
    monkeypatch.setattr(encoding, "_CHUNK", 9)
    assert rows(path) == expected
