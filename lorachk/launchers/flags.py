"""Flags and arguments of a trainer to fields of the Run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorachk.launchers.command import Launch, processes
from lorachk.launchers.text import beside
from lorachk.launchers.trainers import INVERTED, aliases
from lorachk.launchers.values import Found, Unknown, as_bool

_PATHS = {"deepspeed", "image_root", "output_dir"}


def argument_fields(given: dict[str, Found], trainer: str | None, path: str) -> dict[str, Found]:
    """Run fields out of a trainer's arguments; paths are relative to the file at `path` that names them."""
    found: dict[str, Found] = {}
    for field, names in aliases(trainer).items():
        entry = next((given[name] for name in names if name in given), None)
        if entry is not None:
            found[field] = _place(field, entry, path)
    for field, names in INVERTED.items():
        entry = next((given[name] for name in names if name in given), None)
        if entry is not None and field not in found:
            flag = None if isinstance(entry.value, Unknown) else as_bool(entry.value)
            found[field] = entry if flag is None else Found(not flag, entry.at)
    return found


def launch_fields(launch: Launch, trainer: str | None, path: str) -> dict[str, Found]:
    """Run fields of a launch command: flags, processes, and what the launcher itself was told."""
    found = {**processes(launch), **argument_fields(launch.flags, trainer, path)}
    config = launch.launcher_flags.get("deepspeed_config_file")
    if config and "deepspeed" not in found:
        found["deepspeed"] = _place("deepspeed", config, path)
    return found


def _place(field: str, entry: Found, path: str) -> Found:
    value = entry.value
    if isinstance(value, Unknown) or value is None:
        return entry
    if field == "model":
        local = beside(path, str(value))
        return entry._replace(value=local if Path(local).exists() else str(value))
    if field in ("data", "eval_data"):
        files = value if isinstance(value, list) else [value]
        return entry._replace(value=[beside(path, str(file)) for file in files])
    if field in _PATHS:
        return entry._replace(value=_deepspeed(value, path) if field == "deepspeed" else beside(path, str(value)))
    return entry


def _deepspeed(value: Any, path: str) -> Any:
    if not isinstance(value, str):
        return Unknown("a DeepSpeed configuration that is written inside the arguments is not read")
    if "." not in value and "/" not in value and not Path(beside(path, value)).exists():
        return Unknown(f"{value!r} names a DeepSpeed configuration inside the trainer")  # ms-swift: zero2, zero3
    return beside(path, value)
