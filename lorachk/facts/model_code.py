"""Table model_code: the Python files that a model folder brings along (remote code), read as text and never run.

config.json names them in auto_map. Only the model's own folder, or its snapshot in the hub's cache, is looked at:
Hugging Face's cache of modules holds copies, which may be of another revision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lorachk.facts.collector import Context
from lorachk.facts.model_code_scan import Class, Row, scan
from lorachk.facts.python_files import Reading, followed
from lorachk.launchers.model_config import find_config
from lorachk.launchers.text import is_file

# What PreTrainedModel classes of transformers call the part that has the embedding: their base_model_prefix.
_PREFIXES = {
    "PreTrainedModel": "",
    **dict.fromkeys(
        (f"{name}PreTrainedModel" for name in ("Gemma", "Gemma2", "Llama", "Mistral", "Mixtral", "Phi3", "Qwen2")),
        "model",
    ),
}


def collect(context: Context) -> None:
    """Fill model_code, and state what could not be read: then `model_code.file` is unknown; no rows without code."""
    model = context.run.model
    config = find_config(model) if model else None
    if config is None:
        reason = "no model is named" if not model else f"the files of {model} are not here"
        context.sink.unknown("model_code.file", reason)
        return
    folder = Path(config).parent
    problems: list[str] = []
    named = _auto_map(config)
    rows: list[Row] = []
    classes: dict[str, tuple[Class, str]] = {}
    first = list(_first(folder, named, problems))
    for path, found in followed(first, Reading(folder, "the model's code", links=True), scan, problems):
        rows.append({"kind": "module", "file": path, "place": _place(path)})
        rows += [_row(path, row) for row in found.rows]
        for one in found.classes:
            classes.setdefault(one.name, (one, path))
    rows += _loaded(named, classes)
    context.sink.add("model_code", rows)
    if problems:
        context.sink.unknown("model_code.file", problems[0], len(problems))


def _auto_map(config: str) -> dict[str, str]:
    """Auto class to `module.Class`, of a config.json that was read before; empty when there is none."""
    try:
        value = json.loads(Path(config).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    found = value.get("auto_map") if isinstance(value, dict) else None
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def _first(folder: Path, named: Mapping[str, str], problems: list[str]) -> Iterator[str]:
    """The files that auto_map names."""
    for reference in dict.fromkeys(named.values()):
        repository, found, rest = reference.rpartition("--")
        module = rest.rpartition(".")[0]
        if found:
            problems.append(f"the model's code is in another repository, {repository}")
        elif module and is_file(path := str(folder.joinpath(*module.split(".")).with_suffix(".py"))):
            yield path
        elif module:
            problems.append(f"{module}.py, which auto_map names, is not in {folder}")


def _loaded(named: Mapping[str, str], classes: Mapping[str, tuple[Class, str]]) -> Iterator[Row]:
    """A row for every class that an auto class for models loads."""
    loaded: dict[str, list[str]] = {}
    for auto, reference in named.items():
        if auto.startswith("AutoModel"):
            loaded.setdefault(reference.rpartition(".")[2], []).append(auto)
    for name, autos in loaded.items():
        if name in classes:
            one, path = classes[name]
            chain = list(_chain(one, classes))
            base = next((b for c in chain for b in c.bases if b.rpartition(".")[2] not in classes), None)
            yield {
                "kind": "class",
                "name": name,
                "subject": base,
                "keywords": autos,
                "embeddings": _embeddings(chain, base),
                "file": path,
                "place": _place(path, one.line, one.col),
            }


def _chain(one: Class, classes: Mapping[str, tuple[Class, str]]) -> Iterator[Class]:
    """The class and those of the folder that it inherits from, the nearest first."""
    waiting, seen = [one], {one.name}
    while waiting:
        current = waiting.pop(0)
        yield current
        for base in current.bases:
            name = base.rpartition(".")[2]
            if name in classes and name not in seen:
                seen.add(name)
                waiting.append(classes[name][0])


def _embeddings(chain: Iterable[Class], base: str | None) -> bool | None:
    """Whether get_input_embeddings() finds the embedding (transformers up to 4.53); None when that cannot be told."""
    chain = list(chain)
    if any("get_input_embeddings" in one.methods for one in chain):
        return True
    known = base.rpartition(".")[2] if base and base.startswith("transformers.") else None
    others = {b for one in chain for b in one.bases} - {one.name for one in chain}
    if known not in _PREFIXES or any(b.rpartition(".")[2] not in {known, *(c.name for c in chain)} for b in others):
        return None  # another base may define it
    prefix = next((one.prefix for one in chain if one.prefix is not None), _PREFIXES[known])
    return None if any(prefix in one.attributes for one in chain) else False


def _row(path: str, row: Row) -> Row:
    line, col = row.pop("line"), row.pop("col")
    return {**row, "file": path, "place": _place(path, line, col)}


def _place(path: str, line: int | None = None, col: int | None = None) -> dict[str, Any]:
    return {"path": path, "line": line, "col": col, "pointer": None}
