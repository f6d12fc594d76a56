"""Which JSON types stand under which key path, over all records; and how many keys each record has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

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

    def note_at(self, pointer: str, value: Any, record: int) -> None:
        """Count what stands under `pointer` of a record."""
        node = self._root
        for key in pointer.split("/")[1:]:
            below = node.children.get(key)
            node = below if below is not None else self._child(node, key)
        with suppress(_TooDeep):
            self._note(node, value, record, pointer.count("/"))

    def add(self, pointer: str, kind: str, count: int, record: int) -> None:
        """Count values that somebody else looked at: `kind` is a JSON type, `record` the first that has it."""
        node = self._root
        for key in pointer.split("/")[1:]:
            below = node.children.get(key)
            node = below if below is not None else self._child(node, key)
        seen = node.types.setdefault(kind, [0, record])
        seen[0] += count
        seen[1] = min(seen[1], record)

    def rows(self) -> Iterator[tuple[str, str, int, int]]:
        """Pointer, type, values, first record."""
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            for kind, (count, record) in node.types.items():
                yield node.pointer, kind, count, record
            waiting += [*node.children.values()]

    def _child(self, node: _Node, key: str) -> _Node:
        self.paths += 1
        child = _Node(f"{node.pointer}/{key}")
        if self.paths > MOST:
            self.cut = True
        else:
            node.children[key] = child
        return child

    def _note(self, node: _Node, value: Any, record: int, depth: int) -> int:
        kind = _TYPES.get(type(value), "string")  # Parquet brings bytes and dates
        seen = node.types.get(kind)
        if seen is None:
            node.types[kind] = [1, record]
        else:
            seen[0] += 1
        keys = 0
        if kind == "object":
            if depth > _DEEPEST:
                raise _TooDeep
            children = node.children
            for name, inner in value.items():
                key = name if "/" not in name and "~" not in name else name.replace("~", "~0").replace("/", "~1")
                child = children.get(key)
                if child is None:
                    child = self._child(node, key)
                keys += self._note(child, inner, record, depth + 1)
            return keys + len(value)
        if kind == "array":
            if depth > _DEEPEST:
                raise _TooDeep
            child = node.children.get("*")
            if child is None:
                if not value:
                    return 0
                child = self._child(node, "*")
            for inner in value:
                keys += self._note(child, inner, record, depth + 1)
        return keys


class _Node:
    __slots__ = ("children", "pointer", "types")

    def __init__(self, pointer: str) -> None:
        self.pointer = pointer
        self.types: dict[str, list[int]] = {}
        self.children: dict[str, _Node] = {}


class _TooDeep(Exception):
    """A value nested too deeply to be followed."""
