"""Table ds_key: the keys DeepSpeed reads from its file.

DeepSpeed's own pydantic models say which keys a block takes. They are read out of the installed source with `ast`, as
importing DeepSpeed takes seconds and may compile; without an installation a recorded list stands in. Keys of the top
level are read all over DeepSpeed, transformers and accelerate, so they are a recorded list in both cases.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from lorachk.facts.collector import Context, Row
from lorachk.facts.deepspeed_recorded import BLOCKS, TOP_LEVEL

# block -> (module, model) where a block's keys are declared
MODELS = {
    "/zero_optimization": ("runtime/zero/config.py", "DeepSpeedZeroConfig"),
    "/zero_optimization/offload_param": ("runtime/zero/offload_config.py", "DeepSpeedZeroOffloadParamConfig"),
    "/zero_optimization/offload_optimizer": ("runtime/zero/offload_config.py", "DeepSpeedZeroOffloadOptimizerConfig"),
    "/fp16": ("runtime/precision_config.py", "DeepSpeedFP16Config"),
    "/bf16": ("runtime/precision_config.py", "DeepSpeedBF16Config"),
}
_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string", "Path": "string"}


def collect(context: Context) -> None:
    """Known keys: recorded ones, and whatever the installed DeepSpeed adds."""
    context.sink.add("ds_key", rows())


def rows() -> list[Row]:
    """The rows of the table, one per block and key."""
    known: dict[tuple[str, str], tuple[str | None, str]] = {
        ("", name): (kind, "recorded") for name, kind in TOP_LEVEL.items()
    }
    for block, keys in BLOCKS.items():
        known.update({(block, name): (kind, "recorded") for name, kind in keys.items()})
    for block, keys in installed_keys().items():
        known.update({(block, name): (kind, "installed") for name, kind in keys.items()})
    return [
        {"block": block, "name": name, "type": kind, "origin": origin}
        for (block, name), (kind, origin) in known.items()
    ]


def installed_keys() -> dict[str, dict[str, str | None]]:
    """Block to keys with their types, as the installed DeepSpeed declares them; empty when it is not installed."""
    folder = _folder()
    if folder is None:
        return {}
    found = {}
    for block, (module, model) in MODELS.items():
        try:
            tree = ast.parse((folder / module).read_text("utf-8"))
        except (OSError, SyntaxError, UnicodeDecodeError):
            continue  # another layout of another version: the recorded keys stand
        if keys := dict(_fields(tree, model)):
            found[block] = keys
    return found


def _folder() -> Path | None:
    try:
        folder = Path(str(distribution("deepspeed").locate_file("deepspeed")))
    except PackageNotFoundError:
        return None
    return folder if folder.is_dir() else None


def _fields(tree: ast.Module, model: str) -> Iterator[tuple[str, str | None]]:
    """Fields of a pydantic model with their aliases; both names are read (populate_by_name)."""
    for node in tree.body:
        if not (isinstance(node, ast.ClassDef) and node.name == model):
            continue
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                kind = _type(line.annotation)
                yield line.target.id, kind
                if (alias := _alias(line.value)) is not None:
                    yield alias, kind


def _type(annotation: ast.expr) -> str | None:
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)} - {"Optional", "Union"}
    if len(names) != 1:
        return None
    name = names.pop()
    if name.endswith("Config"):
        return "object"
    if name == "ZeroStageEnum":
        return "integer"
    return "string" if name.endswith("Enum") else _TYPES.get(name)


def _alias(value: ast.expr | None) -> str | None:
    if not isinstance(value, ast.Call):
        return None
    for keyword in value.keywords:
        if keyword.arg == "alias" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return None
