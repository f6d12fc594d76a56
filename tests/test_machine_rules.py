"""Rules about the machine: told of this machine they speak, told of another they are skipped; and they say what is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lorachk.engine import session
from lorachk.engine.example import judge_example
from lorachk.engine.page import Block, Example
from lorachk.engine.rules import load_rules
from lorachk.engine.select import Selection
from lorachk.facts import nvml
from lorachk.facts.collector import Options
from lorachk.facts.nvml import Device, Machine, Pair
from lorachk.launchers.resolve import ResolveOptions, resolve

ROOT = Path(__file__).parent.parent
GIB = 2**30
# Rules whose facts are about this machine alone.
HERE = ("L104", "L215", "L217", "L218", "V107", "V108", "V210", "V211", "V212", "Z110")
SCRIPT = """\
export NCCL_P2P_DISABLE=1
torchrun --nproc_per_node 4 train.py --model_name_or_path m --output_dir /proc/out --dataloader_num_workers 4 \\
  --per_device_train_batch_size 1 --learning_rate 1e-4 --bf16 true
"""


def machine(count: int, name: str = "NVIDIA GeForce RTX 4090", *, nvlink: bool = False, used: int = 0) -> Machine:
    """A machine with some equal GPUs."""
    devices = [
        Device(index, name, f"GPU-{index}", 24 * GIB, 24 * GIB - used, used, 8.9, int(used > 0), used or None)
        for index in range(count)
    ]
    pairs = [Pair(a, b, "system", "ok" if nvlink else "chipset", nvlink) for a in range(count) for b in range(a)]
    return Machine("535.171.04", 12.2, devices, pairs)


def findings(folder: Path, select: tuple[str, ...], **options: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Messages by rule, and reasons why rules were skipped."""
    script = folder / "train.sh"
    script.write_text(SCRIPT)
    found = session.run_command(
        "check",
        resolve(ResolveOptions(isolated=True, launch=str(script), trainer="hf", **options)),
        options=Options(trace=False),
        selection=Selection(select=select),
        rules=[ROOT / "rules"],
        rehearse=False,
    )
    assert (found.broken, found.internal_errors) == ([], [])
    return {f.rule: f.message for f in found.findings}, {s.rule: s.reason for s in found.skipped}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that the tests run in is not the run's."""
    for name in list(os.environ):
        if name.startswith(("CUDA_", "NCCL_")):
            monkeypatch.delenv(name)


def test_this_machine_is_judged_when_the_run_is_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is found in the second before the run, not in the hour after."""
    monkeypatch.setattr(nvml, "look", lambda: machine(3, used=5 * GIB))
    said, _ = findings(tmp_path, ("L104", "L210", "V210", "V211"))
    assert said["L210"] == "4 ranks, and the processes see 3 GPUs"
    assert said["V210"].startswith("5.0 GiB of 24.0 GiB on GPU")
    assert said["V211"].startswith("output_dir is /proc/out, and nothing can be written to /proc:")
    assert "refuses 3 GPUs with RTX 40xx among them under torchrun with driver 535.171.04" in said["L104"]


def test_another_machine_is_not_judged_by_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop with a full disk and 64 MB of shared memory says nothing about the cluster."""
    monkeypatch.setattr(nvml, "look", lambda: machine(3, used=5 * GIB))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    said, skipped = findings(tmp_path, (*HERE, "L210", "L214"), gpu="A100 80GB")
    assert said == {}
    assert set(skipped) >= {*HERE, "L210", "L214"}
    reasons = {skipped[rule] for rule in (*HERE, "L210", "L214") if rule not in ("V107", "V212", "Z110")}
    assert reasons == {"judged for A100 80GB, not for this machine"}


def test_without_a_gpu_this_machine_is_not_the_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CI runner that lints the cluster's files has no GPU and must not be taken for the cluster."""
    monkeypatch.setattr(nvml, "look", lambda: None)
    said, skipped = findings(tmp_path, HERE)
    assert said == {}
    assert skipped["V211"].startswith("no NVIDIA driver here")


def test_the_variables_of_this_shell_count_where_the_file_sets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`CUDA_VISIBLE_DEVICES=0 bash train.sh` with four ranks fails as the file's own line would."""
    monkeypatch.setattr(nvml, "look", lambda: machine(8, "NVIDIA A100-SXM4-80GB", nvlink=True))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    said, _ = findings(tmp_path, ("L210", "L214"))
    assert said["L210"] == "4 ranks, and the processes see 2 GPUs (CUDA_VISIBLE_DEVICES is 0,1)"
    assert said["L214"] == "NCCL_P2P_DISABLE=1, and two of the GPUs are joined by NVLink"


SMI = """#!/bin/sh
for name in {names}; do
  case "$1" in *driver_version*) echo {driver};; *) echo "{count}, $name";; esac
done
"""
ASK = "from accelerate.utils.environment import check_cuda_p2p_ib_support as f; print(f())"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "driver"),
    [
        (["NVIDIA GeForce RTX 4090"], "535.171.04"),
        (["NVIDIA GeForce RTX 4090"] * 2, "535.171.04"),
        (["NVIDIA GeForce RTX 4090"] * 2, "550.40.07"),
        (["NVIDIA GeForce RTX 4090"] * 2, "550.5"),
        (["NVIDIA A40", "NVIDIA GeForce RTX 4070 Ti"], "545.23.08"),
        (["NVIDIA RTX 4000 Ada Generation"] * 2, "535.171.04"),
        (["NVIDIA GeForce RTX 3090"] * 2, "535.171.04"),
        (["NVIDIA GeForce RTX 5090"] * 2, "580.65.06"),
    ],
)
def test_accelerate_refuses_what_the_rule_says(names: list[str], driver: str, tmp_path: Path) -> None:
    """The rule repeats accelerate's own check, asked here with a recorded nvidia-smi."""
    pytest.importorskip("accelerate")
    smi = tmp_path / "nvidia-smi"
    quoted = " ".join(f"'{name}'" for name in names)
    smi.write_text(SMI.format(names=quoted, driver=driver, count=len(names)))
    smi.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([sys.executable, "-c", ASK], env=os.environ | {"PATH": path}, capture_output=True, text=True)
    refused = {"True": False, "False": True}[done.stdout.split()[-1]]
    facts = {
        "host": [{"run_here": True, "driver": driver, "gpu_names": names}],
        "package": [{"name": "accelerate", "version": "1.15.0"}],
    }
    script = Block("sh", "train.sh", "torchrun --nproc_per_node 2 train.py --output_dir out\n", 1)
    page = next(page for page in load_rules([ROOT / "rules"])[0] if page.code == "L104")
    report = judge_example(page, Example("", 1, (script, Block("yaml", "facts", yaml.safe_dump(facts), 1))))
    assert (report.broken, report.internal_errors, report.skipped) == ([], [], [])
    assert bool(report.findings) == refused
