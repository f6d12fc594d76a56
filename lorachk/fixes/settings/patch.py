"""Edits as other tools take them: RFC 6902 operations, and what to put where in the text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

from lorachk.errors import UsageError
from lorachk.fixes.settings import CannotEdit, Edit, applied, editor
from lorachk.launchers.positions import parts
from lorachk.launchers.text import position, read_text


class Replacement(NamedTuple):
    """A region of a text, from (line, column) up to but not including another, and what stands there instead."""

    start: tuple[int, int]
    end: tuple[int, int]
    text: str


def operations(path: str, edits: Sequence[Edit]) -> list[dict[str, Any]]:
    """The edits of one file as RFC 6902 operations; objects that an edit needs and that are missing are added first.

    A file that cannot be read, or is no JSON, YAML or TOML, gives the operations of the edits alone.
    """
    value = parsed(path)
    made: list[dict[str, Any]] = []
    for edit in edits:
        if value is not None and edit.operation in ("add", "move"):
            made += [{"op": "add", "path": pointer, "value": {}} for pointer in _missing(value, edit.target())]
        made += edit.patch()
        if value is not None:
            try:
                value = applied(value, edit)
            except (KeyError, IndexError, TypeError, ValueError):
                value = None
    return made


def replacements(path: str, edits: Sequence[Edit]) -> list[Replacement]:
    """What the edits change in the text of one file, line by line; empty when they cannot be made there."""
    change = editor(path)
    if change is None:
        return []
    try:
        before = after = read_text(path, "configuration")[0]
        for edit in edits:
            after = change(after, edit)
    except (CannotEdit, UsageError, OSError):
        return []
    return _replaced(before, after)


def _replaced(before: str, after: str) -> list[Replacement]:
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    offsets = [0]
    for line in old:
        offsets.append(offsets[-1] + len(line))
    return [
        Replacement(position(before, offsets[a]), position(before, offsets[b]), "".join(new[c:d]))
        for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        if tag != "equal"
    ]


def parsed(path: str) -> Any:
    """The value of a file; None when it cannot be told."""
    try:
        if editor(path) is None:
            return None
        text = read_text(path, "configuration")[0]
        if path.lower().endswith(".json"):
            from lorachk.launchers.positions import parse_json as parse
        elif path.lower().endswith(".toml"):
            from lorachk.launchers.toml_positions import parse_toml as parse
        else:
            from lorachk.launchers.yaml_positions import parse_yaml as parse
        return parse(text, path).value
    except (UsageError, OSError):
        return None


def _missing(value: Any, pointer: str) -> list[str]:
    """The objects on the way to `pointer` that are not there, outermost first."""
    missing, here = [], ""
    for key, part in zip(parts(pointer)[:-1], pointer.split("/")[1:], strict=False):
        here += f"/{part}"
        value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            missing.append(here)
    return missing
