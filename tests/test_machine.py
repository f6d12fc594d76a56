"""GPUs and host: judged for the right machine, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.errors import UsageError
from lorachk.facts import host, toolchain
from lorachk.facts.collector import Context, NotCollected, Row
from lorachk.facts.environ import variables
from lorachk.facts.machine import collect_gpus, collect_host
from lorachk.facts.nvml import Device
from lorachk.facts.visible import chosen, visible
from lorachk.launchers.gpus import KNOWN, find_gpu, parse_bytes
from lorachk.launchers.values import Unknown
from lorachk.run import Location, Run, Setting

ROOT = Path(__file__).parent.parent
MACHINES = ROOT / "fixtures/machines"
STUB = Path(__file__).with_name("nvml_stub.c")


class Rows:
    """A sink that keeps rows."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {}

    def add(self, table: str, rows: Iterable[Row]) -> None:
        self.tables.setdefault(table, []).extend(rows)

    def unknown(self, fact: str, reason: str, count: int | None = None) -> None:
        self.tables.setdefault("unknown", []).append({"fact": fact, "reason": reason, "count": count})


def gpus(**run: Any) -> list[Row]:
    rows = Rows()
    collect_gpus(Context(Run(**run), rows))
    return rows.tables["gpu"]


def recorded(name: str) -> dict[str, Any]:
    """A machine of fixtures/machines."""
    machine: dict[str, Any] = json.loads((MACHINES / f"{name}.json").read_text())
    return machine


def stub(machine: dict[str, Any], folder: Path) -> None:
    """Compile a libnvidia-ml.so.1 that reports this machine."""
    gpus = machine["gpus"]
    instances = [instance for gpu in gpus for instance in gpu.get("instances", ())]
    nodes = [*gpus, *instances]
    first = list(accumulate((len(gpu.get("instances", ())) for gpu in nodes), initial=len(gpus)))
    pairs = {"p2p": 0, "nvlink": 5, "ancestor": 50} | machine.get("pairs", {})

    def each(kind: str, name: str, values: list[object]) -> str:
        return f"static const {kind} {name}[] = {{{', '.join(map(str, values)) or '0'}}};\n"

    def sizes(name: str, key: str, otherwise: int = 0) -> str:
        values = [otherwise if gpu.get(key, otherwise) is None else gpu.get(key, otherwise) for gpu in nodes]
        return each("unsigned long long", name, [f"{value}ULL" for value in values])

    cuda = round(machine["cuda"] * 10)
    header = f'#define DRIVER "{machine["driver"]}"\n#define CUDA {cuda // 10 * 1000 + cuda % 10 * 10}\n'
    header += f"#define COUNT {len(gpus)}\n#define NODES {len(nodes)}\n#define OLD {int(machine.get('old', False))}\n"
    header += f"#define P2P {pairs['p2p']}\n#define LINK {pairs['nvlink']}\n#define ANCESTOR ({pairs['ancestor']})\n"
    header += each("char *", "NAMES", [json.dumps(gpu["name"]) for gpu in nodes])
    header += each("char *", "UUIDS", [json.dumps(gpu["uuid"] or "") for gpu in nodes])
    header += sizes("TOTAL", "memory_total") + sizes("FREE", "memory_free") + sizes("RESERVED", "reserved")
    header += sizes("HELD", "held", 2**64 - 1)
    capabilities = [gpu.get("compute_capability", (0, 0)) for gpu in nodes]
    header += each("int", "MAJOR", [major for major, _ in capabilities])
    header += each("int", "MINOR", [minor for _, minor in capabilities])
    header += each("int", "GONE", [gpu.get("gone", 0) for gpu in nodes])
    header += each("int", "MIG", [int(gpu["mig"]) if "mig" in gpu else -1 for gpu in nodes])
    header += each("int", "FIRST", first[:-1])
    header += each("int", "INSTANCES", [len(gpu.get("instances", ())) for gpu in nodes])
    header += each("int", "PROCESSES", [gpu.get("processes", 0) for gpu in nodes])
    (folder / "machine.h").write_text(header)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-w", f"-I{folder}", STUB, "-o", library], check=True)


SEE = """
import json, sys
from dataclasses import asdict
from lorachk.facts import nvml
print(json.dumps(asdict(nvml.look())))
"""
needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


def on(folder: Path, *command: str, **environment: str) -> str:
    """What a command prints on the machine whose driver is in `folder`."""
    mine = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, *command],
        env=mine | {"LD_LIBRARY_PATH": str(folder)} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@needs_compiler
@pytest.mark.parametrize("name", sorted(path.stem for path in MACHINES.glob("*.json")))
def test_real_pynvml_reports_the_machine(name: str, tmp_path: Path) -> None:
    """Every VRAM verdict hangs on these numbers; a lost GPU must be unknown, not empty."""
    machine = recorded(name)
    stub(machine, tmp_path)
    seen = json.loads(on(tmp_path, "-c", SEE))
    assert (seen["driver"], seen["cuda"], seen["problem"]) == (machine["driver"], machine["cuda"], None)
    listed = [(index, gpu) for index, gpu in enumerate(machine["gpus"]) if gpu["name"]]
    assert [device["index"] for device in seen["devices"]] == [index for index, _ in listed]
    for device, (_, gpu) in zip(seen["devices"], listed, strict=True):
        expect(device, gpu, old=machine.get("old", False))
        parts = gpu.get("instances", [])
        assert len(device["instances"]) == len(parts)
        for instance, part in zip(device["instances"], parts, strict=True):
            expect(instance, part | {"compute_capability": gpu["compute_capability"]}, old=False)
            assert instance["parent"] == gpu["uuid"]
    assert len(seen["pairs"]) == len(listed) * (len(listed) - 1) // 2


def expect(device: dict[str, Any], gpu: dict[str, Any], *, old: bool) -> None:
    """One GPU as NVML must report it."""
    major, minor = gpu["compute_capability"]
    assert device["compute_capability"] == major + minor / 10
    for key in ("name", "uuid", "memory_total", "memory_free"):
        assert device[key] == gpu[key], key
    if gpu["memory_total"] is not None:
        reserved = 0 if old else gpu.get("reserved", 0)
        assert device["memory_used"] == gpu["memory_total"] - gpu["memory_free"] - reserved
    count = None if gpu.get("gone") else gpu.get("processes", 0)
    assert device["processes"] == count
    held = gpu.get("held")
    assert device["process_bytes"] == (None if count is None or (count and held is None) else count * (held or 0))
    assert device["mig"] == gpu.get("mig")


@needs_compiler
@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("rtx4090x3", {("hostbridge", "chipset", False)}),
        ("a100x8-nvlink", {("system", "ok", True)}),
        ("rtx4090x2", {("system", "unsupported", False)}),
    ],
)
def test_the_ways_between_gpus(name: str, ways: set[Any], tmp_path: Path) -> None:
    """Whether NCCL's peer-to-peer switch hurts or helps is decided by these."""
    stub(recorded(name), tmp_path)
    seen = json.loads(on(tmp_path, "-c", SEE))
    assert {(pair["ancestor"], pair["p2p"], pair["nvlink"]) for pair in seen["pairs"]} == ways


def devices(name: str) -> list[Device]:
    """The GPUs of a recorded machine, as NVML would give them."""

    def device(index: int, gpu: dict[str, Any], parent: str | None) -> Device:
        parts = tuple(device(index, part, gpu["uuid"]) for part in gpu.get("instances", ()))
        nothing = {"memory_used": None, "compute_capability": None, "processes": None, "process_bytes": None}
        sizes = {"memory_total": gpu["memory_total"], "memory_free": gpu["memory_free"]}
        names = {"index": index, "name": gpu["name"], "uuid": gpu["uuid"], "parent": parent}
        return Device(**names, **sizes, **nothing, mig=gpu.get("mig"), instances=parts)

    return [device(index, gpu, None) for index, gpu in enumerate(recorded(name)["gpus"])]


@pytest.mark.parametrize(
    ("machine", "value", "shown"),
    [
        ("rtx4090x3", None, "GPU-0 GPU-1 GPU-2"),
        ("rtx4090x3", "1", "GPU-1"),
        ("rtx4090x3", "2,0", "GPU-2 GPU-0"),
        ("rtx4090x3", "0,7,1", "GPU-0"),  # what follows a number that names nothing is ignored
        ("rtx4090x3", "0,0", ""),
        ("rtx4090x3", "", ""),
        ("rtx4090x3", "-1", ""),
        ("rtx4090x3", "0,-1,2", "GPU-0"),
        ("rtx4090x3", "NoDevFiles", ""),
        ("rtx4090x3", "GPU-1f1e2d3c,GPU-0", "GPU-1 GPU-0"),
        ("rtx4090x3", "GPU-", ""),  # fits more than one
        ("rtx4090x3", "GPU-2f,GPU-9", "GPU-2"),
        ("h100-mig", None, "MIG-1"),  # one instance, and no whole GPU beside it
        ("h100-mig", "0", "MIG-1"),
        ("h100-mig", "1", "GPU-c0ffee01"),
        ("h100-mig", "MIG-22222222-aaaa-5bbb-8ccc-dddddddddddd", "MIG-2"),
        ("h100-mig", "MIG-2,MIG-1", "MIG-2"),
        ("h100-mig", "MIG-3", ""),
    ],
)
def test_hidden_gpus_are_not_judged(machine: str, value: str | None, shown: str) -> None:
    """CUDA_VISIBLE_DEVICES=1 trains on the second GPU: the first one's free memory says nothing."""
    found = [device.uuid or "" for device in visible(value, devices(machine))]
    beginnings = shown.split()
    assert len(found) == len(beginnings)
    assert all(uuid.startswith(beginning) for uuid, beginning in zip(found, beginnings, strict=True))


@pytest.fixture(scope="module")
def torch_cuda() -> Any:
    """torch.cuda, imported once: that takes longer than hypothesis waits."""
    return pytest.importorskip("torch.cuda")


@pytest.mark.slow
@given(
    parts=st.lists(st.sampled_from(["0", "1", "2", " 1", "+2", "3", "-1", "", "a", "1a", "GPU-0", "GPU-1f", "MIG-1"]))
)
def test_numbers_and_uuids_are_read_as_torch_reads_them(torch_cuda: Any, parts: list[str]) -> None:
    """Another reading would judge, and count, other GPUs than those that train."""
    value, uuids = ",".join(parts), [device.uuid for device in devices("rtx4090x3")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", value)
        chosen = torch_cuda._parse_visible_devices()
    if chosen and isinstance(chosen[0], str):
        chosen = torch_cuda._transform_uuid_to_ordinals(chosen, uuids) if chosen[0].startswith("GPU") else []
    ordinals = []
    for number in chosen:
        if number >= len(uuids):
            break
        ordinals.append(number)
    assert [device.index for device in visible(value, devices("rtx4090x3"))] == ordinals


def settings(**given: object) -> list[Setting]:
    """Settings by kind and name: env_X, launcher_y."""
    made = []
    for key, value in given.items():
        kind, _, name = key.partition("_")
        made.append(Setting(kind, f"/{name}", value, Location("run.sh", 1)))
    return made


@pytest.mark.parametrize(
    ("launcher", "given", "value"),
    [
        ("torchrun", {}, "5"),
        ("torchrun", {"env_CUDA_VISIBLE_DEVICES": "2,3"}, "2,3"),
        ("torchrun", {"env_CUDA_VISIBLE_DEVICES": 2}, "2"),
        ("deepspeed", {"launcher_include": "localhost:1,2", "env_CUDA_VISIBLE_DEVICES": "3"}, "1,2"),
        ("deepspeed", {"launcher_num_gpus": 2, "env_CUDA_VISIBLE_DEVICES": "2,3"}, "0,1"),
        ("torchrun", {"launcher_num_gpus": 2}, "5"),
        ("accelerate", {"launcher_gpu_ids": "1,3"}, "1,3"),
        ("accelerate", {"accelerate_gpu_ids": "all", "env_CUDA_VISIBLE_DEVICES": "0"}, "0"),
    ],
)
def test_the_launcher_chooses_before_the_variable(launcher: str, given: dict[str, Any], value: str) -> None:
    """`deepspeed --num_gpus 2` trains on GPUs 0 and 1 whatever the variable says."""
    assert chosen(settings(**given), launcher, "5").value == value


def test_gpus_that_only_the_cluster_chooses_are_not_numbered() -> None:
    """A count of GPUs that was guessed would call a good launch wrong."""
    found = chosen(settings(env_CUDA_VISIBLE_DEVICES=Unknown("$SLURM_GPUS is set outside")), "torchrun", "5")
    assert (found.value, found.unknown) == (None, "$SLURM_GPUS is set outside")


def test_without_driver_and_option_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a laptop or CI runner the GPU rules are skipped with what to do, never passed."""
    monkeypatch.setattr("lorachk.facts.nvml.look", lambda: None)
    with pytest.raises(NotCollected, match="--gpu"):
        gpus()


def test_named_gpu_is_one_row_per_local_rank() -> None:
    """Judging for the cluster from the laptop."""
    rows = gpus(gpu="rtx 4090", num_gpus=2)
    assert [row["index"] for row in rows] == [0, 1]
    assert rows[0]["memory_total"] == 24564 * 2**20
    assert rows[0].get("memory_free") is None
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
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada Generation"),
        ("rtx 6000 ada", "RTX 6000 Ada Generation"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell"),
        ("5090", "GeForce RTX 5090"),
        ("4070 ti super", "GeForce RTX 4070 Ti SUPER"),
        ("NVIDIA H100 80GB HBM3", "H100 80GB"),
        ("NVIDIA A10G", "A10G"),
        ("a800", "A800 80GB"),
        ("GB200", "GB200"),
        ("NVIDIA B300 SXM6 AC", "B300"),
    ],
)
def test_gpus_are_known_by_the_names_people_use(text: str, name: str) -> None:
    """`--gpu 4090` is what people type."""
    assert find_gpu(text).name == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A100", "A100 40GB, A100 80GB"),
        ("RTX 4900", "RTX 4090"),
        ("", "gpu-memory"),
        ("4060 ti", "16GB"),
        ("RTX 6000", "Quadro RTX 6000, RTX 6000 Ada"),
    ]
    + [(name, "--gpu-memory 64GiB") for name in ("MI300X", "AMD Instinct MI250", "Ascend 910B", "Gaudi 2")],
)
def test_unclear_names_are_not_guessed(text: str, says: str) -> None:
    """An A100 with 40 GB taken for one with 80 GB is a wrong "fits"."""
    with pytest.raises(UsageError, match=says):
        find_gpu(text)


def test_every_known_gpu_is_found_by_its_own_name() -> None:
    """The suggestions must be accepted when typed."""
    assert [find_gpu(gpu.name) for gpu in KNOWN] == list(KNOWN)


def test_only_cards_for_games_lack_peer_to_peer() -> None:
    """Drivers refuse it between GeForce cards, whatever they are plugged into."""
    assert not find_gpu("4090").p2p
    assert not find_gpu("titan rtx").p2p
    assert find_gpu("RTX A6000").p2p
    assert find_gpu("l40s").p2p


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GiB", 24 * 2**30), ("24GB", 24 * 10**9), ("24g", 24 * 2**30), ("24576MiB", 24 * 2**30), (2**34, 2**34)],
)
def test_sizes(text: str | int, size: int) -> None:
    """24 GB are 1.7 GiB less than 24 GiB: enough to be wrong about a fit."""
    assert parse_bytes(text, "x") == size


def test_host() -> None:
    """Rules about this machine need these; where there is no GPU, they must be skipped and say why."""
    rows = Rows()
    collect_host(Context(Run(output_dir="not/there/yet", gpu="A40"), rows))
    row = rows.tables["host"][0]
    assert 0 < row["memory_available"] <= row["memory_total"]
    assert row["cpu_count"] >= 1
    assert 0 < row["disk_available"] <= row["disk_total"]
    assert row["output_folder"] == str(Path.cwd())
    assert row["run_here"] is None
    assert [(u["fact"], u["reason"]) for u in rows.tables["unknown"]] == [
        ("host.run_here", "judged for A40, not for this machine"),
        ("host.gpus_seen", "judged for A40, not for this machine"),
    ]


MEMINFO = "MemTotal: 67108864 kB\nMemFree: 1 kB\nMemAvailable: 33554432 kB\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    """A /proc and /sys with these files."""
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "total", "available"),
    [
        ({}, 64, 32),
        ({"sys/fs/cgroup/memory.max": "max", "sys/fs/cgroup/memory.current": "5"}, 64, 32),
        (
            {  # a container with cgroup v2: its own group is the root of the mount
                "proc/self/cgroup": "0::/",
                "sys/fs/cgroup/memory.max": str(16 * 2**30),
                "sys/fs/cgroup/memory.current": str(10 * 2**30),
                "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {2 * 2**30}\n",
            },
            16,
            8,
        ),
        (
            {  # the tighter limit is on a group around this one
                "proc/self/cgroup": "0::/kubepods/pod7/main",
                "sys/fs/cgroup/kubepods/pod7/memory.max": str(8 * 2**30),
                "sys/fs/cgroup/kubepods/pod7/memory.current": str(2 * 2**30),
                "sys/fs/cgroup/kubepods/pod7/main/memory.max": "max",
            },
            8,
            6,
        ),
        (
            {  # cgroup v1 under docker: the path is the host's and not mounted
                "proc/self/cgroup": "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/",
                f"{V1}/memory.limit_in_bytes": str(4 * 2**30),
                f"{V1}/memory.usage_in_bytes": str(3 * 2**30),
                f"{V1}/memory.stat": f"total_inactive_file {2**30}\n",
            },
            4,
            2,
        ),
        (
            {"proc/self/cgroup": "4:memory:/a", f"{V1}/a/memory.limit_in_bytes": "9223372036854771712"},
            64,
            32,
        ),
    ],
)
def test_the_memory_of_a_container_counts(files: dict[str, str], total: int, available: int, tmp_path: Path) -> None:
    """The machine's 64 GiB do not help a run that is killed at 8."""
    found = host.memory(tree(tmp_path, files))
    assert (found.total, found.available) == (total * 2**30, available * 2**30)
    assert found.limit == (None if total == 64 else total * 2**30)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/cpu.max": "250000 100000"}, 2.5),
        (
            {
                "proc/self/cgroup": "2:cpu,cpuacct:/",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            4.0,
        ),
        ({"proc/self/cgroup": "2:cpu:/", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, None),
    ],
)
def test_the_cpu_time_of_a_container_counts(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    """64 visible cores with a quota of 4 make 16 dataloader workers slower, not faster."""
    assert host.cpu_quota(tree(tmp_path, files)) == quota


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The first checkpoint is where people find out."""
    assert host.not_writable(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "out"
    file.write_text("x")
    assert host.not_writable(host.existing(file)) == "is a file"
    assert host.not_writable(Path("/proc/self")) is not None
    assert host.existing(tmp_path / "a/b/c") == tmp_path
    assert host.space(Path("/proc")).kind == "proc"


def program(folder: Path, name: str, says: str, code: int = 0) -> Path:
    """A program that prints something."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)
    return path


NVCC = "Cuda compilation tools, release 12.4, V12.4.131"


def test_the_cuda_toolkit_that_torch_would_use(tmp_path: Path) -> None:
    """CUDA_HOME beats the PATH, as in torch; a runtime without nvcc compiles nothing."""
    home, other = tmp_path / "cuda", tmp_path / "other"
    program(home / "bin", "nvcc", NVCC)
    program(other / "bin", "nvcc", NVCC.replace("12.4", "11.8"))
    path = str(other / "bin")
    assert toolchain.nvcc({"CUDA_HOME": str(home), "PATH": path})["version"] == "12.4"
    assert toolchain.nvcc({"PATH": path})["version"] == "11.8"
    empty = toolchain.nvcc({"CUDA_PATH": str(tmp_path), "PATH": path})
    assert (empty["version"], empty["problem"]) == (None, f"no nvcc in the CUDA toolkit {tmp_path}")
    program(home / "bin", "nvcc", "cannot", 1)
    assert "does not run" in toolchain.nvcc({"CUDA_HOME": str(home)})["problem"]


def test_the_compiler_and_ninja(tmp_path: Path) -> None:
    """DeepSpeed stops in the middle of start-up without them."""
    program(tmp_path, "mycc", "13.2.0")
    assert toolchain.compiler({"CXX": str(tmp_path / "mycc"), "PATH": ""})["version"] == "13.2.0"
    assert "no C++ compiler: c++" in toolchain.compiler({"PATH": str(tmp_path)})["problem"]
    program(tmp_path, "ninja", "1.11.1")
    assert toolchain.ninja({"PATH": str(tmp_path)})["version"] == "1.11.1"


@pytest.mark.parametrize(
    ("lines", "cuda", "problem"),
    [
        ("__version__ = '2.6.0+cu124'\ncuda: Optional[str] = '12.4'\nhip: Optional[str] = None\n", "12.4", None),
        ("__version__ = '2.6.0+cpu'\ncuda: Optional[str] = None\n", None, "torch 2.6.0+cpu is built without CUDA"),
    ],
)
def test_torch_tells_its_build_without_being_imported(
    lines: str, cuda: str | None, problem: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing torch takes seconds; a CPU build on a GPU machine is found before anything starts."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "torch/version.py").write_text(f"from typing import Optional\n{lines}")
    monkeypatch.setattr(toolchain, "package_folder", lambda name: tmp_path / name)
    rows = {row["name"]: row for row in toolchain.torch_build()}
    assert (rows["torch-cuda"]["version"], rows["torch-cuda"]["problem"]) == (cuda, problem)
    assert rows["torch"]["version"].startswith("2.6.0")
    assert "torch-hip" not in rows


def test_a_stated_torch_is_known_by_its_local_version() -> None:
    """[environment] torch = "2.6.0+cu118" is another build than the one that is installed here."""
    assert [(r["name"], r["version"]) for r in toolchain.torch_build("2.6.0+cu118")] == [
        ("torch", "2.6.0+cu118"),
        ("torch-cuda", "11.8"),
    ]
    assert [r["name"] for r in toolchain.torch_build("2.6.0")] == ["torch"]


def test_the_operators_that_came_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who installed DeepSpeed with DS_BUILD_CPU_ADAM=1 needs no compiler, and must not be told to get one."""
    (tmp_path / "deepspeed/ops/adam").mkdir(parents=True)
    (tmp_path / "deepspeed/ops/adam/cpu_adam_op.cpython-311-x86_64-linux-gnu.so").touch()
    (tmp_path / "deepspeed/git_version_info_installed.py").write_text(
        "version='0.16.9'\ninstalled_ops={'cpu_adam': True, 'fused_adam': False}\naccelerator_name='cuda'\n"
    )
    monkeypatch.setattr(toolchain, "package_folder", lambda name: tmp_path / name)
    assert [(r["name"], r["version"]) for r in toolchain.operators()] == [("cpu_adam", "0.16.9"), ("fused_adam", None)]


def test_only_variables_that_decide_something_are_kept() -> None:
    """A facts file goes into bug reports: secrets of the environment must not."""
    context = Context(Run(), Rows(), settings(env_NCCL_P2P_DISABLE=1, env_WANDB_PROJECT="x"))
    own = {"NCCL_P2P_DISABLE": "0", "WORLD_SIZE": "4", "AWS_SECRET_ACCESS_KEY": "s", "HF_TOKEN": "t"}
    assert [(r["name"], r["value"], r["origin"]) for r in variables(context, own)] == [
        ("NCCL_P2P_DISABLE", "1", "launch"),
        ("WANDB_PROJECT", "x", "launch"),
        ("WORLD_SIZE", "4", "machine"),
    ]


@needs_compiler
def test_env_shows_the_machine(tmp_path: Path) -> None:
    """`lorachk env` is what people paste into a bug report."""
    stub(recorded("h100-mig"), tmp_path)
    text = on(tmp_path, "-m", "lorachk", "env", CUDA_VISIBLE_DEVICES="1")
    assert "550.90.07" in text
    assert "CUDA_VISIBLE_DEVICES=1" in text
    report = json.loads(on(tmp_path, "-m", "lorachk", "env", "--format", "json"))
    assert [gpu["name"] for gpu in report["gpus"]] == ["NVIDIA H100 80GB HBM3 MIG 3g.40gb"]
    assert len(report["host"]["gpu_names"]) == 2
    assert {tool["name"] for tool in report["tools"]} >= {"nvcc", "ninja", "c++", "Python.h"}
