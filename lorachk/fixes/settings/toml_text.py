"""An edit in the text of a TOML file; tomlkit keeps comments, order and spelling."""

from __future__ import annotations

from typing import Any

from lorachk.fixes.settings import CannotEdit, Edit, applied, keys


def edited(text: str, edit: Edit) -> str:
    """The text with the edit made. Raises CannotEdit when what it names is not there, or is there already."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document: Any = tomlkit.parse(text)
        before = document.unwrap()
        _make(document, edit)
        changed = tomlkit.dumps(document)
        if tomlkit.parse(changed).unwrap() != applied(before, edit):  # a table that only held another one is gone
            raise CannotEdit("the file is set in a way that would not be kept")
    except (TOMLKitError, KeyError, IndexError, TypeError, ValueError) as error:
        raise CannotEdit(str(error)) from None
    return changed


def _make(document: Any, edit: Edit) -> None:
    *path, last = keys(edit.pointer)
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
    value = parent[name]  # with its comment
    if edit.operation == "rename" and str(edit.key) in parent:
        raise CannotEdit(f"{edit.key} is there already")
    del parent[name]
    if edit.operation != "remove":
        *path, last = keys(edit.target())
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
