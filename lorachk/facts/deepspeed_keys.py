"""Table ds_key: the keys DeepSpeed reads from its file, in the version the run will use and in others.

The installed DeepSpeed is asked by reading its source (`lorachk/deepspeed/keys.py`). For other versions, and without
an installation, stands what benchmarks/versions/record_deepspeed_keys.py recorded of eleven versions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lorachk.deepspeed.keys import read_keys
from lorachk.deepspeed.source import Keys
from lorachk.facts.collector import Context, Row
from lorachk.launchers.versions import at_least, installed, used

_RECORDED = Path(__file__).parents[1] / "deepspeed/recorded.json"

# Read at the top level by others than DeepSpeed's own configuration.
_ELSEWHERE = {"inference": "transformers", "msamp": "accelerate", "zero_force_ds_cpu_initialization": "trainers"}
# Types of keys whose default is None, by what DeepSpeed does with them.
_TYPES = {
    **dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"), "integer"),
    **dict.fromkeys(("steps_per_print", "vocabulary_size", "sequence_parallel_size"), "integer"),
    **dict.fromkeys(("communication_data_type", "seq_parallel_communication_data_type", "log_level"), "string"),
    "gradient_allreduce_op": "string",
}


def collect(context: Context) -> None:
    """Known keys, each with whether the version the run will use reads it."""
    context.sink.add("ds_key", rows(context.run.deepspeed_config, used("deepspeed", context.run.environment)))


def rows(config: dict[str, Any], version: str | None) -> list[Row]:
    """The rows of the table for a file (which names its optimizer and scheduler) and a version."""
    recorded = _recorded()
    # Reading the source takes half a second; a version that was recorded has been read in the same way.
    ask = version is not None and version == installed("deepspeed") and version not in recorded["versions"]
    here = _installed() if ask else None
    index = _index(recorded["versions"], version)
    made = {(row["block"], row["name"]): row for row in _recorded_rows(recorded, index)}
    if here is not None and here.blocks:
        for row in made.values():
            row["current"] = False
        for block, keys in here.blocks.items():
            for name, key in keys.items():
                row = made.setdefault((block, name), {"block": block, "name": name, "versions": version})
                row |= {"current": True, "strict": block in here.strict, "origin": "installed"}
                row["type"] = key.type or row.get("type")
                row["replaced"] = key.replaced
        for (block, name), text in here.removed.items():
            row = made.setdefault((block, name), {"block": block, "name": name, "origin": "installed"})
            row |= {"current": False, "removed": text}
        for row in made.values():
            row["strict"] = row["block"] in here.strict
    for row in made.values():
        if row["type"] is None if "type" in row else True:
            whole = f"{row['block']}/{row['name']}"
            nested = whole in recorded["blocks"] or (here is not None and whole in here.blocks)
            row["type"] = "object" if nested or whole.endswith("/params") else _TYPES.get(row["name"])
    for name in _ELSEWHERE:
        made["", name] = {
            "block": "",
            "name": name,
            "type": None,
            "origin": "recorded",
            "current": True,
            "strict": False,
        }
    return [row for block_row in made.values() for row in _of_this_file(block_row, config)]


def _of_this_file(row: dict[str, Any], config: dict[str, Any]) -> Iterator[Row]:
    """Parameters of an optimizer or scheduler go for the type that the file names."""
    block, _, kind = str(row["block"]).partition(":")
    if not kind:
        yield row
        return
    given = config.get(block.split("/")[1])
    named = given.get("type") if isinstance(given, dict) else None
    if isinstance(named, str) and (named.lower() == kind or named == kind):
        yield row | {"block": block}


@cache
def _recorded() -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads(_RECORDED.read_text("utf-8"))
    return recorded


@cache
def _installed() -> Keys | None:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        folder = Path(str(distribution("deepspeed").locate_file("deepspeed")))
    except PackageNotFoundError:
        return None
    return read_keys(folder) if folder.is_dir() else None


def _index(versions: list[str], version: str | None) -> int | None:
    """The newest recorded version up to this one, or the oldest; None for no version."""
    if version is None or at_least(version, "0") is None:
        return None
    up_to = [i for i, recorded in enumerate(versions) if at_least(version, recorded)]
    return up_to[-1] if up_to else 0


def _recorded_rows(recorded: dict[str, Any], index: int | None) -> Iterator[dict[str, Any]]:
    versions = recorded["versions"]
    for block, entry in recorded["blocks"].items():
        for name, (kind, replaced, has) in entry["keys"].items():
            removed = recorded["removed"].get(f"{block}/{name}")
            yield {
                "block": block,
                "name": name,
                "type": kind,
                "origin": "recorded",
                "strict": None if index is None else entry["strict"][index] == "1",
                "current": None if index is None else has[index] == "1",
                "versions": f"{versions[has.index('1')]} to {versions[has.rindex('1')]}",
                "replaced": replaced,
                "removed": removed[0] if removed and index is not None and removed[1][index] == "1" else None,
            }
