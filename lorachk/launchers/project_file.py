"""lorachk.toml: everything a launch file could say, by the libraries' own names, and what the linter should do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from lorachk.errors import UsageError
from lorachk.launchers.positions import Document, escape
from lorachk.launchers.project import Lint
from lorachk.launchers.text import beside, read_text, where
from lorachk.launchers.toml_positions import parse_toml
from lorachk.launchers.trainers import TRAINERS
from lorachk.launchers.values import Found
from lorachk.run import Location, Setting, Source

_PATHS = {"launch", "program", "deepspeed", "image_root", "peft", "requirements"}
_RUN: dict[str, type | tuple[type, ...]] = {
    "trainer": str,
    "launch": str,
    "program": str,
    "model": str,
    "tokenizer": str,
    "family": str,
    "data": (str, list),
    "eval_data": (str, list),
    "image_root": str,
    "deepspeed": str,
    "peft": str,
    "requirements": str,
    "num_gpus": int,
    "num_nodes": int,
    "gpu": str,
    "gpu_memory": (str, int),
    "max_length": int,
    "max_slice_nums": int,
    "args": dict,
    "lora": dict,
    "quantization": dict,
}
_LINT: dict[str, type | tuple[type, ...]] = {
    "select": list,
    "ignore": (list, dict),
    "rules": list,
    "fail_on": str,
}
_TYPES = {str: "a string", list: "a list", int: "a whole number", dict: "a table"}
FAIL_ON = ("error", "warning", "info", "never")


@dataclass(frozen=True)
class Project:
    """A read lorachk.toml. The tables map keys to values with their places."""

    path: str
    run: dict[str, Found]
    args: dict[str, Found]
    lora: dict[str, Found]
    quantization: dict[str, Found]
    environment: dict[str, Found]
    lint: Lint
    settings: list[Setting]
    source: Source


def read_project(path: str) -> Project:
    """Read a lorachk.toml. UsageError with the place for bad TOML, an unknown key or a value of the wrong type."""
    text, source = read_text(path, "toml")
    document = parse_toml(text, path)
    reader = _Sections(path, document)
    value = document.value
    reader.check_keys(value, ("run", "environment", "lint"), "")
    for section in value:
        reader.expect(value[section], dict, f"/{section}")
    run_values, lint_values = value.get("run", {}), value.get("lint", {})
    reader.check(run_values, _RUN, "/run")
    reader.check(lint_values, _LINT, "/lint")
    run = reader.found(run_values, "/run", skip=("args", "lora", "quantization"))
    trainer = run.get("trainer")
    if trainer and trainer.value not in TRAINERS:
        raise reader.unknown(f"no trainer {trainer.value!r}", "/run/trainer", str(trainer.value), TRAINERS)
    environment = reader.found(value.get("environment", {}), "/environment")
    for name in environment:
        reader.expect(environment[name].value, str, f"/environment/{escape(name)}")
    return Project(
        path,
        {key: _relative(path, key, found) for key, found in run.items()},
        reader.found(run_values.get("args", {}), "/run/args"),
        reader.found(run_values.get("lora", {}), "/run/lora"),
        reader.found(run_values.get("quantization", {}), "/run/quantization"),
        environment,
        reader.lint(lint_values),
        [Setting("toml", leaf.pointer, leaf.value, reader.at(leaf.pointer)) for leaf in document.leaves],
        source,
    )


def _relative(path: str, key: str, found: Found) -> Found:
    if key in _PATHS:
        return found._replace(value=beside(path, str(found.value)))
    if key in ("data", "eval_data"):
        files = found.value if isinstance(found.value, list) else [found.value]
        return found._replace(value=[beside(path, str(file)) for file in files])
    return found


class _Sections:
    def __init__(self, path: str, document: Document) -> None:
        self.path, self.places = path, document.places

    def at(self, pointer: str) -> Location:
        line, col = self.places.get(pointer, (None, None))
        return Location(self.path, line, col, pointer)

    def unknown(self, message: str, pointer: str, given: str, known: Iterable[str]) -> UsageError:
        names = sorted(known)
        near = get_close_matches(given, names, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(names)}"
        return UsageError(message, where=where(*self.at(pointer)[:3]), hint=hint)

    def expect(self, value: Any, types: type | tuple[type, ...], pointer: str) -> None:
        if isinstance(value, types) and not (isinstance(value, bool) and types is int):
            return
        wanted = " or ".join(_TYPES[t] for t in (types if isinstance(types, tuple) else (types,)))
        raise UsageError(f"{pointer.rpartition('/')[2]!r} must be {wanted}", where=where(*self.at(pointer)[:3]))

    def check_keys(self, table: dict[str, Any], known: Iterable[str], pointer: str) -> None:
        for key in table:
            if key not in known:
                section = f"[{pointer[1:].replace('/', '.')}]" if pointer else "lorachk.toml"
                raise self.unknown(f"{section} has no key {key!r}", f"{pointer}/{escape(key)}", key, known)

    def check(self, table: dict[str, Any], known: dict[str, type | tuple[type, ...]], pointer: str) -> None:
        self.check_keys(table, known, pointer)
        for key, value in table.items():
            self.expect(value, known[key], f"{pointer}/{key}")

    def found(self, table: dict[str, Any], pointer: str, skip: tuple[str, ...] = ()) -> dict[str, Found]:
        return {k: Found(v, self.at(f"{pointer}/{escape(k)}")) for k, v in table.items() if k not in skip}

    def lint(self, table: dict[str, Any]) -> Lint:
        for key in ("select", "rules"):
            for index, entry in enumerate(table.get(key, [])):
                self.expect(entry, str, f"/lint/{key}/{index}")
        ignore = table.get("ignore", {})
        for code in ignore:
            self.expect(ignore[code] if isinstance(ignore, dict) else code, str, "/lint/ignore")
        reasons = ignore if isinstance(ignore, dict) else dict.fromkeys(ignore, f"ignored in {self.path}")
        fail_on = table.get("fail_on")
        if fail_on is not None and fail_on not in FAIL_ON:
            raise self.unknown(f"fail_on cannot be {fail_on!r}", "/lint/fail_on", str(fail_on), FAIL_ON)
        folders = [beside(self.path, folder) for folder in table.get("rules", [])]
        return Lint(list(table.get("select", [])), dict(reasons), folders, fail_on)
