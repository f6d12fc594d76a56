"""The versions a run will use, and the library defaults that moved between them."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

# The distributions whose versions decide how a run behaves.
OF_INTEREST = (
    "accelerate",
    "autoawq",
    "auto-gptq",
    "bitsandbytes",
    "datasets",
    "deepspeed",
    "flash-attn",
    "gptqmodel",
    "huggingface-hub",
    "llamafactory",
    "ms-swift",
    "numpy",
    "nvidia-ml-py",
    "peft",
    "pillow",
    "qwen-vl-utils",
    "safetensors",
    "tokenizers",
    "torch",
    "torchvision",
    "transformers",
    "triton",
    "trl",
    "xformers",
)


@cache
def installed(name: str) -> str | None:
    """Version of an installed distribution, from its metadata; nothing of it is imported.

    importlib.metadata knows more ways to be installed than a folder `name-version.dist-info` and is asked about those;
    importing it takes as long as judging a small dataset.
    """
    folders = _folders()
    if folders is not None:
        found = folders.get(_key(name), [])
        if not found:
            return None
        if len(found) == 1 and found[0].suffix == ".dist-info" and (stated := _stated(found[0])):
            return stated
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def package_folder(name: str) -> Path | None:
    """Folder of an installed package's source, beside its metadata; None when it is not there (an editable install)."""
    for metadata in (_folders() or {}).get(_key(name), []):
        folder = metadata.parent / name.replace("-", "_")
        if folder.is_dir():
            return folder
    return None


@cache
def _folders() -> dict[str, list[Path]] | None:
    """Folders (and files) with metadata on the path, by distribution; None where something else stands on it."""
    found: dict[str, list[Path]] = {}
    for place in sys.path:
        try:
            entries = list(Path(place or ".").iterdir())
        except FileNotFoundError:
            continue
        except OSError:  # a zip file
            return None
        for entry in entries:
            if entry.suffix in (".dist-info", ".egg-info", ".egg", ".egg-link"):
                found.setdefault(_key(entry.stem.partition("-")[0]), []).append(entry)
    return found


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _stated(folder: Path) -> str | None:
    """The version in a distribution's METADATA."""
    try:
        with (folder / "METADATA").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.lower().startswith("version:"):
                    return line.partition(":")[2].strip()
                if not line.strip():  # the header ends
                    break
    except OSError:
        pass
    return None


def used(name: str, environment: dict[str, str]) -> str | None:
    """Version a run will use: as stated in [environment] or --requirements, else the installed one; None when neither.

    A range in the requirements that the installed version is not in (">=4.40,<4.45") leaves it unknown.
    """
    stated = environment.get(name)
    return None if stated and stated[0] in "<>=~!@" else stated or installed(name)


def at_least(stated: str | None, floor: str) -> bool | None:
    """Whether a version is `floor` or newer; None when it is unknown or no PEP 440 version."""
    from packaging.version import InvalidVersion, Version

    if stated is None:
        return None
    try:
        return Version(stated) >= Version(floor)
    except InvalidVersion:
        return None


def default_use_reentrant(transformers: str | None) -> bool | None:
    """What `gradient_checkpointing_enable()` passes when nothing is said.

    Read in modeling_utils.py of the released wheels: True in 4.51.3 and 4.57.1, False in 5.0.0, 5.1.0, 5.2.0, 5.3.0
    and 5.23.0.
    """
    newer = at_least(transformers, "5.0.0")
    return None if newer is None else not newer


def default_optim(transformers: str | None, torch: str | None) -> str | None:
    """TrainingArguments.optim: fused since transformers 4.57 on torch 2.8 or newer, read in the wheels named above."""
    if at_least(transformers, "4.52") is False:
        return "adamw_torch"
    if at_least(transformers, "4.57"):
        fused = at_least(torch, "2.8")
        return None if fused is None else "adamw_torch_fused" if fused else "adamw_torch"
    return None  # between the two it was not looked at
