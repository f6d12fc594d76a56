"""Rules that hold the records of a dataset against the launch: which commands judge them, and when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorachk.cli import main

JOINS = {"D112", "D113", "D115"}
TEXT = [{"messages": [{"role": "user", "content": f"{i} + 1?"}, {"role": "assistant", "content": "1"}]} for i in (1, 2)]
TOML = """[run]
trainer = "ms-swift"
model = "Qwen/Qwen2.5-VL-7B-Instruct"

[run.args]
freeze_vit = false
"""


def _judged(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[set[str], set[str]]:
    """Codes found, and codes that the report names at all."""
    (folder / "ds.json").write_text('{"zero_optimization": {"stage": 2}}', encoding="utf-8")
    (folder / "train.json").write_text(json.dumps(TEXT), encoding="utf-8")
    (folder / "lorachk.toml").write_text(TOML, encoding="utf-8")
    main([*arguments, "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    found = {finding["rule"] for finding in report["findings"]}
    return found, found | set(report["passed"]) | {skip["rule"] for skip in report["skipped"]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that lorachk is started in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_model_with_data_judges_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who names a dataset beside a DeepSpeed file would not hear that the two do not go together."""
    found, seen = _judged(folder, capsys, "model", "--config", "ds.json", "--data", "train.json", "--select", "D")
    assert found == {"D113"}
    assert seen >= JOINS
    assert "Z115" in _judged(folder, capsys, "model", "--data", "train.json", "--select", "Z115")[1]
    assert "D108" not in seen  # a rule on records alone is `lorachk data`'s


def test_model_without_data_does_not_name_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A lint of one DeepSpeed file would end in rules skipped for want of a dataset that nobody spoke of."""
    assert _judged(folder, capsys, "model", "--config", "ds.json", "--select", "D") == (set(), set())


def test_check_judges_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The gate of a CI would let through what `model --data` finds."""
    arguments = ("check", "--data", "train.json", "--no-train", "--select", "D112,D113,D115")
    found, seen = _judged(folder, capsys, *arguments)
    assert found == {"D113"}
    assert seen == JOINS


def test_facts_saved_without_a_dataset(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Facts of another machine without a dataset would be judged by rules on records."""
    _judged(folder, capsys, "model", "--config", "ds.json", "--save", "bare.duckdb", "--select", "V105")
    assert _judged(folder, capsys, "model", "--facts", "bare.duckdb", "--select", "D") == (set(), set())
    _judged(folder, capsys, "model", "--data", "train.json", "--save", "full.duckdb", "--select", "D")
    assert _judged(folder, capsys, "model", "--facts", "full.duckdb", "--select", "D")[0] == {"D113"}


def test_data_alone_does_not_ask_for_a_launch(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every scan of a dataset would end in rules on ZeRO that were skipped."""
    assert _judged(folder, capsys, "data", "train.json", "--select", "Z115,Z116,Z215") == (set(), set())
