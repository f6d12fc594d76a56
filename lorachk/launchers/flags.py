"""Flags and arguments of a trainer to fields of the Run."""

from __future__ import annotations

import base64
import json
from typing import Any

from lorachk.launchers import by_trainer
from lorachk.launchers.command import Launch, processes
from lorachk.launchers.text import exists, inside
from lorachk.launchers.trainers import BITS, INVERTED, aliases
from lorachk.launchers.values import Found, Unknown, as_bool, as_int

_PATHS = {"deepspeed", "image_root", "output_dir"}
_NO_PATHS = {"", "true", "false", "none", "null"}  # of resume_from_checkpoint


def argument_fields(
    given: dict[str, Found], trainer: str | None, folder: str, environment: dict[str, Found] | None = None
) -> dict[str, Found]:
    """Run fields out of a trainer's arguments; paths are relative to `folder`.

    What the trainer's own module makes of them goes before the common names.
    """
    own_way = by_trainer.of(trainer)
    particular = own_way.fields(given, folder, environment or {}) if own_way else {}
    return {**_common(given, trainer, folder), **particular}


def _common(given: dict[str, Found], trainer: str | None, folder: str) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for field, names in aliases(trainer).items():
        entry = next((given[name] for name in names if name in given), None)
        if entry is not None:
            found[field] = _place(field, _listed(field, entry, trainer), folder)
        elif (switch := next((given[f"no_{name}"] for name in names if f"no_{name}" in given), None)) is not None:
            found[field] = switch if isinstance(switch.value, Unknown) else switch._replace(value=False)
    for field, names in INVERTED.items():
        entry = next((given[name] for name in names if name in given), None)
        if entry is not None and field not in found:
            flag = None if isinstance(entry.value, Unknown) else as_bool(entry.value)
            found[field] = entry if flag is None else Found(not flag, entry.at)
    if (sharded := given.get("fsdp")) is not None:
        off = sharded.value in ("", False, None, []) or as_bool(sharded.value) is False
        found["fsdp"] = sharded if isinstance(sharded.value, Unknown) else sharded._replace(value=not off)
    bits = next((given[name] for name in BITS if name in given), None)
    if bits is not None:
        for field, width in (("load_in_4bit", 4), ("load_in_8bit", 8)):
            unknown = isinstance(bits.value, Unknown)
            found.setdefault(field, bits if unknown else Found(as_int(bits.value) == width, bits.at))
    return found


def _listed(field: str, entry: Found, trainer: str | None) -> Found:
    """VLM-R1 separates files, and their image folders, by colons."""
    if trainer != "vlm-r1" or not isinstance(entry.value, str):
        return entry
    if field in ("data", "eval_data"):
        return entry._replace(value=entry.value.split(":"))
    if field == "image_root":
        folders = set(entry.value.split(":"))
        several = Unknown("every data file has an image folder of its own")
        return entry._replace(value=folders.pop() if len(folders) == 1 else several)
    return entry


def launch_fields(
    launch: Launch, trainer: str | None, folder: str, accelerate: dict[str, Found] | None = None
) -> dict[str, Found]:
    """Run fields of a launch command: flags, processes, and what the launcher itself was told."""
    found = {**processes(launch, trainer), **(accelerate or {})}
    found |= argument_fields(launch.flags, trainer, folder, launch.environment)
    if "deepspeed" in launch.flags:  # the script's own file decides, not accelerate's
        for name in ("zero_stage", "offload_optimizer", "offload_param"):
            found.pop(name, None)
    elif "deepspeed" in found:
        found["deepspeed"] = _place("deepspeed", found["deepspeed"], folder)
    return found


def _place(field: str, entry: Found, folder: str) -> Found:
    value = entry.value
    if isinstance(value, Unknown) or value is None:
        return entry
    if field == "model":
        local = inside(folder, str(value))
        return entry._replace(value=local if exists(local) else str(value))
    if field in ("data", "eval_data"):
        files = value if isinstance(value, list) else [value]
        return entry._replace(value=[inside(folder, str(file)) for file in files])
    if field == "resume_from_checkpoint" and str(value).lower() not in _NO_PATHS:
        return entry._replace(value=inside(folder, str(value)))
    if field in _PATHS:
        return entry._replace(value=_deepspeed(value, folder) if field == "deepspeed" else inside(folder, str(value)))
    return entry


def _deepspeed(value: Any, folder: str) -> Any:
    """The path of the file, or the object that is given instead: as such or in base64, as transformers takes it."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, str):
        return Unknown(f"{value!r} is neither a path nor a DeepSpeed configuration")
    if (decoded := _base64(value)) is not None and not exists(inside(folder, value)):
        return decoded
    if "." not in value and "/" not in value and not exists(inside(folder, value)):
        return Unknown(f"{value!r} names a DeepSpeed configuration inside the trainer")  # ms-swift: zero2, zero3
    return inside(folder, value)


def _base64(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
    except (ValueError, RecursionError):  # of no such alphabet or length, or no JSON behind it
        return None
    return value if isinstance(value, dict) else None
