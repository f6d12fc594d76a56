"""Rows as columns: what the scan of a dataset hands to the store, some ten thousand records at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

_MANY, _WORDS = 1000, 12  # rows from which a column of so few different texts is written as numbers
_encode = msgspec.json.Encoder().encode


class Written(NamedTuple):
    """Columns of one table in a file, and those that need no list: the same value in all rows, or another column."""

    table: str
    file: Path
    bytes: int
    names: tuple[str, ...]
    constants: dict[str, Any]
    words: dict[str, tuple[Any, ...]]  # few different values: the file has their numbers
    patterns: dict[str, list[list[Any]]] | None = None  # column to its lists by pattern; the file has lists, too


class Columns:
    """Columns of one table that grow row by row or list by list."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.lists: dict[str, list[Any]] = {name: [] for name in names}

    def __len__(self) -> int:
        return len(self.lists[self.names[0]])

    def write(self, table: str, file: Path) -> Written:
        """Write the columns to `file`. Lone surrogates are escaped.

        Reading a list of text costs DuckDB most, so that what repeats is told apart from it.
        """
        constants: dict[str, Any] = {}
        words: dict[str, tuple[Any, ...]] = {}
        lists: dict[str, list[Any]] = {}
        for name, values in self.lists.items():
            first = values[0]
            if name != self.names[0] and values.count(first) == len(values):
                constants[name] = escaped(first)
            elif (first is None or isinstance(first, str)) and (few := _few(values)):
                numbers = {word: number for number, word in enumerate(few)}
                lists[name] = list(map(numbers.__getitem__, values))
                words[name] = few
            else:
                lists[name] = values
        return Written(table, file, _dumped(lists, file), tuple(lists), constants, words)


class Patterned(Columns):
    """Columns with one row per record, of which some hold a list with an element for each turn."""

    same = True  # characters and bytes are the same numbers

    def dump(self, file: Path, names: tuple[str, ...]) -> int:
        """Write some columns as they are; the bytes written."""
        return _dumped({name: self.lists[name] for name in names}, file)


def _dumped(lists: dict[str, list[Any]], file: Path) -> int:
    try:
        data = _encode(lists)
    except UnicodeEncodeError:  # from "\ud800" in someone's JSON
        data = _encode(escaped(lists))
    file.write_bytes(data)
    return len(data)


def _few(values: list[Any]) -> tuple[Any, ...] | None:
    """The different values of a column of text, when there are few in the first rows and in all."""
    if len(values) < _MANY or any(isinstance(v, list) for v in values) or len(set(values[:_MANY])) > _WORDS:
        return None
    found = set(values)
    if len(found) > _WORDS or not all(v is None or (isinstance(v, str) and v.isprintable()) for v in found):
        return None
    return tuple(sorted(found, key=lambda v: (v is not None, v or "")))


def escaped(value: Any) -> Any:
    """The value with lone surrogates written out, which UTF-8 cannot hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [escaped(v) for v in value]
    if isinstance(value, dict):
        return {k: escaped(v) for k, v in value.items()}
    return value
