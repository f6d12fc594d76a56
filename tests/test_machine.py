"""GPUs and host: judged for the right machine, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from lorachk.errors import UsageError
from lorachk.facts.collector import Context, NotCollected, Row
from lorachk.facts.machine import collect_gpus, collect_host
from lorachk.launchers.gpus import KNOWN, find_gpu, parse_bytes
from lorachk.run import Run

MACHINES = Path(__file__).parent.parent / "fixtures/machines"
STUB = Path(__file__).with_name("nvml_stub.c")


class Rows:
    """A sink that keeps rows."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {}

    def add(self, table: str, rows: Iterable[Row]) -> None:
        self.tables.setdefault(table, []).extend(rows)

    def unknown(self, fact: str, reason: str, count: int | None = None) -> None:
        raise AssertionError(fact, reason, count)


def gpus(**run: Any) -> list[Row]:
    rows = Rows()
    collect_gpus(Context(Run(**run), rows))
    return rows.tables["gpu"]


def stub(machine: dict[str, Any], folder: Path) -> None:
    """Compile a libnvidia-ml.so.1 that reports this machine."""
    devices = machine["gpus"]

    def array(kind: str, name: str, values: list[object]) -> str:
        return f"static const {kind} {name}[] = {{{', '.join(map(str, values)) or '0'}}};\n"

    header = f'#define DRIVER "{machine["driver"]}"\n#define COUNT {len(devices)}\n'
    header += array("char *", "NAMES", [json.dumps(gpu["name"]) for gpu in devices])
    header += array("unsigned long long", "TOTAL", [f"{gpu['memory_total'] or 0}ULL" for gpu in devices])
    header += array("unsigned long long", "FREE", [f"{gpu['memory_free'] or 0}ULL" for gpu in devices])
    header += array("int", "MAJOR", [gpu["compute_capability"][0] for gpu in devices])
    header += array("int", "MINOR", [gpu["compute_capability"][1] for gpu in devices])
    (folder / "machine.h").write_text(header)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-w", f"-I{folder}", STUB, "-o", library], check=True)


SEE = """
import json
from lorachk.facts.machine import driver, nvml_gpus
print(json.dumps([driver(), nvml_gpus()]))
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.parametrize("name", sorted(path.stem for path in MACHINES.glob("*.json")))
def test_real_pynvml_reports_the_machine(name: str, tmp_path: Path) -> None:
    """Every VRAM verdict hangs on these numbers; a lost GPU must be unknown, not empty."""
    machine = json.loads((MACHINES / f"{name}.json").read_text())
    stub(machine, tmp_path)
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", SEE],
        env=environment | {"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    driver, seen = json.loads(done.stdout)
    assert driver == machine["driver"]
    expected = []
    for index, gpu in enumerate(machine["gpus"]):
        major, minor = gpu.pop("compute_capability")
        expected.append({"index": index, **gpu, "compute_capability": major + minor / 10, "origin": "nvml"})
    assert seen == expected


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.parametrize(("visible", "indices"), [("1", [1]), ("0,7,1", [0]), ("", []), ("GPU-8a", [0, 1])])
def test_hidden_gpus_are_not_judged(visible: str, indices: list[int], tmp_path: Path) -> None:
    """CUDA_VISIBLE_DEVICES=1 trains on the second GPU: the first one's free memory says nothing."""
    stub(json.loads((MACHINES / "rtx4090x2.json").read_text()), tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", SEE],
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": visible},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [gpu["index"] for gpu in json.loads(done.stdout)[1]] == indices


def test_without_driver_and_option_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a laptop or CI runner the GPU rules are skipped with what to do, never passed."""
    monkeypatch.setattr("lorachk.facts.machine.nvml_gpus", lambda: None)
    with pytest.raises(NotCollected, match="--gpu"):
        gpus()


def test_named_gpu_is_one_row_per_local_rank() -> None:
    """Judging for the cluster from the laptop."""
    rows = gpus(gpu="rtx 4090", num_gpus=2)
    assert [row["index"] for row in rows] == [0, 1]
    assert rows[0]["memory_total"] == 24564 * 2**20
    assert rows[0]["memory_free"] is None
    assert (rows[0]["compute_capability"], rows[0]["origin"]) == (8.9, "option")


def test_memory_alone_is_enough_and_beats_the_table() -> None:
    """A GPU that is not in the table must still be judged."""
    assert gpus(gpu_memory=24 * 2**30)[0]["compute_capability"] is None
    assert gpus(gpu="RTX 4090", gpu_memory=48 * 2**30)[0]["memory_total"] == 48 * 2**30
    assert gpus(gpu="Future 9000", gpu_memory=2**37)[0]["name"] == "Future 9000"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("4090", "GeForce RTX 4090"),
        ("RTX4090", "GeForce RTX 4090"),
        ("NVIDIA GeForce RTX 3090", "GeForce RTX 3090"),
        ("a100-80gb", "A100 80GB"),
        ("A100-SXM4-40GB", "A100 40GB"),
        ("Tesla V100-SXM2-32GB", "Tesla V100 32GB"),
        ("h200", "H200"),
        ("T4", "Tesla T4"),
        ("a6000", "RTX A6000"),
        ("l40s", "L40S"),
        ("2080 ti", "GeForce RTX 2080 Ti"),
        ("H100", "H100 80GB"),
    ],
)
def test_gpus_are_known_by_the_names_people_use(text: str, name: str) -> None:
    """`--gpu 4090` is what people type."""
    assert find_gpu(text).name == name


@pytest.mark.parametrize(
    ("text", "says"), [("A100", "A100 40GB, A100 80GB"), ("RTX 4900", "RTX 4090"), ("", "gpu-memory")]
)
def test_unclear_names_are_not_guessed(text: str, says: str) -> None:
    """An A100 with 40 GB taken for one with 80 GB is a wrong "fits"."""
    with pytest.raises(UsageError, match=says):
        find_gpu(text)


def test_every_known_gpu_is_found_by_its_own_name() -> None:
    """The suggestions must be accepted when typed."""
    assert [find_gpu(gpu.name) for gpu in KNOWN] == list(KNOWN)


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GiB", 24 * 2**30), ("24GB", 24 * 10**9), ("24g", 24 * 2**30), ("24576MiB", 24 * 2**30), (2**34, 2**34)],
)
def test_sizes(text: str | int, size: int) -> None:
    """24 GB are 1.7 GiB less than 24 GiB: enough to be wrong about a fit."""
    assert parse_bytes(text, "x") == size


def test_host() -> None:
    """The memory limit of a container counts, not the machine's."""
    rows = Rows()
    collect_host(Context(Run(output_dir="not/there/yet"), rows))
    host = rows.tables["host"][0]
    assert 0 < host["memory_available"] <= host["memory_total"]
    assert host["cpu_count"] >= 1
    assert host["disk_available"] > 0
