"""An edit in the text of a JSON file: nothing but the value moves, whatever way the file is indented."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from lorachk.fixes.settings import CannotEdit, Edit
from lorachk.launchers.positions import parts

_BLANK = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCALAR = re.compile(r"[^\s,\]}]+")


class _Member(NamedTuple):
    """A member of an object, or an element of an array (whose key is its index)."""

    key: str
    start: int  # of the key, or of the element
    value: _Value


class _Value(NamedTuple):
    start: int
    end: int
    members: list[_Member]


def edited(text: str, edit: Edit) -> str:
    """The text with the edit made. Raises CannotEdit when what it names is not there, or is there already."""
    root = _scanned(text, _blank(text, 0))
    if edit.operation == "add":
        return _added(text, root, edit.pointer, json.dumps(edit.value, ensure_ascii=False))
    *path, last = parts(edit.pointer)
    parent = _find(root, path)
    member = _member(parent, last)
    if member is None:
        raise CannotEdit(f"{edit.pointer} is not there")
    match edit.operation:
        case "replace":
            return text[: member.value.start] + json.dumps(edit.value, ensure_ascii=False) + text[member.value.end :]
        case "rename":
            if _member(parent, str(edit.key)) is not None:
                raise CannotEdit(f"{edit.key} is there already")
            name = _STRING.match(text, member.start)
            if name is None:
                raise CannotEdit("an element of a list has no name")
            return text[: member.start] + json.dumps(edit.key, ensure_ascii=False) + text[name.end() :]
        case "remove":
            return _removed(text, parent, member)
        case _:
            value = text[member.value.start : member.value.end]
            without = _removed(text, parent, member)
            return _added(without, _scanned(without, _blank(without, 0)), edit.target(), value)


def _removed(text: str, parent: _Value, member: _Member) -> str:
    index = parent.members.index(member)
    if index + 1 < len(parent.members):
        return text[: member.start] + text[parent.members[index + 1].start :]
    if index:
        return text[: parent.members[index - 1].value.end] + text[member.value.end :]
    return text[: parent.start + 1] + text[parent.end - 1 :]


def _added(text: str, root: _Value, pointer: str, value: str) -> str:
    """Insert a member behind the last one, as that one is set; objects on the way that are missing are made."""
    *path, last = parts(pointer)
    parent = root
    for index, key in enumerate(path):
        found = _member(parent, key)
        if found is None:
            for inner in reversed([*path[index + 1 :], last]):
                value = f"{{{json.dumps(inner)}: {value}}}"
            last = key
            break
        parent = found.value
    if text[parent.start] != "{":
        raise CannotEdit("it is no object")
    if _member(parent, last) is not None:
        raise CannotEdit(f"{pointer} is there already")
    member = f"{json.dumps(last, ensure_ascii=False)}: {value}"
    if not parent.members:
        return text[: parent.start + 1] + member + text[parent.end - 1 :]
    before = text[parent.start + 1 : parent.members[0].start]
    if len(parent.members) > 1:  # how members are set apart: by a new line or a blank
        before = text[parent.members[-2].value.end : parent.members[-1].start].partition(",")[2]
    end = parent.members[-1].value.end
    return f"{text[:end]},{before or ' '}{member}{text[end:]}"


def _find(root: _Value, path: list[str]) -> _Value:
    for key in path:
        member = _member(root, key)
        if member is None:
            raise CannotEdit(f"{key} is not there")
        root = member.value
    return root


def _member(value: _Value, key: str) -> _Member | None:
    """The member of that name; of two equal ones the last, which is the one that counts."""
    return next((member for member in reversed(value.members) if member.key == key), None)


def _blank(text: str, offset: int) -> int:
    blank = _BLANK.match(text, offset)
    return blank.end() if blank else offset


def _scanned(text: str, offset: int) -> _Value:
    """The value that starts at `offset` of a valid JSON text."""
    first = text[offset]
    if first not in "{[":
        match = (_STRING if first == '"' else _SCALAR).match(text, offset)
        assert match is not None, "the text is valid JSON"
        return _Value(offset, match.end(), [])
    members: list[_Member] = []
    here = _blank(text, offset + 1)
    while text[here] not in "]}":
        start, key = here, str(len(members))
        if first == "{":
            name = _STRING.match(text, here)
            assert name is not None, "the text is valid JSON"
            key, here = json.loads(name.group()), _blank(text, _blank(text, name.end()) + 1)
        value = _scanned(text, here)
        members.append(_Member(key, start, value))
        here = _blank(text, value.end)
        if text[here] == ",":
            here = _blank(text, here + 1)
    return _Value(offset, here + 1, members)
