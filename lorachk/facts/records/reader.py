"""Opens a dataset file, finds out what it is (array, lines, one object), and streams its records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lorachk.facts.records.array import ArrayReader
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

    `container` is array, lines, object, empty or None; `fault` is the first thing that is wrong, None when it parses.
    `foreign` names a format that is not JSON and was not read. Memory is bounded by the longest record.
    """

    def __init__(self, path: Path, *, block: int = BLOCK) -> None:
        self.path = path
        self._block = block
        self.bytes = path.stat().st_size
        self.container: str | None = None
        self.encoding = "utf-8"
        self.foreign: str | None = None
        self.records = 0
        self.fault: Fault | None = None

    def __iter__(self) -> Iterator[Item]:
        """All records that can be read."""
        stream = Stream(self.path)
        try:
            self.encoding = stream.encoding
            self.foreign = foreign_format(stream.head)
            if self.foreign is None:
                for item in self._items(stream):
                    self.records += 1
                    if not isinstance(item.value, dict):
                        what = _KINDS.get(type(item.value), "a number")
                        text = f"record {item.number} is {what}, not an object"
                        self._note(Fault(text, 0, json=False, line=item.line))
                    yield item
                if self.container == "array" and not self.records:
                    self._note(Fault("the array holds no records", 0, json=False))
        finally:
            stream.close()

    def place(self) -> Place | None:
        """Where the fault is; reads the file once more."""
        if self.fault is None:
            return None
        if self.fault.line is not None:
            return Place(self.fault.line, None, None)
        return place(self.path, self.fault.offset)

    def _note(self, fault: Fault) -> None:
        # NaN is the least of faults: another one is the better news.
        if self.fault is None or (NON_FINITE in self.fault.text and NON_FINITE not in fault.text):
            self.fault = fault

    def _items(self, stream: Stream) -> Iterator[Item]:
        first = stream.read(self._block)
        while first and not first.strip(_WHITE) and (block := stream.read()):
            first += block
        start = len(first) - len(first.lstrip(_WHITE))
        if self.encoding != "utf-8" and first:
            self._note(Fault(_ENCODINGS.get(self.encoding, f"the file is encoded in {self.encoding}, not in UTF-8"), 0))
        if start == len(first):
            self.container = "empty"
            self._note(Fault("the file is empty", 0))
            return
        match first[start : start + 1]:
            case b"[":
                self.container = "array"
                yield from ArrayReader(stream, first, start + 1, self._note, block=self._block)
            case b"{":
                yield from self._objects(stream, first, start)
            case _:
                self._note(Fault(_strange(first[start : start + 200]), start))

    def _objects(self, stream: Stream, first: bytes, start: int) -> Iterator[Item]:
        """Lines, one object, or objects one after the other."""
        if _is_lines(first, start):
            self.container = "lines"
            yield from read_lines(stream, first, self._note)
            return
        self.container = "object"
        member = _MEMBER.search(first, start)
        if member and member.group(1).decode("utf-8", "replace") not in _CONVERSATION:
            name = member.group(1).decode("utf-8", "replace")
            self._note(Fault(f"the top level is an object: its records are under {name!r}", start, json=False))
            pointer = f"/{name.replace('~', '~0').replace('/', '~1')}"
            yield from ArrayReader(
                stream, first, member.end(2), self._note, prefix=pointer, embedded=True, block=self._block
            )
            return
        found = 0
        for item in ArrayReader(stream, first, start, self._note, bracketed=False, block=self._block):
            found += 1
            yield item._replace(pointer="")
        if found == 1:
            self._note(Fault("the top level is one object, not a list of records", start, json=False))


def _is_lines(first: bytes, start: int) -> bool:
    """Whether a file that starts with a brace is JSON lines: its first line is a value, or its second starts one."""
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
    return isinstance(value, dict) and any(isinstance(value.get(k), list) for k in _CONVERSATION)


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
