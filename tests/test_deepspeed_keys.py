"""The keys that lorachk reads out of DeepSpeed's source are those that the real DeepSpeedConfig takes."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lorachk.deepspeed.keys import read_keys
from lorachk.deepspeed.source import Keys
from lorachk.facts.deepspeed_keys import rows

deepspeed = importlib.metadata.distribution
BASE = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}}
# A value that each type takes; those that need another one.
VALUES: dict[str | None, Any] = {"integer": 2, "number": 0.5, "boolean": True, "string": "x", "array": [], "object": {}}
PARTICULAR: dict[str, Any] = {
    "/zero_optimization/stage": 3,
    "/zero_optimization/compute_grad_norm": True,
    "/zero_optimization/offload_param/device": "cpu",
    "/zero_optimization/offload_optimizer/device": "cpu",
    "/zero_optimization/zenflow/select_strategy": "auto",
    "/zero_optimization/zenflow/select_interval": 2,
    "/zero_optimization/zenflow/update_interval": 2,
    "/bf16/bf16_optimizer_states": False,
    "/bfloat16/bf16_optimizer_states": False,
    "/tensor_parallel/vocab_parallel_ce_backend": "torch",
    "/tensor_parallel/injection_policy_tuple": None,
    "/tensor_parallel/dtype": None,
}

SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
from deepspeed.runtime.config import DeepSpeedConfig
for line in sys.stdin:
    try:
        DeepSpeedConfig(json.loads(line))
        print("ok")
    except Exception as error:
        print(f"{type(error).__name__}: {error}".replace("\\n", " ")[:300])
"""


@cache
def keys() -> Keys:
    """The keys of the installed DeepSpeed."""
    try:
        folder = Path(str(deepspeed("deepspeed").locate_file("deepspeed")))
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("DeepSpeed is not installed")
    return read_keys(folder)


def verdicts(files: list[dict[str, Any]]) -> list[str]:
    """What the real DeepSpeedConfig says of each file: ok, or its error."""
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    text = "".join(json.dumps(file) + "\n" for file in files)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=text, capture_output=True, text=True, env=environment, check=True
    )
    said = [line for line in done.stdout.splitlines() if line == "ok" or ": " in line]
    return said[-len(files) :]


def with_value(block: str, name: str, value: Any) -> dict[str, Any]:
    """The smallest file with this value."""
    file: dict[str, Any] = json.loads(json.dumps(BASE))
    here = file
    for part in block.split("/")[1:]:
        here = here.setdefault(part, {})
    here[name] = value
    return file


def strict_keys() -> list[tuple[str, str, Any]]:
    """Keys of pydantic models with a value each takes."""
    found = []
    for block in sorted(keys().strict):
        if ":" in block or block.startswith(("/weight_quantization", "/tensor_parallel/t")):
            continue  # constructors; a model with validators of its own; objects
        for name, key in keys().blocks[block].items():
            value = PARTICULAR.get(f"{block}/{name}", VALUES.get(key.type))
            if value is not None and not key.replaced:
                found.append((block, name, value))
    return found


@pytest.mark.slow
def test_what_a_strict_block_takes_passes_and_what_it_does_not_stops() -> None:
    """A key that is called unknown and is not cries wolf; one that is not called so stops the run on eight GPUs."""
    taken = strict_keys()
    assert len(taken) > 100
    blocks = sorted({block for block, _, _ in taken})
    files = [with_value(*key) for key in taken] + [with_value(block, "no_such_key", 1) for block in blocks]
    said = verdicts(files)
    refused = {f"{b}/{n}={v}": text for (b, n, v), text in zip(taken, said, strict=False) if "Extra inputs" in text}
    assert refused == {}
    unknown = dict(zip(blocks, said[len(taken) :], strict=True))
    assert {block: text for block, text in unknown.items() if "Extra inputs are not permitted" not in text} == {}


@pytest.mark.slow
def test_removed_deprecated_and_quoted_values() -> None:
    """Pages quote these verdicts: removed keys stop the run, deprecated ones do not, some texts are read as numbers."""
    removed = [with_value(block, name, {"enabled": False}) for block, name in keys().removed]
    old = [("cpu_offload", True), ("cpu_offload_param", True), ("stage3_gather_fp16_weights_on_model_save", True)]
    deprecated = [with_value("/zero_optimization", name, value) for name, value in old]
    both = with_value("/zero_optimization", "cpu_offload", True)
    both["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
    oldest = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": True}
    quoted = [
        with_value("/zero_optimization", "overlap_comm", "true"),
        with_value("/zero_optimization", "reduce_bucket_size", "200000000"),
        with_value("/zero_optimization", "reduce_bucket_size", "5e8"),
        with_value("/zero_optimization", "reduce_bucket_size", 0.5),
        {"zero_optimization": {"stage": 2}, "gradient_accumulation_steps": 1},
    ]
    said = verdicts([*removed, *deprecated, both, oldest, *quoted])
    assert all("DeepSpeedConfigError" in text for text in said[: len(removed)])
    rest = said[len(removed) :]
    assert rest[:3] == ["ok"] * 3
    assert "together" in rest[3]
    assert rest[4] == "ok"
    assert rest[5:7] == ["ok", "ok"]
    assert "valid integer" in rest[7]
    assert "valid integer" in rest[8]
    assert "Either train_batch_size or train_micro_batch_size_per_gpu needs to be provided" in rest[9]


def test_keys_of_the_top_level_are_found() -> None:
    """Without them every file would be full of keys that nobody reads."""
    top = keys().blocks[""]
    assert {"train_batch_size", "gradient_clipping", "optimizer", "scheduler", "tensorboard", "aio", "timers"} <= set(
        top
    )
    assert len(top) > 40
    assert {"partition_activations", "cpu_checkpointing"} <= set(keys().blocks["/activation_checkpointing"])
    assert {"torch_adam", "adam_w_mode", "betas", "weight_decay"} <= set(keys().blocks["/optimizer/params:adamw"])
    assert {"warmup_num_steps", "total_num_steps"} <= set(keys().blocks["/scheduler/params:WarmupDecayLR"])


def test_another_version_has_its_own_keys() -> None:
    """A file is judged for the version it will run with, not for the one that is installed here."""

    def known(version: str | None, block: str, name: str) -> Any:
        config = {"optimizer": {"type": "Adam"}}
        found = [row for row in rows(config, version) if (row["block"], row["name"]) == (block, name)]
        return found[0]["current"] if found else "absent"

    assert known("0.14.5", "/zero_optimization", "zenflow") is False
    assert known("0.18.9", "/zero_optimization", "zenflow") is True
    assert known("0.18.99", "/zero_optimization", "zenflow") is True
    assert known("0.10.0", "/zero_optimization", "stage") is True
    assert known("0.16.9", "", "elasticity") is True
    assert known("0.19.7", "", "sparse_attention") is False
    assert known("0.19.7", "", "elasticity") is True
    assert known(None, "", "elasticity") is None
    assert known("0.16.9", "/optimizer/params", "torch_adam") is True
    assert known("0.16.9", "/scheduler/params", "warmup_num_steps") == "absent"  # the file names no scheduler


@pytest.mark.parametrize(("version", "strict"), [("0.16.9", False), ("0.17.6", True), (None, None)])
def test_fp16_became_strict(version: str | None, strict: bool | None) -> None:
    """An unknown key in fp16 stops newer versions only."""
    assert {row["strict"] for row in rows({}, version) if row["block"] == "/fp16"} == {strict}


def test_a_folder_that_is_no_deepspeed(tmp_path: Path) -> None:
    """Another layout of another version: the recorded keys stand."""
    assert read_keys(tmp_path).blocks == {}
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime/config.py").write_text("class DeepSpeedConfig(:\n")
    assert read_keys(tmp_path).blocks == {}


def test_what_was_recorded_is_what_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded version is not read again, so that a stale record would go unnoticed."""
    from lorachk.facts import deepspeed_keys

    version = deepspeed("deepspeed").version if keys() else ""
    recorded = deepspeed_keys._recorded()
    if version not in recorded["versions"]:
        pytest.skip(f"DeepSpeed {version} was not recorded")

    def told() -> set[tuple[object, ...]]:
        found = rows({"optimizer": {"type": "AdamW"}}, version)
        return {(r["block"], r["name"], r["type"], r["strict"]) for r in found if r["current"]}

    def cut() -> dict[str, Any]:
        return {**recorded, "versions": ["x" if v == version else v for v in recorded["versions"]]}

    before = told()
    monkeypatch.setattr(deepspeed_keys, "_recorded", cut)
    monkeypatch.setattr(deepspeed_keys, "_index", lambda *_: None)
    assert {row[:2] for row in told()} == {row[:2] for row in before}
