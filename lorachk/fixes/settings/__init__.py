"""Fixes of configuration files: an edit of one value is made where it stands, and all the rest stays as it is.

An edit is an RFC 6902 operation on one file. JSON is edited by `json_text`, YAML by `yaml_text`, TOML by `toml_text`;
a flag of a shell script is told and never written, since a script may compute it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal, NamedTuple

from lorachk.launchers.positions import escape, parts

Operation = Literal["replace", "remove", "add", "rename", "move"]
_EDITORS = {".json": "json_text", ".yaml": "yaml_text", ".yml": "yaml_text", ".toml": "toml_text"}


class Edit(NamedTuple):
    """One change of one file.

    `pointer` is the value that changes; for `add` the value that is not there yet. `key` is the new key of `rename`,
    and the pointer that `move` takes the value to.
    """

    operation: Operation
    path: str
    pointer: str
    value: Any = None
    key: str | None = None
    line: int | None = None
    col: int | None = None

    def patch(self) -> list[dict[str, Any]]:
        """The change as RFC 6902 operations."""
        match self.operation:
            case "replace" | "add":
                return [{"op": self.operation, "path": self.pointer, "value": self.value}]
            case "remove":
                return [{"op": "remove", "path": self.pointer}]
            case _:
                return [{"op": "move", "from": self.pointer, "path": self.target()}]

    def target(self) -> str:
        """Where the value stands afterwards."""
        if self.operation == "rename":
            return f"{self.pointer.rpartition('/')[0]}/{escape(str(self.key))}"
        return str(self.key) if self.operation == "move" else self.pointer


class CannotEdit(Exception):
    """The edit does not fit the text: its value is not there, or the file could not be kept as it is."""


def editor(path: str) -> Callable[[str, Edit], str] | None:
    """The function that makes an edit in the text of such a file; None for files that are not written."""
    ending = re.search(r"\.\w+$", path)
    module = _EDITORS.get(ending.group().lower()) if ending else None
    if module is None:
        return None
    function: Callable[[str, Edit], str] = import_module(f"{__name__}.{module}").edited
    return function


def applied(value: Any, edit: Edit) -> Any:
    """A copy of a parsed file with the edit made. Raises KeyError, IndexError or TypeError where it does not fit."""
    whole = copy.deepcopy(value)
    parent, last = _parent(whole, edit.pointer, make=edit.operation == "add")
    if edit.operation in ("replace", "add"):
        parent[last] = edit.value
        return whole
    old = parent.pop(last)
    if edit.operation != "remove":
        parent, last = _parent(whole, edit.target(), make=True)
        parent[last] = old
    return whole


def _parent(node: Any, pointer: str, *, make: bool) -> tuple[Any, Any]:
    *path, last = parts(pointer)
    for key in path:
        if make and isinstance(node, dict):
            node.setdefault(key, {})
        node = node[int(key) if isinstance(node, list) else key]
    return node, int(last) if isinstance(node, list) else last


def told(edit: Edit) -> str:
    """An edit in words, for people who make it by hand: `--fp16 true` becomes `--fp16 false`."""
    name = parts(edit.pointer)[-1] if edit.pointer else edit.path
    where = ":".join(str(part) for part in (edit.path, edit.line) if part is not None)
    flag = f"--{name}" if editor(edit.path) is None else name
    match edit.operation:
        case "replace":
            return f"{where}: set {flag} {_shell(edit.value)}"
        case "remove":
            return f"{where}: delete {flag}"
        case "add":
            return f"{where}: add {flag} {_shell(edit.value)}"
        case "rename":
            return f"{where}: write {'--' if flag.startswith('--') else ''}{edit.key} for {flag}"
        case _:
            return f"{where}: move {name} to {edit.key}"


def _shell(value: Any) -> str:
    import json
    import shlex

    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return " ".join(shlex.quote(part) for part in value)
    return shlex.quote(value if isinstance(value, str) else json.dumps(value))
