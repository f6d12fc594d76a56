"""Which checkpoint a run goes on from, and what its file names tell: what rules about resuming rest on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.facts.checkpoint import collect
from lorachk.facts.collector import Context
from lorachk.run import Run


class Sink:
    """Rows and unknown facts, as they come."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.problems: list[str] = []

    def add(self, _table: str, rows: Any) -> None:
        self.rows += rows

    def unknown(self, _fact: str, reason: str, _count: int | None = None) -> None:
        self.problems.append(reason)


def read(**fields: Any) -> Sink:
    sink = Sink()
    collect(Context(Run(**fields), sink))
    return sink


def checkpoint(out: Path, step: int, *files: str) -> str:
    """A checkpoint of empty files."""
    folder = out / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    return str(folder)


def shards(ranks: int, kind: str, prefix: str = "") -> list[str]:
    return [f"global_step5/{prefix}zero_pp_rank_{i}_mp_rank_00_{kind}_states.pt" for i in range(ranks)]


@pytest.mark.parametrize(
    ("files", "stage", "ranks", "optimizer"),
    [
        (["global_step5/mp_rank_00_model_states.pt", *shards(4, "optim", "bf16_")], 2, 4, True),
        (["global_step5/mp_rank_00_model_states.pt", *shards(12, "optim")], 2, 12, True),  # 10 sorts before 2
        ([*shards(2, "model"), *shards(2, "optim", "bf16_")], 3, 2, True),
        (["global_step5/mp_rank_00_model_states.pt"], 0, None, True),
        (["global_step5/nothing"], None, None, False),
        (["optimizer.pt"], None, None, True),
        (["adapter_model.safetensors"], None, None, False),
    ],
)
def test_stage_and_ranks_are_in_the_names(
    tmp_path: Path, files: list[str], stage: int | None, ranks: int | None, optimizer: bool
) -> None:
    """With a wrong count, a checkpoint that can be resumed would be called lost."""
    path = checkpoint(tmp_path, 5, *files)
    (row,) = read(trainer="hf", resume_from_checkpoint=path).rows
    assert (row.get("zero_stage"), row.get("ranks"), row["optimizer"]) == (stage, ranks, optimizer)


def test_the_newest_states_count(tmp_path: Path) -> None:
    """A folder may hold states of several steps; `latest` says which are loaded."""
    path = checkpoint(tmp_path, 5, *shards(2, "optim"), "global_step10/zero_pp_rank_0_mp_rank_00_optim_states.pt")
    (row,) = read(resume_from_checkpoint=path).rows
    assert row["ranks"] == 1
    (Path(path) / "latest").write_text("global_step5\n")
    (row,) = read(resume_from_checkpoint=path).rows
    assert row["ranks"] == 2


@pytest.mark.parametrize(
    ("trainer", "given", "overwrite", "step"),
    [
        ("hf", None, None, None),
        ("hf", "false", None, None),
        ("hf", "true", None, 20),
        ("llava", None, None, 20),
        ("llava", "false", None, 20),
        ("minicpmv", "true", None, None),
        ("trl", "true", None, None),
        ("llamafactory", None, None, 20),
        ("llamafactory", None, True, None),
        ("ms-swift", None, None, None),
    ],
)
def test_each_trainer_has_its_own_way(
    tmp_path: Path, trainer: str, given: str | None, overwrite: bool | None, step: int | None
) -> None:
    """A script that begins anew would be judged by an old checkpoint, or one that goes on silently would not."""
    checkpoint(tmp_path, 3)
    last = checkpoint(tmp_path, 20)
    (tmp_path / "checkpoint-100").write_text("a file")
    arguments = {} if overwrite is None else {"overwrite_output_dir": overwrite}
    found = read(trainer=trainer, resume_from_checkpoint=given, output_dir=str(tmp_path), training_args=arguments).rows
    assert [row["path"] for row in found] == ([] if step is None else [last])


@pytest.mark.parametrize(("call", "rows"), [("trainer.train()", 0), ("trainer.train(resume_from_checkpoint=x)", 1)])
def test_a_program_that_begins_anew(tmp_path: Path, call: str, rows: int) -> None:
    """An argument that the program never reads leads to no failure."""
    (tmp_path / "train.py").write_text(f"trainer = Trainer()\nmodel.train()\n{call}\n")
    path = checkpoint(tmp_path, 3)
    assert len(read(program=str(tmp_path / "train.py"), resume_from_checkpoint=path).rows) == rows


def test_a_missing_one_is_missing_only_where_its_folder_is(tmp_path: Path) -> None:
    """CI does not have the cluster's folders: a good run would be called broken there."""
    near = checkpoint(tmp_path, 100)
    (row,) = read(resume_from_checkpoint=str(tmp_path / "checkpoint-10")).rows
    assert (row["exists"], row["near"]) == (False, [near])
    sink = read(resume_from_checkpoint="/cluster/out/checkpoint-10")
    assert sink.rows[0]["exists"] is None
    assert sink.problems == ["the folder of the checkpoint, /cluster/out, is not here"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"r": true, "lora_alpha": "x", "target_modules": 3}', "\udcff"])
def test_broken_files_are_no_traceback(tmp_path: Path, text: str) -> None:
    """An interrupted save leaves half a file."""
    path = checkpoint(tmp_path, 5, "adapter_config.json", "trainer_state.json")
    for name in ("adapter_config.json", "trainer_state.json"):
        (Path(path) / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    (row,) = read(resume_from_checkpoint=path).rows
    assert (row["step"], row.get("lora_r"), row.get("target_modules")) == (5, None, None)


def test_what_the_adapter_was(tmp_path: Path) -> None:
    """Rank and modules decide whether the numbers fit."""
    path = checkpoint(tmp_path, 5)
    config = {"r": 8, "lora_alpha": 16, "target_modules": ["v", "q"], "rank_pattern": {}}
    (Path(path) / "adapter_config.json").write_text(json.dumps(config))
    (row,) = read(resume_from_checkpoint=path).rows
    assert (row["lora_r"], row["lora_alpha"], row["target_modules"]) == (8, 16.0, ["q", "v"])
    assert row["patterns"] is False
