"""Where a script is started, what accelerate adds on its own account, and the substitutions that need no shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorachk.errors import UsageError
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.launchers.shell_values import substituted
from lorachk.run import Run

COMMAND = "torchrun --nproc_per_node 2 train.py --output_dir out --per_device_train_batch_size 1 --deepspeed {}\n"


def read(script: Path) -> Run:
    """The run a script starts."""
    return resolve(ResolveOptions(isolated=True, launch=str(script))).run


def write(path: Path, text: str) -> Path:
    """A file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("script", "named", "line"),
    [
        ("train.sh", "ds.json", ""),
        ("scripts/v1/train.sh", "./scripts/ds.json", ""),
        ("scripts/train.sh", "conf/ds.json", "cd src\n"),
        ("scripts/train.sh", "ds.json", 'cd "$(dirname "$0")/../src"\n'),
        (
            "run/train.sh",
            "${HOME_OF_IT}/conf/ds.json",
            'HOME_OF_IT="$( cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd )"\n',
        ),
    ],
)
def test_files_are_found_where_the_script_is_started(tmp_path: Path, script: str, named: str, line: str) -> None:
    """LLaVA's, Qwen's and VLM-R1's scripts are started elsewhere than they lie: lorachk refused to read them."""
    places = {"./scripts/ds.json": "scripts/ds.json", "conf/ds.json": "src/conf/ds.json"}
    where = places.get(named, "src/ds.json" if "src" in line else "ds.json")
    where = "conf/ds.json" if "HOME_OF_IT" in named else where
    wanted = write(tmp_path / where, '{"zero_optimization": {"stage": 2}}')
    run = read(write(tmp_path / script, line + COMMAND.format(named)))
    assert run.zero_stage == 2
    assert run.deepspeed is not None
    assert Path(run.deepspeed).resolve() == wanted.resolve()


def test_a_file_that_is_nowhere_is_looked_for_beside_the_script(tmp_path: Path) -> None:
    """The message must name a place a person expects."""
    with pytest.raises(UsageError, match="no file") as error:
        read(write(tmp_path / "scripts/train.sh", COMMAND.format("ds.json")))
    assert str(tmp_path / "scripts/ds.json") in str(error.value)


ACCELERATE = "accelerate launch {} train.py --output_dir out --per_device_train_batch_size 1\n"
FILE = """distributed_type: {}
deepspeed_config:
  zero_stage: 3
  offload_optimizer_device: cpu
num_machines: 2
num_processes: 8
"""


@pytest.mark.parametrize(
    ("flags", "kind", "stage", "ranks"),
    [
        ("--config_file a.yaml", "DEEPSPEED", 3, 8),
        ("--config_file a.yaml", "MULTI_GPU", 0, 8),
        ("--config_file a.yaml --num_processes 4 --num_machines 1", "DEEPSPEED", 3, 4),
        ("--multi_gpu --num_processes 4", None, 0, 4),
        ("--use_deepspeed --num_processes 4", None, 2, 4),
        ("--use_deepspeed --zero_stage 3 --num_processes 4", None, 3, 4),
        ("--num_processes 4", None, None, 4),  # accelerate's default file on that machine decides
        ("", None, None, None),
    ],
)
def test_accelerate_decides_the_stage(
    tmp_path: Path, flags: str, kind: str | None, stage: int | None, ranks: int | None
) -> None:
    """A run under ZeRO-3 taken for plain DDP gets the wrong findings and the wrong memory."""
    if kind:
        write(tmp_path / "a.yaml", FILE.format(kind))
    run = read(write(tmp_path / "train.sh", ACCELERATE.format(flags)))
    assert (run.zero_stage, run.world_size) == (stage, ranks)
    if kind == "DEEPSPEED":
        assert run.offload_optimizer == "cpu"
        assert run.origins["zero_stage"].line == 3


@pytest.mark.parametrize("text", ["- a list", "a: [", "&a [*a, *a]", "[" * 3000, "a: \t-"])
def test_a_broken_accelerate_file_is_named(tmp_path: Path, text: str) -> None:
    """Bad input never gives a traceback."""
    write(tmp_path / "a.yaml", text)
    with pytest.raises(UsageError, match=r"YAML|mapping|nested|holds itself"):
        read(write(tmp_path / "train.sh", ACCELERATE.format("--config_file a.yaml")))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("$((128 / (B * 8)))", "4"),
        ("$(($B*${N}))", "32"),
        ("$((-7 / 2))", "-3"),
        ("$((-7 % 2))", "-1"),
        ("$((B + UNSET))", None),
        ("$((1 / 0))", None),
        ("$((9 ** 99))", None),
        ("$((B > 1 ? 2 : 3))", None),
        ("$(shuf -i 1-9 -n 1)", None),
        ("$(dirname $0)", "/runs/a"),
        ('$(cd "$(dirname "$(readlink -f "$0")")/../b" >/dev/null 2>&1 && pwd)', "/runs/b"),
        ("$(cd /tmp && pwd)", None),
    ],
)
def test_substitutions(source: str, value: str | None) -> None:
    """A wrong number of accumulation steps would be worse than none; what only a shell knows stays unknown."""
    assert substituted(source, {"B": "4", "N": "8"}.get, "/runs/a/train.sh") == value
