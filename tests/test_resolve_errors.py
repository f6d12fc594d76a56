"""Broken configuration: exit code 2 with a place and what to do, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorachk.errors import UsageError
from lorachk.launchers.resolve import ResolveOptions, resolve

BROKEN = sorted((Path(__file__).parent.parent / "fixtures/broken").glob("config-*"))


@pytest.mark.parametrize("folder", BROKEN, ids=lambda folder: folder.name)
def test_broken_files_are_named_with_their_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place is what people click; without it they search a file for a comma."""
    monkeypatch.chdir(folder)
    expected = json.loads((folder / "expected.json").read_text())
    place, says = expected.pop("where"), expected.pop("says")
    with pytest.raises(UsageError) as caught:
        resolve(ResolveOptions(isolated=True, **expected))
    assert caught.value.where == place
    assert says in str(caught.value)


def test_there_are_broken_fixtures() -> None:
    """An empty parametrisation would pass."""
    assert len(BROKEN) > 8


@pytest.mark.parametrize(
    ("options", "place", "says"),
    [
        ({"deepspeed": "nowhere/ds.json"}, "--config", "the folder 'nowhere' does not exist"),
        ({"trainer": "minicpm"}, "--trainer", "minicpmv"),
        ({"tokenizer": "nowhere"}, "--tokenizer", "no such folder"),
        ({"num_gpus": 0}, "--num-gpus", "1 or more"),
        ({"gpu_memory": "lots"}, "--gpu-memory", "write 24GiB"),
        ({"gpu_memory": "24"}, "--gpu-memory", "less than any GPU"),
        ({"launch": "train.py"}, "train.py", "lorachk.toml"),
        ({"deepspeed": "."}, ".", "cannot be read"),
        ({"peft": "a\0b"}, "a\0b", "cannot be read"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, object], place: str, says: str) -> None:
    """A typo in an option must not start a check of something else."""
    with pytest.raises(UsageError) as caught:
        resolve(ResolveOptions(isolated=True, **options))  # type: ignore[arg-type]
    assert caught.value.where == place
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["[]", '"x"', "3", "null"])
def test_a_file_that_holds_no_object(tmp_path: Path, text: str) -> None:
    """Valid JSON need not be a configuration."""
    path = tmp_path / "ds.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="one JSON object"):
        resolve(ResolveOptions(isolated=True, deepspeed=str(path)))


@pytest.mark.parametrize(
    "text",
    [
        '{"zero_optimization": 3}',
        '{"zero_optimization": {"stage": "three", "offload_param": null}}',
        '{"fp16": true, "bf16": [], "train_batch_size": {"a": 1}}',
        '{"zero_optimization": {"stage": null, "reduce_bucket_size": "big"}, "": {"": ""}}',
        "{}",
        "[" * 100000,
    ],
)
def test_nonsense_in_the_file_is_unknown_or_an_error_but_no_crash(tmp_path: Path, text: str) -> None:
    """Hand-edited files hold anything."""
    path = tmp_path / "ds.json"
    path.write_text(text)
    try:
        run = resolve(ResolveOptions(isolated=True, deepspeed=str(path))).run
    except UsageError:
        return
    assert run.zero_stage in (None, 0, 1, 2, 3)
