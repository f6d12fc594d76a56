"""The configurations this project began with: what must be called an error, and what must not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.cli import main

BATCH = {"train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto"}
ZERO3 = {**BATCH, "bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 3}}
OFFLOAD = {
    **BATCH,
    "bf16": {"enabled": "auto"},
    "zero_optimization": {
        "stage": 3,
        "offload_optimizer": {"device": "cpu", "pin_memory": True},
        "offload_param": {"device": "cpu", "pin_memory": True},
        "stage3_gather_16bit_weights_on_model_save": True,
    },
}
ZERO2 = {**BATCH, "bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 2}}
TOML = """[run]
trainer = "hf"
deepspeed = "ds.json"
num_gpus = {gpus}
gpu = "RTX 4090"

[run.args]
bf16 = true
learning_rate = 1e-4
gradient_checkpointing = true
gradient_checkpointing_kwargs = {{ use_reentrant = {reentrant} }}

[run.lora]
r = 16
target_modules = ["q_proj", "v_proj"]

[run.quantization]
load_in_4bit = {quantized}

[environment]
deepspeed = "{deepspeed}"
"""


def errors(folder: Path, capsys: pytest.CaptureFixture[str], ds: dict[str, Any], **values: Any) -> set[str]:
    """Codes of the errors that `lorachk model` finds."""
    (folder / "ds.json").write_text(json.dumps(ds), encoding="utf-8")
    given = {"gpus": 3, "reentrant": "true", "quantized": "false", "deepspeed": "0.19.8", **values}
    (folder / "lorachk.toml").write_text(TOML.format(**given), encoding="utf-8")
    code = main(["model", "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    found = {finding["rule"] for finding in report["findings"] if finding["severity"] == "error"}
    assert code == (1 if found else 0)
    return found


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in an empty folder."""
    monkeypatch.chdir(tmp_path)


def test_zero3_without_reentrant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first run on eight GPUs would stop in backward; or a DeepSpeed that can do it would be called broken."""
    assert errors(tmp_path, capsys, ZERO3, reentrant="false", deepspeed="0.18.9") == {"Z101"}
    assert errors(tmp_path, capsys, ZERO3, reentrant="false", deepspeed="0.19.8") == set()
    assert errors(tmp_path, capsys, ZERO3, reentrant="true", deepspeed="0.18.9") == set()


def test_three_4090_with_offload(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What people run on three consumer GPUs works, and must not be called an error."""
    assert errors(tmp_path, capsys, OFFLOAD, deepspeed="0.18.9") == set()


def test_qlora_with_checkpointing_under_zero2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commonest QLoRA recipe works; under ZeRO-3 it does not."""
    assert errors(tmp_path, capsys, ZERO2, quantized="true") == set()
    assert errors(tmp_path, capsys, ZERO3, quantized="true") == {"Q101"}
