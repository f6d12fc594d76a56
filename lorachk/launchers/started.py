"""The folder a launch script is started in, to which the paths in it are relative.

MiniCPM-V's scripts are started beside themselves, LLaVA's and most others in the root of the repository
(`bash scripts/v1_5/finetune_lora.sh`). Nothing in a script says which, but the files it names are only there in one.
"""

from __future__ import annotations

import os
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
    "dataset_dir",
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
    return _fullest(_folders(path), _relative(named))


def _fullest(folders: list[str], named: list[str]) -> str:
    return max(folders, key=lambda folder: sum(exists(f"{folder}/{name}") for name in named))


def _relative(named: list[Any]) -> list[str]:
    return [text for text in named if isinstance(text, str) and text and not text.startswith(("/", "~"))]


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
    return _relative(found)


def _entered(script: Script, line: int) -> str | None:
    """Where the script's last `cd` before the training goes."""
    for call in reversed(script.invocations):
        if call.line < line and [word.text for word in call.arguments[:1]] == ["cd"] and len(call.arguments) == 2:
            folder = call.arguments[1]
            return None if folder.unknown else folder.text
    return None
