"""Table weight: the tensors of the checkpoint, from the headers of its safetensors files. No weights are read.

A safetensors file begins with eight bytes, the length of a JSON object that has dtype and shape of every tensor
(https://github.com/huggingface/safetensors#format). For a file that is named in the index and not there, and for
pytorch_model.bin (a pickle, which is not opened), only the names in the index are known.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorachk.facts.collector import Context, NotCollected, Row
from lorachk.families import component
from lorachk.launchers.model_config import find_config

_LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
    "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool",
}  # fmt: skip


def collect(context: Context) -> None:
    """Fill weight. Raises NotCollected when the model has no checkpoint on this machine or it cannot be read."""
    context.sink.add("weight", rows(context))


def rows(context: Context) -> list[Row]:
    """The rows of the table, read once."""
    found: list[Row] | None = context.shared.get("weights")
    if found is None:
        run = context.run
        found = [{**row, "component": component(run.family, str(row["name"]))} for row in tensors(run.model)]
        context.shared["weights"] = found
    return found


def tensors(model: str | None) -> list[dict[str, Any]]:
    """Name, module, file, dtype and shape of every tensor of a model's checkpoint."""
    config = find_config(model) if model else None
    if config is None:
        raise NotCollected("no model is named" if not model else f"no checkpoint of {model} on this machine")
    folder = Path(config).parent
    files = sorted(folder.glob("*.safetensors"))
    listed = next((index for name in _INDEXES if (index := folder / name).is_file()), None)
    if not files and listed is None:
        raise NotCollected(f"{model} has no safetensors files here")
    found = {row["name"]: row for file in files for row in _header(file)}
    if listed is not None:
        for name, file in _index(listed):
            found.setdefault(name, _row(name, file, None, None))
    return list(found.values())


def _header(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            # What follows a longer one is no JSON, and is not read into memory.
            header = json.loads(file.read(min(length, _LARGEST_HEADER)))
        for name, entry in header.items():
            if name != "__metadata__":
                shape = [int(size) for size in entry["shape"]]
                yield _row(name, path.name, _DTYPES.get(entry["dtype"], str(entry["dtype"]).lower()), shape)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise NotCollected(f"{path.name} is not a readable safetensors file: {error}") from None


def _index(path: Path) -> Iterator[tuple[str, str]]:
    try:
        for name, file in json.loads(path.read_text("utf-8"))["weight_map"].items():
            yield name, str(file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotCollected(f"{path.name} is not a readable index: {error}") from None


def _row(name: str, file: str, dtype: str | None, shape: list[int] | None) -> dict[str, Any]:
    module = name.rpartition(".")[0]
    numel = None if shape is None else math.prod(shape)
    return {"name": name, "module": module, "file": file, "dtype": dtype, "shape": shape, "numel": numel}
