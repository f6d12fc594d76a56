"""Where in a dataset file a turn or an image of a record stands: looked up for the few places that a report shows.

The scan of a file of millions of records keeps one byte offset per record; this reads that record once more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from lorachk.errors import UsageError
from lorachk.facts.records.datasetinfo import mapping_for
from lorachk.facts.records.dialect import shape, turn_pointer
from lorachk.launchers.positions import parse_json

_FIRST, _LARGEST = 1 << 16, 1 << 22  # bytes read of a record: at first, at most
_BEFORE = 1 << 16  # bytes looked through for the start of the record's line


class Spot(NamedTuple):
    """Line and column from 1 (column in characters), and the RFC 6901 pointer in the file."""

    line: int | None
    col: int | None
    pointer: str | None


class Start(NamedTuple):
    """Where a record starts: file, byte offset in its UTF-8 text, line, and pointer of the record in the file.

    `mapped`: it was taken apart by the columns of the dataset_info.json beside it.
    """

    path: str
    offset: int | None
    line: int | None
    pointer: str | None
    mapped: bool = False


def locate(start: Start, *, turn: int | None = None, inner: str | None = None) -> Spot:
    """The place of turn number `turn`, or of the value at pointer `inner` of the record.

    What cannot be read any more (another encoding, a compressed or changed file) is placed at the record's start.
    """
    here = Spot(start.line, None, start.pointer)
    if start.offset is None or start.line is None:
        return here
    try:
        read = read_at(start.path, start.offset)
        if turn is not None:
            found = shape(read.value, mapping_for(start.path) if start.mapped else None)
            inner = turn_pointer(found, turn) if turn < len(found.turns or ()) else inner
        places = parse_json(read.text, start.path).places
    except (OSError, ValueError, UsageError, RecursionError):
        return here
    line, column = places.get(inner or "", (1, 1))
    first = line == 1
    return Spot(
        start.line + line - 1,
        (None if read.col is None else read.col + column - 1) if first else column,
        (start.pointer or "") + (inner or ""),
    )


class Read(NamedTuple):
    """A record read again: its value, its text, and the column it starts in, when its line's start is near."""

    value: Any
    text: str
    col: int | None


def read_at(path: str, offset: int) -> Read:
    """The record that starts at a byte of a file's UTF-8 text. Raises OSError, ValueError or RecursionError."""
    with Path(path).open("rb") as file:
        mark = len(b"\xef\xbb\xbf") if file.read(3) == b"\xef\xbb\xbf" else 0
        begin = max(0, offset - _BEFORE)
        file.seek(begin + mark)
        before = file.read(offset - begin)
        newline = before.rfind(b"\n")
        col = len(before[newline + 1 :].decode("utf-8", "replace")) + 1 if newline >= 0 or not begin else None
        size, data = _FIRST, file.read(_FIRST)
        while True:
            try:
                text = data.decode("utf-8", "ignore" if len(data) == size else "strict")
                value, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                if len(data) < size or size >= _LARGEST:
                    raise
            else:
                return Read(value, text[:end], col)
            more = file.read(3 * size)
            size, data = 4 * size, data + more
