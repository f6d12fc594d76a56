"""Cuts a large dataset file into parts that processes scan side by side: between two records, without reading them.

In a valid file what separates the first two records (`}, {"id"` with its white space) can stand inside no string, as
quotes are escaped there; the process that scans a part tells when it was cut in the wrong place all the same.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.item import Item
from lorachk.facts.records.stream import Stream

SIZE = 16 << 20  # bytes of a part
_WINDOW = 1 << 20  # bytes in which the next cut is looked for
_MARKS = {"utf-8": 0, "utf-8-sig": len(codecs.BOM_UTF8)}


class Part(NamedTuple):
    """A part of a file: its place in the UTF-8 text; `data` when it cannot be read there."""

    offset: int
    size: int
    last: bool
    data: bytes | None = None


class Cut(NamedTuple):
    """Where a file can be cut: `mark` stands between records, and the next one starts `after` bytes into it."""

    lines: bool
    mark: bytes
    after: int


def cut_of(items: list[Item], container: str | None, text: bytes) -> Cut | None:
    """How to cut a file that begins with `text` and these records; None when that cannot be told."""
    if container == "lines":
        return Cut(True, b"\n", 1)
    if container != "array" or len(items) < 2 or any(i.offset is None for i in items[:2]):
        return None
    first, second = items[0], items[1]
    assert first.offset is not None
    assert second.offset is not None
    between = text[first.offset + len(first.raw) : second.offset]
    start = start_of(second.raw)
    if between.count(b",") != 1 or between.strip(b", \t\r\n") or start is None:
        return None
    return Cut(False, b"}" + between + start, 1 + len(between))


def start_of(raw: bytes) -> bytes | None:
    """How a record starts: brace, white space and first key with its colon; None for what is no object with keys."""
    quote = raw.find(b'"')
    end = raw.find(b'"', quote + 1)
    if not raw.startswith(b"{") or raw[1:quote].strip() or quote < 0 or end < 0 or b"\\" in raw[quote:end]:
        return None
    return raw[: end + 1] + b":" if raw[end + 1 : end + 2] == b":" else raw[: end + 1]


def parts(file: DataFile, start: int, cut: Cut, *, size: int = SIZE) -> Iterator[Part]:
    """The parts of `file` from byte `start` of its text on."""
    stream = Stream(file)
    try:
        if file.seekable and stream.encoding in _MARKS:
            yield from _placed(file, _MARKS[stream.encoding], start, cut, size)
        else:
            stream.skip(start)
            yield from _copied(stream, start, cut, size)
    finally:
        stream.close()


def read_part(file: DataFile, part: Part) -> bytes:
    """The bytes of a part."""
    if part.data is not None:
        return part.data
    with Path(file.local).open("rb") as opened:
        mark = len(codecs.BOM_UTF8) if opened.read(3) == codecs.BOM_UTF8 else 0
        opened.seek(mark + part.offset)
        return opened.read(part.size)


def _placed(file: DataFile, mark: int, start: int, cut: Cut, size: int) -> Iterator[Part]:
    """Parts of a plain file, which others read at their place: only about the cuts is read here."""
    total = file.bytes - mark
    at = start
    with Path(file.local).open("rb") as opened:
        while at + size < total:
            opened.seek(mark + at + size)
            window, found = b"", -1
            while found < 0 and (block := opened.read(_WINDOW)):
                searched = max(0, len(window) - len(cut.mark))
                window += block
                found = window.find(cut.mark, searched)
            if found < 0:
                break
            end = at + size + found + cut.after
            yield Part(at, end - at, last=False)
            at = end
        # The last part is read in the calling process, so that it is made small.
        opened.seek(mark + max(at, total - _WINDOW))
        window = opened.read(_WINDOW)
        if (found := window.rfind(cut.mark)) >= 0:
            end = max(at, total - _WINDOW) + found + cut.after
            if end > at:
                yield Part(at, end - at, last=False)
                at = end
    yield Part(at, total - at, last=True)


def _copied(stream: Stream, start: int, cut: Cut, size: int) -> Iterator[Part]:
    """Parts of what only can be read from its beginning (compressed, UTF-16), with their bytes."""
    at, rest = start, b""
    while True:
        pieces = [rest]
        have = len(rest)
        while have < size and (block := stream.read()):
            pieces.append(block)
            have += len(block)
        data = b"".join(pieces)
        if have < size:
            yield Part(at, len(data), last=True, data=data)
            return
        found = data.rfind(cut.mark)
        while found < 0 and (block := stream.read(len(data))):
            data += block
            found = data.rfind(cut.mark)
        if found < 0:
            yield Part(at, len(data), last=True, data=data)
            return
        end = found + cut.after
        yield Part(at, end, last=False, data=data[:end])
        at, rest = at + end, data[end:]
