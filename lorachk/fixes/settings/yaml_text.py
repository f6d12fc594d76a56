"""An edit in the text of a YAML file; ruamel.yaml keeps comments, order and quotes.

What ruamel.yaml would set otherwise although nobody asked for it (the indent of lists, a blank before a comment) is
taken from the original: only the lines that the edit itself changes are changed.
"""

from __future__ import annotations

import difflib
import io
from typing import Any

from lorachk.errors import UsageError
from lorachk.fixes.settings import CannotEdit, Edit, applied
from lorachk.launchers.positions import parts
from lorachk.launchers.yaml_positions import parse_yaml


def edited(text: str, edit: Edit) -> str:
    """The text with the edit made. Raises CannotEdit when what it names is not there, or its form would be lost."""
    from ruamel.yaml.error import YAMLError

    try:
        document = _yaml(text, 2).load(text)
        yaml = _yaml(text, _indent(document, edit))
        plain = _dumped(yaml, document)
        _make(document, edit)
        wanted = _dumped(yaml, document)
        changed = wanted if plain == text else _onto(text, plain, wanted)
        # read as the trainers read it: YAML 1.1 and 1.2 differ in what needs quotes
        if parse_yaml(changed, edit.path).value != applied(parse_yaml(text, edit.path).value, edit):
            raise CannotEdit("the file is set in a way that would not be kept")
    except (YAMLError, UsageError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise CannotEdit(str(error).partition("\n")[0]) from None
    return changed


def _yaml(text: str, indent: int) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.util import load_yaml_guess_indent

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 1 << 20
    _, sequence, offset = load_yaml_guess_indent(text)
    yaml.indent(mapping=indent, sequence=sequence or 2, offset=offset or 0)
    yaml.explicit_start = text.startswith("---")
    return yaml


def _indent(document: Any, edit: Edit) -> int:
    """Blanks per level of mappings, as they are where the edit is made, or at the first nested mapping."""
    node, depth = document, 0
    for key in parts(edit.target())[:-1]:
        if not isinstance(node, dict) or key not in node:
            break
        node, depth = node[key], depth + 1
    if depth and (column := _column(node)):
        return max(column // depth, 1)
    return next((column for child in document.values() if (column := _column(child))), 2)


def _column(node: Any) -> int:
    """Where a mapping in block style begins; 0 for anything else."""
    block = hasattr(node, "items") and hasattr(node, "fa") and not node.fa.flow_style()
    return int(node.lc.col or 0) if block else 0


def _dumped(yaml: Any, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _make(document: Any, edit: Edit) -> None:
    *path, last = parts(edit.pointer)
    if edit.operation == "add":
        _add(document, path, last, _scalars(edit.value, edit.path))
        return
    parent = document
    for key in path:
        parent = parent[int(key) if isinstance(parent, list) else key]
    name = int(last) if isinstance(parent, list) else last
    value = parent[name]
    if edit.operation == "replace":
        parent[name] = _scalars(edit.value, edit.path)
        return
    if edit.operation == "rename":
        if edit.key in parent:
            raise CannotEdit(f"{edit.key} is there already")
        place = list(parent).index(name)
        comment = parent.ca.items.pop(name, None)
        del parent[name]
        parent.insert(place, edit.key, value)
        if comment is not None:
            parent.ca.items[edit.key] = comment
        return
    del parent[name]
    if edit.operation == "move":
        *path, last = parts(edit.target())
        _add(document, path, last, value)


def _scalars(value: Any, path: str) -> Any:
    """A value with quotes around texts that a trainer would read as something else: no, 1e-4, null."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, dict):
        return {key: _scalars(part, path) for key, part in value.items()}
    if isinstance(value, list):
        return [_scalars(part, path) for part in value]
    if not isinstance(value, str):
        return value
    try:
        plain = parse_yaml(f"- {value}\n", path).value == [value]
    except UsageError:
        plain = False
    return value if plain else DoubleQuotedScalarString(value)


def _add(document: Any, path: list[str], last: str, value: Any) -> None:
    parent = document
    for key in path:
        if key not in parent:
            parent[key] = {}
        parent = parent[key]
    if last in parent:
        raise CannotEdit(f"{last} is there already")
    parent[last] = value


def _onto(text: str, plain: str, changed: str) -> str:
    """Make the change from `plain` to `changed` in `text`, which `plain` is the same document as, set otherwise."""
    original, before, after = (part.splitlines(keepends=True) for part in (text, plain, changed))
    place = {}  # index of a line in `before` -> index in `original`
    for block in difflib.SequenceMatcher(None, before, original, autojunk=False).get_matching_blocks():
        place.update({block.a + i: block.b + i for i in range(block.size)})
    place[len(before)] = len(original)
    result, done = [], 0
    for tag, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        if any(index not in place for index in range(a, b)) or (a == b and a not in place):
            raise CannotEdit("the line is set in a way that would not be kept")
        start = place[a]
        result += [*original[done:start], *after[c:d]]
        done = start + (b - a)
    return "".join([*result, *original[done:]])
