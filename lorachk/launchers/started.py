"""The folder a launch script is started in, to which the paths in it are relative.

MiniCPM-V's scripts are started beside themselves, LLaVA's and most others in the root of the repository
(`bash scripts/v1_5/finetune_lora.sh`). Nothing in a script says which, but the files it names are only there in one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorachk.launchers.command import Launch
from lorachk.launchers.shell_script import Script
from lorachk.launchers.text import exists
from lorachk.launchers.values import Found

_LEVELS = 4  # InternVL's scripts lie three below the folder they are started in
_NAMES = (
    "deepspeed",
    "data_path",
    "eval_data_path",
    "image_folder",
    "meta_path",
    "model_name_or_path",
    "base_model",
    "dataset",
    "val_dataset",
    "custom_train_dataset_path",
    "datasets",
    "test_datasets",
    "dataset_dir",
    "dataset_name",
    "media_dir",
)


def started_in(launch: Launch, script: Script, path: str) -> str:
    """The folder in which most of the named files are: the script's own, the working directory or one above."""
    named = _named(launch)
    candidates = _folders(path)
    entered = _entered(script, launch.line)
    if entered:
        candidates = [*(os.path.join(folder, entered) for folder in candidates), *candidates]  # noqa: PTH118
    return _fullest(candidates, named)


def arguments_from(arguments: dict[str, Found], path: str) -> str:
    """The folder in which most files are that a file of arguments names: its own, the working directory, one above."""
    named = [found.value for name, found in arguments.items() if name in _NAMES]
    return _fullest(_folders(path), _relative([*named, *_registry(arguments)]))


def _registry(arguments: dict[str, Found]) -> list[str]:
    """Where LLaMA-Factory looks up its datasets."""
    folder = arguments.get("dataset_dir")
    return [f"{folder.value if folder else 'data'}/dataset_info.json"] if "dataset" in arguments else []


def _fullest(folders: list[str], named: list[str]) -> str:
    return max(folders, key=lambda folder: sum(exists(f"{folder}/{name}") for name in named))


def _relative(named: list[Any]) -> list[str]:
    texts = [text for value in named for text in _texts(value)]
    return [text for text in texts if text and not text.startswith(("/", "~"))]


def _texts(value: Any) -> Iterator[str]:
    """Names in a value: ms-swift's datasets are `train.jsonl#500`, axolotl's mappings with a path."""
    if isinstance(value, str):
        yield value.partition("#")[0]
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, dict):
        yield from _texts(value.get("path"))
        yield from _texts(value.get("data_files"))


def _folders(path: str) -> list[str]:
    own = str(Path(path).parent)
    folders = [own, "."]
    for level in range(1, _LEVELS + 1):
        if (Path(folders[0 if level == 1 else -1]) / ".git").exists():
            break
        folders.append(os.path.normpath(Path(own, *[".."] * level)))
    return folders


def _named(launch: Launch) -> list[str]:
    found: list[Any] = [launch.program, *(launch.flags[name].value for name in _NAMES if name in launch.flags)]
    config = launch.launcher_flags.get("config_file") or launch.launcher_flags.get("deepspeed_config_file")
    found += [config.value] if config else []
    found += [launch.config.value] if launch.config else []
    found += _registry(launch.flags)
    return _relative(found)


def _entered(script: Script, line: int) -> str | None:
    """Where the script's last `cd` before the training goes."""
    for call in reversed(script.invocations):
        if call.line < line and [word.text for word in call.arguments[:1]] == ["cd"] and len(call.arguments) == 2:
            folder = call.arguments[1]
            return None if folder.unknown else folder.text
    return None
