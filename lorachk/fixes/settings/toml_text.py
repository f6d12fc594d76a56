"""An edit in the text of a TOML file; tomlkit keeps comments, order and spelling."""

from __future__ import annotations

import json
import re
from typing import Any

from lorachk.errors import UsageError
from lorachk.fixes.settings import CannotEdit, Edit, applied
from lorachk.launchers.positions import parts


def edited(text: str, edit: Edit) -> str:
    """The text with the edit made. Raises CannotEdit when what it names is not there, or is there already."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document: Any = tomlkit.parse(text)
        before = document.unwrap()
        changed = _renamed(text, edit)
        if changed is None:
            _make(document, edit)
            changed = tomlkit.dumps(document)
        if tomlkit.parse(changed).unwrap() != applied(before, edit):  # a table that only held another one is gone
            raise CannotEdit("the file is set in a way that would not be kept")
    except (TOMLKitError, UsageError, KeyError, IndexError, TypeError, ValueError) as error:
        raise CannotEdit(str(error)) from None
    return changed


def _renamed(text: str, edit: Edit) -> str | None:
    """The text with another key where it stands, when key and value begin on one line; tomlkit would put it last."""
    from lorachk.launchers.toml_positions import parse_toml

    if edit.operation != "rename":
        return None
    document = parse_toml(text, edit.path)
    if edit.target() in document.places:
        raise CannotEdit(f"{edit.key} is there already")
    line, _ = document.places.get(edit.pointer, (0, 0))
    lines = text.splitlines(keepends=True)
    name = re.escape(parts(edit.pointer)[-1])
    if not line or not (found := re.match(rf"""\s*(["']?){name}\1(?=\s*=)""", lines[line - 1])):
        return None
    key = str(edit.key) if re.fullmatch(r"[\w-]+", str(edit.key), re.ASCII) else json.dumps(edit.key)
    indent = lines[line - 1][: len(found[0]) - len(found[0].lstrip())]
    lines[line - 1] = indent + key + lines[line - 1][found.end() :]
    return "".join(lines)


def _item(parent: Any, name: Any) -> Any:
    """A value with its comment, which plain indexing leaves behind for true and false."""
    container = getattr(parent, "value", parent)
    return container.item(name) if hasattr(container, "item") else parent[name]


def _make(document: Any, edit: Edit) -> None:
    *path, last = parts(edit.pointer)
    if edit.operation == "add":
        _add(document, path, last, edit.value)
        return
    parent = document
    for key in path:
        parent = parent[int(key) if isinstance(parent, list) else key]
    name = int(last) if isinstance(parent, list) else last
    if edit.operation == "replace":
        _ = parent[name]
        parent[name] = edit.value
        return
    value = _item(parent, name)
    if edit.operation == "rename" and str(edit.key) in parent:
        raise CannotEdit(f"{edit.key} is there already")
    del parent[name]
    if edit.operation != "remove":
        *path, last = parts(edit.target())
        _add(document, path, last, value)


def _add(document: Any, path: list[str], last: str, value: Any) -> None:
    import tomlkit

    parent = document
    for key in path:
        if key not in parent:
            parent[key] = tomlkit.table()
        parent = parent[key]
    if last in parent:
        raise CannotEdit(f"{last} is there already")
    parent[last] = value
