"""What a folder holds of a run: launch files, DeepSpeed files, models, adapters, datasets, pinned versions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from lorachk.errors import UsageError
from lorachk.launchers.launch_file import LaunchFile, read_launch
from lorachk.launchers.text import special

_DEPTH = 3  # folders below the one that is looked at
_MOST = 20_000  # entries that are looked at
_SKIPPED = {"node_modules", "site-packages", "wandb", "runs", "__pycache__", "venv", "env"}
_SMALL = 1 << 20  # bytes of a JSON file that may be a configuration
_PINS = ("requirements.txt", "uv.lock", "poetry.lock", "pylock.toml", "environment.yml", "environment.yaml")
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
_RECORDS = 3  # of a dataset that are looked at


@dataclass
class Surroundings:
    """Paths relative to the folder; `datasets` with the dialect of their first records."""

    launches: dict[str, LaunchFile] = field(default_factory=dict)
    deepspeed: list[str] = field(default_factory=list)
    adapters: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    datasets: dict[str, str] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    pins: list[str] = field(default_factory=list)
    whole: bool = True  # everything was looked at


def look_around(folder: str) -> Surroundings:
    """Look at a folder and three levels below; nothing is executed, and hidden folders are left out."""
    found = Surroundings()
    for count, path in enumerate(_files(folder)):
        if count >= _MOST:
            found.whole = False
            break
        _sort(found, folder, path)
    found.launches = dict(sorted(found.launches.items(), key=lambda item: _order(item[0], item[1])))
    for names in (found.deepspeed, found.adapters, found.models, found.pins):
        names.sort(key=lambda name: (name.count("/"), name))
    return found


def _files(folder: str) -> Iterator[str]:
    top = folder.rstrip("/").count("/")
    for here, folders, files in os.walk(folder):
        deep = here.rstrip("/").count("/") - top >= _DEPTH
        kept = [name for name in folders if not name.startswith(".") and name not in _SKIPPED]
        folders[:] = [] if deep else sorted(kept)
        yield from (f"{here}/{name}" for name in sorted(files))


def _sort(found: Surroundings, folder: str, path: str) -> None:
    name = os.path.relpath(path, folder)
    base, ending = Path(name).name, Path(name).suffix.lower()
    if ending in _IMAGES:
        parent = str(Path(name).parent)
        if parent not in found.images:
            found.images.append(parent)
    elif base in _PINS or (base.startswith("requirements") and ending == ".txt"):
        found.pins.append(name)
    elif ending in (".sh", ".bash", ".yaml", ".yml") and (launch := _launch(path)):
        found.launches[name] = launch
    elif ending == ".json" and _is_small(path) and (kind := _configuration(path)):
        _of_kind(found, kind, name, path)
    elif ending in (".json", ".jsonl", ".ndjson", ".parquet") and (dialect := _dataset(path)):
        found.datasets[name] = dialect


def _of_kind(found: Surroundings, kind: str, name: str, path: str) -> None:
    if kind == "launch":
        if launch := _launch(path):
            found.launches[name] = launch
    elif kind == "deepspeed":
        found.deepspeed.append(name)
    else:
        (found.adapters if kind == "adapter" else found.models).append(str(Path(name).parent))


def _order(name: str, launch: LaunchFile) -> tuple[bool, int, str]:
    """LoRA first, then what stands least deep."""
    lora = "lora" in name.lower() or any("lora" in flag for flag in launch.launch.flags)
    return (not lora, name.count("/"), name)


def _launch(path: str) -> LaunchFile | None:
    try:
        launch = read_launch(path)
    except (UsageError, OSError):
        return None
    return launch if len(launch.launch.flags) > 1 else None


def _is_small(path: str) -> bool:
    try:
        return not special(path) and Path(path).stat().st_size <= _SMALL
    except OSError:
        return False


def _configuration(path: str) -> str | None:
    """What a small JSON file configures; None for data and for what cannot be read."""
    from lorachk.launchers.config_file import told_by_keys
    from lorachk.launchers.deepspeed import read_json

    try:
        keys = set(read_json(path, "configuration").value)
    except UsageError:
        return None
    if keys & {"zero_optimization", "train_micro_batch_size_per_gpu"}:
        return "deepspeed"
    if "peft_type" in keys:
        return "adapter"
    if Path(path).name == "config.json" and keys & {"architectures", "model_type"}:
        return "model"
    return "launch" if told_by_keys(keys) else None


def _dataset(path: str) -> str | None:
    """The dialect of a file whose first records are conversations or the like; None for any other."""
    from lorachk.facts.records.dialect import shape
    from lorachk.facts.records.reader import Reader

    try:
        if special(path):
            return None
        items = list(islice(iter(Reader(Path(path))), _RECORDS))
    except (UsageError, OSError, ValueError):
        return None
    dialects = {shape(item.value).dialect for item in items} - {"unknown", "text"}
    return dialects.pop() if len(dialects) == 1 else None
