"""The file a run is launched with: a shell script that is read, never run."""

from __future__ import annotations

from typing import NamedTuple

from lorachk.errors import UsageError
from lorachk.launchers.command import Launch, find_launch
from lorachk.launchers.shell_script import evaluate
from lorachk.launchers.started import started_in
from lorachk.launchers.text import read_text
from lorachk.launchers.trainers import recognise
from lorachk.launchers.values import Found
from lorachk.run import Setting, Source

_OTHER = {
    ".yaml": "YAML launch files of LLaMA-Factory, axolotl and ms-swift are not read yet",
    ".yml": "YAML launch files of LLaMA-Factory, axolotl and ms-swift are not read yet",
    ".py": "a Python file can do anything before it trains, so it is not read",
    ".json": "a JSON file launches nothing",
    ".toml": "a TOML file launches nothing",
}


class LaunchFile(NamedTuple):
    """A launch file: the command in it, the trainer it starts, and every flag as a setting."""

    path: str
    folder: str  # where it is started
    launch: Launch
    trainer: str | None
    settings: list[Setting]
    source: Source


def read_launch(path: str, named_at: str | None = None) -> LaunchFile:
    """Read a shell launch script. UsageError when it is missing, not shell, or starts no training."""
    for ending, reason in _OTHER.items():
        if path.endswith(ending):
            raise UsageError(
                f"cannot be used as a launch file: {reason}",
                where=path,
                hint="give the shell script that starts the run, or describe the run in lorachk.toml",
            )
    text, source = read_text(path, "launch", named_at)
    script = evaluate(text, path)
    launch = find_launch(script, path)
    settings = [
        *_settings("launcher", launch.launcher_flags),
        *_settings("launch", launch.flags),
        *_settings("env", launch.environment),
    ]
    return LaunchFile(path, started_in(launch, script, path), launch, recognise(launch), settings, source)


def _settings(kind: str, found: dict[str, Found]) -> list[Setting]:
    return [Setting(kind, f"/{name}", entry.value, entry.at) for name, entry in found.items()]
