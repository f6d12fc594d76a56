"""Which JSON types stand under which key path, over all records; and how many keys each record has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lorachk.launchers.positions import parts

MOST = 2000  # key paths that are kept apart; data as keys would make one per record
_DEEPEST = 8
_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "array",
    dict: "object",
}


_KINDS = {name: kind for kind, name in _TYPES.items()}


class Fields:
    """A tree of key paths; each with its types, how often they stand there and the first record that has them."""

    def __init__(self) -> None:
        self._root = _Node("")
        self.paths = 0
        self.cut = False  # there were too many key paths: those beyond are not counted

    def note(self, value: Any, record: int) -> int:
        """Count what stands in a record; the number of keys in it, at any depth (0 when it is too deep to tell)."""
        try:
            return self._note(self._root, value, record, 0)
        except _TooDeep:
            return 0

    def note_at(self, pointer: str, value: Any, record: int) -> int:
        """Count what stands under `pointer` of a record; the number of keys in it, as in `note`."""
        node = self._root
        for key in _keys(pointer):
            below = node.children.get(key)
            node = below if below is not None else self._child(node, key)
        try:
            return self._note(node, value, record, pointer.count("/"))
        except _TooDeep:
            return 0

    def add(self, pointer: str, kind: str, count: int, record: int) -> None:
        """Count values that somebody else looked at: `kind` is a JSON type, `record` the first that has it."""
        node = self._root
        for key in _keys(pointer):
            below = node.children.get(key)
            node = below if below is not None else self._child(node, key)
        seen = node.types.setdefault(_KINDS[kind], [0, record])
        seen[0] += count
        seen[1] = min(seen[1], record)

    def rows(self) -> Iterator[tuple[str, str, int, int]]:
        """Pointer, type, values, first record."""
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            for kind, (count, record) in node.types.items():
                yield node.pointer, _TYPES.get(kind, "string"), count, record  # Parquet brings bytes and dates
            waiting += [*node.children.values()]

    def _child(self, node: _Node, key: str) -> _Node:
        self.paths += 1
        name = key.replace("~", "~0").replace("/", "~1")
        child = _Node(f"{node.pointer}/{name}")
        if self.paths > MOST:
            self.cut = True
        else:
            node.children[key] = child
        return child

    def _note(self, node: _Node, value: Any, record: int, depth: int) -> int:
        kind = type(value)
        seen = node.types.get(kind)
        if seen is None:
            node.types[kind] = [1, record]
        else:
            seen[0] += 1
        if kind is dict:
            return self._object(node, value, record, depth)
        if kind is list and value:
            if depth > _DEEPEST:
                raise _TooDeep
            child = node.children.get("*")
            if child is None:
                child = self._child(node, "*")
            note, below = self._note, depth + 1
            return sum([note(child, inner, record, below) for inner in value])
        return 0

    def _object(self, node: _Node, value: Mapping[str, Any], record: int, depth: int) -> int:
        if depth > _DEEPEST:
            raise _TooDeep
        keys, children = len(value), node.children
        for name, inner in value.items():
            child = children.get(name)
            if child is None:
                child = self._child(node, name)
            kind = type(inner)
            if kind is dict or kind is list:
                keys += self._note(child, inner, record, depth + 1)
            else:  # without a call: this is most of the time
                seen = child.types.get(kind)
                if seen is None:
                    child.types[kind] = [1, record]
                else:
                    seen[0] += 1
        return keys


def _keys(pointer: str) -> list[str]:
    return parts(pointer)


class _Node:
    __slots__ = ("children", "pointer", "types")

    def __init__(self, pointer: str) -> None:
        self.pointer = pointer
        self.types: dict[type, list[int]] = {}
        self.children: dict[str, _Node] = {}


class _TooDeep(Exception):
    """A value nested too deeply to be followed."""
