"""Opens a dataset file, finds out what it is (array, lines, one object), and streams its records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lorachk.facts.records.array import ArrayReader
from lorachk.facts.records.datafile import DataFile, data_file
from lorachk.facts.records.decode import NON_FINITE, Malformed, decode
from lorachk.facts.records.item import Fault, Item
from lorachk.facts.records.jsonlines import read_lines
from lorachk.facts.records.stream import BLOCK, Place, Stream, foreign_format, place

# A member of the top-level object that is an array of objects: {"data": [ {
_MEMBER = re.compile(rb'"((?:[^"\\]|\\.){1,80})"\s*:\s*(\[)\s*\{', re.DOTALL)
_CONVERSATION = ("conversations", "messages")
_WHITE = b" \t\r\n"


class Reader:
    """One dataset file. Iterate once; what was found out about the file is complete afterwards.

    `container` is array, lines, object, parquet, empty or None; `fault` is the first thing that is wrong, None when it
    parses. `foreign` names a format that was not read. Memory is bounded by the longest record.
    """

    def __init__(self, source: DataFile | Path | str, *, block: int = BLOCK) -> None:
        self.file = source if isinstance(source, DataFile) else data_file(source)
        self._block = block
        self.bytes = self.file.bytes
        self.container: str | None = None
        self.encoding = "utf-8"
        self.foreign: str | None = None
        self.prefix: str | None = "/"  # a record's pointer is this and its number; None: it is the whole of a line
        self.records = 0
        self.fault: Fault | None = None
        self._cut: Fault | None = None  # the stream ended early: that explains what else is wrong at its end

    def __iter__(self) -> Iterator[Item]:
        """All records that can be read."""
        if self.file.container == "parquet":
            self.container = "parquet"
            yield from self._looked_at(self._table())
            return
        stream = Stream(self.file)
        try:
            self.encoding = stream.encoding
            self.foreign = foreign_format(stream.head)
            if self.foreign is None:
                yield from self._looked_at(self._items(stream))
                if self.container == "array" and not self.records:
                    self.note(Fault("the array holds no records", 0, json=False))
            self._cut = stream.fault
        finally:
            stream.close()
        if self._cut:
            self.fault = self._cut

    def resume(self, offset: int, index: int, line: int) -> Iterator[Item]:
        """Records from byte `offset` of the text on, where record `index` starts in `line`; array and lines only."""
        stream = Stream(self.file)
        try:
            stream.skip(offset)
            if self.container == "lines":
                items = read_lines(stream, b"", self.note, offset=offset, index=index, line=line)
            else:
                items = iter(
                    ArrayReader(stream, b"", 0, self.note, block=self._block, offset=offset, index=index, line=line)
                )
            yield from self._looked_at(items)
            self._cut = stream.fault
        finally:
            stream.close()
        if self._cut:
            self.fault = self._cut

    def note(self, fault: Fault) -> None:
        """Remember what is wrong: the first fault, but NaN is the least of them."""
        if self.fault is None or (NON_FINITE in self.fault.text and NON_FINITE not in fault.text):
            self.fault = fault

    def note_strange(self, number: int, what: str, line: int) -> None:
        """Remember that a record is no object."""
        self.note(Fault(f"record {number} is {what}, not an object", 0, json=False, line=line))

    def _looked_at(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self.records += 1
            if not isinstance(item.value, dict):
                self.note_strange(item.number, strange(item.value), item.line)
            yield item

    def _table(self) -> Iterator[Item]:
        from lorachk.facts.records.parquet import read_parquet

        for number, value in read_parquet(self.file, self.note):
            yield Item(value, b"", number, 0, f"/{number}")

    def place(self) -> Place | None:
        """Where the fault is; reads the file once more."""
        if self.fault is None:
            return None
        if self.fault.line is not None:
            return Place(self.fault.line, None, None)
        return place(self.file, self.fault.offset)

    def _items(self, stream: Stream) -> Iterator[Item]:
        first = stream.read(self._block)
        while first and not first.strip(_WHITE) and (block := stream.read()):
            first += block
        start = len(first) - len(first.lstrip(_WHITE))
        if self.encoding != "utf-8" and first:
            self.note(Fault(_ENCODINGS.get(self.encoding, f"the file is encoded in {self.encoding}, not in UTF-8"), 0))
        if start == len(first):
            self.container = "empty"
            self.note(Fault("the file is empty", 0))
            return
        match first[start : start + 1]:
            case b"[":
                self.container = "array"
                yield from ArrayReader(stream, first, start + 1, self.note, block=self._block)
            case b"{":
                yield from self._objects(stream, first, start)
            case _:
                self.note(Fault(_strange(first[start : start + 200]), start))

    def _objects(self, stream: Stream, first: bytes, start: int) -> Iterator[Item]:
        """Lines, one object, or objects one after the other."""
        if _is_lines(first, start, named=re.search(r"\.(jsonl|ndjson)\b", self.file.path) is not None):
            self.container, self.prefix = "lines", None
            yield from read_lines(stream, first, self.note)
            return
        self.container = "object"
        member = _MEMBER.search(first, start)
        if member and member.group(1).decode("utf-8", "replace") not in _CONVERSATION:
            name = member.group(1).decode("utf-8", "replace")
            self.note(Fault(f"the top level is an object: its records are under {name!r}", start, json=False))
            pointer = f"/{name.replace('~', '~0').replace('/', '~1')}"
            self.prefix = f"{pointer}/"
            yield from ArrayReader(
                stream, first, member.end(2), self.note, prefix=pointer, embedded=True, block=self._block
            )
            return
        found, self.prefix = 0, None
        for item in ArrayReader(stream, first, start, self.note, bracketed=False, block=self._block):
            found += 1
            yield item._replace(pointer="")
        if found == 1:
            self.note(Fault("the top level is one object, not a list of records", start, json=False))


def _is_lines(first: bytes, start: int, *, named: bool) -> bool:
    """Whether a file that starts with a brace is JSON lines: its first line is a value, or its second starts one.

    `named`: its ending says so. A single line then is a record, unless it holds a list of them.
    """
    end = first.find(b"\n", start)
    line = first[start : end if end >= 0 else None]
    rest = first[end + 1 :].lstrip(_WHITE) if end >= 0 else b""
    if rest:
        return rest.startswith(b"{") and line.rstrip().endswith(b"}")
    if len(first) >= BLOCK:  # one very long line
        member = _MEMBER.search(first, start)
        return member is None or member.group(1).decode("utf-8", "replace") in _CONVERSATION
    try:
        value = decode(line.decode("utf-8", "replace"), 0).value
    except Malformed:
        return True
    if named and isinstance(value, dict):
        from lorachk.facts.records.dialect import shape

        lists = (child for child in value.values() if isinstance(child, list))
        return shape(value).dialect != "unknown" or not any(child and isinstance(child[0], dict) for child in lists)
    return isinstance(value, dict) and any(isinstance(value.get(k), list) for k in _CONVERSATION)


def strange(value: Any) -> str:
    """What a record is that is no object."""
    return _KINDS.get(type(value), "a number")


_KINDS = {list: "a list", str: "a string", type(None): "null", bool: "a boolean"}
_ENCODINGS = {
    "utf-8-sig": "Unexpected UTF-8 BOM: the file starts with a byte order mark, which Python's json refuses",
}


def _strange(head: bytes) -> str:
    if head.startswith(b"version https://git-lfs"):
        return "Expecting value: this is a Git LFS pointer, not the data (run `git lfs pull`)"
    if head[:1] == b"<":
        return "Expecting value: this is HTML or XML, not JSON"
    return "Expecting value: the file starts with neither '[' nor '{'"
