"""compare: why two launches train differently, told by what they do and not by how it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.cli import main

RECIPES = Path(__file__).parent.parent / "fixtures/clean/recipes"
OFFICIAL, SWIFT = str(RECIPES / "minicpmv-2_6-lora"), str(RECIPES / "ms-swift-minicpmv-4_6")


def compared(left: str, right: str, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main(["compare", left, right, "--format", "json", *more]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["settings"]}


def test_the_official_script_and_ms_swift_differ_in_what_people_ask_about(capsys: pytest.CaptureFixture[str]) -> None:
    """The question "why does ms-swift train differently?" is answered by these rows."""
    rows = compared(OFFICIAL, SWIFT, capsys)

    def values(name: str) -> tuple[Any, Any]:
        return rows[name]["left"]["value"], rows[name]["right"]["value"]

    assert values("learning_rate") == (1e-6, 1e-4)
    assert values("schedule") == ("WarmupLR", "cosine")
    assert rows["schedule"]["left"]["origin"] == "scheduler in ds_config_zero2.json"
    assert values("scale of the update") == (1.0, 4.0)
    assert values("language model") == ("LoRA", "LoRA")
    assert values("projector or resampler") == ("in full (resampler)", "frozen")
    assert values("vision tower") == ("in full (vpm)", "frozen")
    assert values("records per optimizer step") == (8, 16)
    assert rows["records per optimizer step"]["right"]["origin"] == "1 x 16 x 1"
    assert values("fp16") == (True, False)
    assert rows["learning_rate"]["left"]["origin"] == "finetune_lora.sh:47:21"


def test_a_run_is_the_same_as_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """A difference where there is none sends people after nothing."""
    rows = compared(OFFICIAL, f"{OFFICIAL}/lorachk.toml", capsys)
    assert [name for name, row in rows.items() if row["differs"]] == []
    assert main(["compare", OFFICIAL, OFFICIAL]) == 0
    assert capsys.readouterr().out.startswith("\n0 differences; ")


def test_copies_of_a_dataset_in_two_folders_are_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths are told from the folder of the launch; each of two checkouts has its own."""
    text = (
        "torchrun --nproc_per_node 2 finetune.py --llm_type qwen --data_path train.json --lora_r {} --use_lora true\n"
    )
    for name, rank in (("a", 8), ("b", 16)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.sh").write_text(text.format(rank))
    rows = compared(str(tmp_path / "a/train.sh"), str(tmp_path / "b/train.sh"), capsys)
    assert [name for name, row in rows.items() if row["differs"]] == ["r", "scale of the update"]
    assert rows["data"]["left"]["value"] == ["train.json"]


def test_what_only_the_shell_knows_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A default in place of a value that was given would be called a difference, or hide one."""
    line = "torchrun --nproc_per_node 2 finetune.py --llm_type qwen --use_lora true --lora_modules_to_save {}\n"
    (tmp_path / "a.sh").write_text(line.format("$PARTS").replace("finetune.py --llm_type qwen", "train.py"))
    (tmp_path / "b.sh").write_text(line.format("head").replace("finetune.py --llm_type qwen", "train.py"))
    assert main(["compare", str(tmp_path / "a.sh"), str(tmp_path / "b.sh"), "--trainer", "hf"]) == 0
    out = capsys.readouterr().out
    assert "not known" in out
    assert "of them known of one run only" in out


def test_deepspeed_files_are_compared_by_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """People have a folder of DeepSpeed files and want to know what the one does that the other does not."""
    (tmp_path / "a.json").write_text('{"zero_optimization": {"stage": 2}}')
    (tmp_path / "b.json").write_text('{"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}}')
    rows = compared(str(tmp_path / "a.json"), str(tmp_path / "b.json"), capsys)
    assert [name for name, row in rows.items() if row["differs"]] == ["ZeRO stage", "offload_param"]


def test_markdown_has_a_row_for_each_difference(capsys: pytest.CaptureFixture[str]) -> None:
    """It is pasted into issues; a pipe in a regular expression must not break the table."""
    assert main(["compare", OFFICIAL, SWIFT, "--format", "markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {4}
    assert any("learning_rate" in line and "1e-06" in line for line in table)


@pytest.mark.parametrize(
    ("name", "says"),
    [("missing.sh", "there is no file"), (".", "is a folder without lorachk.toml"), ("empty.sh", "no command that")],
)
def test_a_file_that_is_no_launch_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, says: str
) -> None:
    """Of two files, the message must say which one is wrong."""
    (tmp_path / "empty.sh").write_text("")
    assert main(["compare", OFFICIAL, str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert str(tmp_path) in error
