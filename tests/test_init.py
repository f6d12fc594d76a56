"""init: a lorachk.toml to begin with, from what is there; it must be right, or people begin with a wrong one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from lorachk.cli import main
from lorachk.launchers.resolve import ResolveOptions, resolve

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "fixtures/demo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The demo's folder without its lorachk.toml."""
    shutil.copytree(DEMO, tmp_path / "run", ignore=shutil.ignore_patterns("lorachk.toml"))
    return tmp_path / "run"


def test_the_run_of_a_folder_is_the_run_of_its_script(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What init writes must not change the run that the launch file describes."""
    assert main(["init", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "found 1 launch file, 2 DeepSpeed files, 2 datasets" in out
    assert f"cd {folder} && lorachk check" in out
    written = resolve(ResolveOptions(toml=str(folder / "lorachk.toml"))).run
    direct = resolve(ResolveOptions(isolated=True, launch=str(folder / "finetune_lora.sh"))).run
    for field in ("trainer", "model", "data", "learning_rate", "zero_stage", "use_lora", "output_dir"):
        assert getattr(written, field) == getattr(direct, field)
    assert [p.name for p in folder.iterdir() if p.name.endswith(".part")] == []


def test_every_suggestion_can_be_used(folder: Path) -> None:
    """A person who takes the # away must not get a message about a key that does not exist."""
    assert main(["init", str(folder)]) == 0
    path = folder / "lorachk.toml"
    lines = [
        line for line in path.read_text().splitlines() if not line.startswith("# ") or " = " in line or "[" in line
    ]
    whole = "\n".join(line[2:] if line.startswith("# ") else line for line in lines)
    tomllib.loads(whole)
    path.write_text(whole)
    assert resolve(ResolveOptions(toml=str(path))).run.trainer == "minicpmv"


def test_without_a_launch_file_the_parts_are_named(folder: Path) -> None:
    """Many people have a dataset, a model folder and a DeepSpeed file, and start from Python."""
    (folder / "finetune_lora.sh").unlink()
    shutil.copytree(ROOT / "fixtures/models/qwen2-tiny", folder / "base")
    (folder / "requirements.txt").write_text("transformers==4.57.1\n")
    assert main(["init", str(folder)]) == 0
    run = tomllib.loads((folder / "lorachk.toml").read_text())["run"]
    assert run == {
        "model": "base",
        "data": ["train.json"],
        "eval_data": ["eval.json"],
        "deepspeed": "ds_zero2.json",
        "requirements": "requirements.txt",
    }


def test_lora_comes_first_of_several_launch_files(folder: Path) -> None:
    """The checker is for LoRA runs; a script for full training beside it is the other one."""
    shutil.copy(folder / "finetune_lora.sh", folder / "a_full.sh")
    text = (folder / "a_full.sh").read_text()
    (folder / "a_full.sh").write_text("\n".join(line for line in text.splitlines() if "lora" not in line.lower()))
    assert main(["init", str(folder)]) == 0
    text = (folder / "lorachk.toml").read_text()
    assert tomllib.loads(text)["run"]["launch"] == "finetune_lora.sh"


def test_a_file_that_is_there_is_not_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody's reasons for ignoring rules stand in it."""
    (folder / "lorachk.toml").write_text("# mine\n")
    assert main(["init", str(folder)]) == 2
    assert "there is one already" in capsys.readouterr().err
    assert main(["init", str(folder), "--print"]) == 0
    assert "[run]" in capsys.readouterr().out
    assert (folder / "lorachk.toml").read_text() == "# mine\n"
    assert main(["init", str(folder), "--force"]) == 0
    assert "[run]" in (folder / "lorachk.toml").read_text()


@pytest.mark.parametrize("name", ['q"uote', "new\nline", "tab\t#", "ünï", "back\\slash"])
def test_strange_names_make_no_broken_file(tmp_path: Path, name: str) -> None:
    """A folder named by somebody else must not write what it likes into the file."""
    (tmp_path / name).mkdir()
    shutil.copy(DEMO / "train.json", tmp_path / name / "train.json")
    assert main(["init", str(tmp_path)]) == 0
    assert tomllib.loads((tmp_path / "lorachk.toml").read_text())["run"]["data"] == [f"{name}/train.json"]


def test_what_cannot_be_read_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pipes, broken files, binaries and loops of links lie in every home folder."""
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "broken.json").write_bytes(b"\xff\xfe{")
    (tmp_path / "cut.yaml").write_text("a: [")
    (tmp_path / "odd.sh").write_text('torchrun "')
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    assert main(["init", str(tmp_path)]) == 0
    assert "nothing of a run" in capsys.readouterr().out
    assert main(["init", str(tmp_path / "nowhere")]) == 2


def test_a_launch_file_that_names_what_is_not_there_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is written all the same, and the person learns what to mend."""
    for name in ("ds_zero2.json", "ds_zero3.json"):
        (folder / name).unlink()
    assert main(["init", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "It cannot be used as it is" in out
    assert "there is no file" in out
