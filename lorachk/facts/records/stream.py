"""A dataset file as a stream of UTF-8 bytes, whatever its encoding or compression, and places in it."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lorachk.facts.records.datafile import DataFile, data_file
from lorachk.facts.records.item import Fault, Source

_CONTINUED = bytes(range(0x80, 0xC0))  # UTF-8: bytes that go on with a character
BLOCK = 1 << 20  # bytes read at once: large enough for C speed, small enough to be nothing in memory

# Longest first: the UTF-32 mark begins with the UTF-16 one.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Formats that are not read; some trainers read them, so they are unknown rather than wrong. Parquet is none of them:
# `DataFile.container` tells it, and parquet.py reads it.
_FOREIGN = (
    (b"ARROW1", "Arrow"),
    (b"\xff\xff\xff\xff", "Arrow"),  # a stream, as save_to_disk of `datasets` writes it
    (b"PK\x03\x04", "zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"SQLite format 3\0", "SQLite"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"ORC", "ORC"),
    (b"Obj\x01", "Avro"),
)


class Place(NamedTuple):
    """A place in a file: line and column from 1 (in characters), and up to 80 characters around it."""

    line: int
    col: int | None
    context: str | None


def encoding_of(head: bytes) -> str:
    """Encoding of a file that begins with `head`: by byte order mark, else UTF-16 by its zero bytes, else UTF-8."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if len(head) >= 4 and head[0] and not head[1] and head[2] and not head[3]:
        return "utf-16-le"
    if len(head) >= 4 and not head[0] and head[1] and not head[2] and head[3]:
        return "utf-16-be"
    return "utf-8"


def foreign_format(head: bytes) -> str | None:
    """Name of the format when the file is a known one other than JSON."""
    return next((name for magic, name in _FOREIGN if head.startswith(magic)), None)


class Stream:
    """Reads a file in blocks of UTF-8 bytes, without its byte order mark. Bytes that are not UTF-8 are passed on.

    What cannot be decompressed or read any further ends the stream; `fault` then says what happened and where.
    """

    def __init__(self, source: DataFile | Path | str) -> None:
        self.file = source if isinstance(source, DataFile) else data_file(source)
        self._file = self.file.open()
        self._problem: str | None = None
        self._pending = b""  # of the file
        self._ahead = b""  # of the UTF-8 text
        self._given = 0  # UTF-8 bytes handed out or skipped
        self.head = self._raw(64)
        self.encoding = encoding_of(self.head)
        self._mark = len(codecs.BOM_UTF8) if self.encoding == "utf-8-sig" else 0
        if self.file.seekable:
            self._file.seek(self._mark)
        else:
            self._pending = self.head[self._mark :]
        wide = self.encoding.startswith(("utf-16", "utf-32"))
        self._decoder = codecs.getincrementaldecoder(self.encoding)("replace") if wide else None

    @property
    def fault(self) -> Fault | None:
        """Why the stream ended early, at the offset it got to; None when it did not, or not yet."""
        text = self._problem or getattr(self._file, "fault", None)
        return Fault(text, self._given, json=False) if text else None

    def read(self, size: int = BLOCK) -> bytes:
        """Up to `size` bytes of the file as UTF-8 (somewhat more for UTF-16); empty at its end."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
        elif self._decoder is None:
            data = self._raw(size)
        else:
            data = self._wide(self._decoder, size)
        self._given += len(data)
        return data

    def skip(self, count: int) -> None:
        """Go on `count` UTF-8 bytes further: at once in a plain UTF-8 file, else by reading."""
        if self._decoder is None and self.file.seekable:
            self._given += count
            self._file.seek(self._mark + self._given)
            return
        while count > 0 and (data := self.read(min(count, BLOCK))):
            if len(data) > count:
                self._ahead = data[count:]
                self._given -= len(self._ahead)
            count -= len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _wide(self, decoder: codecs.IncrementalDecoder, size: int) -> bytes:
        while data := self._raw(size):
            if text := decoder.decode(data):
                return text.encode("utf-8", "surrogatepass")
        return decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")

    def _raw(self, size: int) -> bytes:
        before, self._pending = self._pending, b""
        try:
            data = self._file.read(max(0, size - len(before)))
        except OSError as error:  # a failing disk or a mount that went away; what came before is worth a report
            self._problem = f"the file cannot be read on: {error.strerror or error}"
            return before
        return before + data if before else data


def lines(stream: Source, first: bytes, longest: int) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their offset in the stream; `first` is what was read already.

    A line over `longest` bytes gives None once.
    """
    offset, rest, skipping = 0, first, False
    while True:
        *whole, rest = rest.split(b"\n")
        for line in whole:
            if not skipping:
                yield offset, line
            skipping = False
            offset += len(line) + 1
        if len(rest) > longest:
            if not skipping:
                yield offset, None
            skipping = True
            offset, rest = offset + len(rest), b""
        # Grow by what is there already, so that a long line costs a few copies and not one per block.
        block = stream.read(max(BLOCK, len(rest)))
        if not block:
            if rest and not skipping:
                yield offset, rest
            return
        rest += block


def place(source: DataFile | Path | str, offset: int) -> Place | None:
    """Line, column and surroundings of `offset` bytes into the stream; reads the file once more up to there.

    None for Parquet, which has no lines.
    """
    stream = Stream(source)
    if stream.file.container == "parquet":
        stream.close()
        return None
    try:
        line, characters, seen, before = 1, 0, 0, b""
        while block := stream.read():
            part = block[: max(0, offset - seen)]
            line += part.count(b"\n")
            cut = part.rfind(b"\n")
            if cut >= 0:
                characters = 0
            # Count starts of characters, so that a block may end inside one.
            tail = part[cut + 1 :]
            characters += len(tail.translate(None, _CONTINUED))
            if seen + len(block) > offset:
                near = before + block
                at = offset - seen + len(before)
                return Place(line, characters + 1, _around(near, at))
            seen += len(block)
            before = block[-400:]
        return Place(line, characters + 1, _around(before, len(before)))
    finally:
        stream.close()


def _around(data: bytes, at: int) -> str:
    left = data[max(0, at - 160) : at].decode("utf-8", "replace")[-40:]
    right = data[at : at + 160].decode("utf-8", "replace")[:40]
    return " ".join((left + right).split())
