"""Streams the records of a JSON array: whole blocks at msgspec's speed, and record by record where something is wrong.

The block is cut where a record starts with the same key as the first one did; that the part before the cut decodes as
an array proves the cut right, so a wrong guess costs time and never a wrong record.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from lorachk.facts.records.decode import TOO_DEEP, Decoded, Malformed, decode
from lorachk.facts.records.item import Fault, Item, Source
from lorachk.facts.records.repair import repair
from lorachk.facts.records.stream import BLOCK

LONGEST = 256 << 20  # bytes of one record; beyond, the file is taken to be broken
_FIRST_KEY = re.compile(r"""\{\s*(["'][^"'\\]{1,80}["'])""")
_ANY_RECORD = re.compile(r"\n[ \t]*\{|\}\s*,?\s*\{")
# Characters that repairs may look through in vain. A record that never closes takes a repair to the end of the buffer:
# with thousands of them, reading would never end.
_PATIENCE = 4 << 20
_WINDOW = 32 << 10  # characters after a fault: json counts the lines up to each, from the start of the text
_DEEP = 500  # characters: what json finds too deep has at least so many brackets at its start
_BROKEN_BYTE = re.compile("[\udc80-\udcff]")
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder()


class ArrayReader:
    """Records of the array whose elements begin at byte `start` of `first`, the part of `stream` that was read already.

    `embedded` says that the array is a member of an object: reading stops at its end. `prefix` is the array's pointer.
    With `final` false, `stream` is a part of the array that ends between two records; when it turns out not to,
    `unfinished` is true at the end. `offset` is where `first[start:]` stands, when not at `start`; `index` and `line`
    are those of its first record.
    """

    def __init__(
        self,
        stream: Source,
        first: bytes,
        start: int,
        note: Callable[[Fault], None],
        *,
        prefix: str = "",
        embedded: bool = False,
        bracketed: bool = True,
        block: int = BLOCK,
        final: bool = True,
        offset: int | None = None,
        index: int = 0,
        line: int | None = None,
    ) -> None:
        self.unfinished = False
        self._size, self._final = block, final
        self._stream, self._note, self._prefix, self._embedded = stream, note, prefix, embedded
        self._open = self._bracketed = bracketed  # inside brackets; objects may follow each other without any
        self._buffer = first[start:]
        self._offset = start if offset is None else offset
        self._line = 1 + first[:start].count(b"\n") if line is None else line
        self._index = index
        self._eof = False
        self._signature: bytes | None = None  # how a record starts: brace, white space, first key
        self._starts = _ANY_RECORD
        self._comma = True  # a record may come: after the bracket or a comma
        self._faulty = False
        self._patience = _PATIENCE
        self._sized = (0, 0)  # up to which index of the text bytes were counted, and how many
        self._counted = (0, 0)  # up to which index of the text lines were counted, and how many

    @property
    def index(self) -> int:
        """Number of the next record; those that could not be read count."""
        return self._index

    def __iter__(self) -> Iterator[Item]:
        """All records that can be read."""
        more = True
        while more:
            if len(self._buffer) < self._size:
                self._fill(self._size)
            if self._signature and self._open and (batch := self._block()):
                yield from batch
            else:
                items: list[Item] = []
                more = self._slowly(items)
                yield from items

    def _fill(self, size: int) -> None:
        if not self._eof:
            block = self._stream.read(size)
            self._eof = not block
            self._buffer += block

    def _consume(self, size: int) -> None:
        self._line += self._buffer.count(b"\n", 0, size)
        self._offset += size
        self._buffer = self._buffer[size:]

    # -- whole blocks

    def _block(self) -> list[Item] | None:
        """All whole records of the buffer but the last; None when they do not decode as they stand."""
        assert self._signature
        buffer = self._buffer
        cut = len(buffer)
        for _ in range(4):
            cut = buffer.rfind(self._signature, 1, cut)
            if cut <= 0:
                return None
            body = buffer[:cut].strip()
            if not body.endswith(b","):
                continue
            if body.startswith(b",") == self._comma:
                return None
            body = body[:-1] if self._comma else body[1:-1]
            try:
                raws = [bytes(raw) for raw in _raws.decode(b"[" + body + b"]")]
                values = [_any.decode(raw) for raw in raws]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            return self._placed(raws, values, cut)
        return None

    def _placed(self, raws: list[bytes], values: list[Any], cut: int) -> list[Item] | None:
        items: list[Item] = []
        buffer, at, line, index = self._buffer, 0, self._line, self._index
        find, count = buffer.find, buffer.count
        for raw, value in zip(raws, values, strict=True):
            # Between records stand white space and one comma, so the record's first byte tells where it starts.
            start = find(raw[:1], at)
            line += count(b"\n", at, start)
            items.append(Item(value, raw, index, line, f"{self._prefix}/{index}", self._offset + start))
            at = start + len(raw)
            line += count(b"\n", start, at)
            index += 1
        self._index = index
        self._consume(cut)
        self._comma = True
        return items

    # -- record by record

    def _slowly(self, items: list[Item]) -> bool:
        """Read what the buffer holds, one record at a time; False at the end of the file."""
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        text = decoder.decode(self._buffer, final=self._eof)
        if found := _BROKEN_BYTE.search(text):
            byte = ord(found.group()) - 0xDC00
            self._fault(f"byte 0x{byte:02x} is not UTF-8", text, found.start())
        self._counted = self._sized = (0, 0)
        at, goes_on, learning = 0, True, self._signature is None
        while True:
            at, state = self._separator(text, at)
            if state == "end":
                goes_on = False
                break
            if state == "more":
                goes_on = not self._eof
                if self._eof and self._open and self._final:
                    self._fault(f"the file ends before the array is closed, after {self._index} records", text, at)
                break
            start = at
            try:
                found_value = decode(text, start)
                if not self._eof and found_value.end == len(text):
                    raise Malformed("cut by the buffer", len(text))  # noqa: TRY301 - a number may go on
            except Malformed as error:
                if not self._eof and self._incomplete(error, text) and len(self._buffer) < LONGEST:
                    self._take(text, start)
                    self._fill(max(self._size, len(self._buffer)))
                    return True
                at = self._broken(text, start, error, items)
                if _WINDOW < at < len(text):
                    self._take(text, at)
                    return True
                continue
            at = found_value.end
            self._one(text, start, found_value, items)
            if learning and self._signature:
                break  # try whole blocks now
        self._take(text, at)
        if goes_on:
            self._fill(self._size)
        return goes_on

    def _separator(self, text: str, at: int) -> tuple[int, str]:
        """Skip to where a value starts: its index and 'value', or 'more' (text used up) or 'end'."""
        while True:
            while at < len(text) and text[at] in " \t\r\n":
                at += 1
            if at == len(text):
                return at, "more"
            here = text[at]
            if here == "," and self._open:
                if self._comma:
                    self._fault("a comma with no record before it", text, at)
                self._comma = True
            elif here == "]" and self._open:
                if self._comma and self._index:
                    self._fault("a comma before a closing bracket is not JSON", text, at)
                self._open = False
                if self._embedded:
                    return at, "end"
            elif self._open:
                if not self._comma:
                    self._fault("Expecting ',' delimiter: two records without a comma between them", text, at)
                return at, "value"
            else:
                # After the array: most often two files written one after the other.
                if self._bracketed or self._index:
                    self._fault("Extra data: the file goes on after its first value", text, at)
                if here == "{":
                    return at, "value"
                if here == "[":
                    self._open, self._comma = True, True
                    at += 1
                    continue
                found = self._starts.search(text, at)
                if found is None:
                    return len(text), "more"
                return text.index("{", found.start()), "value"
            at += 1

    def _one(self, text: str, start: int, decoded: Decoded, items: list[Item]) -> None:
        if decoded.oddity:
            self._fault(decoded.oddity[0], text, decoded.oddity[1])
        raw = _bytes(text[start : decoded.end])
        counted, newlines = self._counted
        newlines += text.count("\n", counted, start)
        self._counted = (start, newlines)
        line = self._line + newlines
        offset = self._offset + self._preceding(text, start)
        items.append(Item(decoded.value, raw, self._index, line, f"{self._prefix}/{self._index}", offset))
        self._index += 1
        self._comma = False
        if self._signature is None:
            self._learn(text, start)
            if isinstance(decoded.value, dict) and (first := _FIRST_KEY.match(text, start)):
                self._signature = _bytes(first.group())

    def _preceding(self, text: str, start: int) -> int:
        """Bytes of the text before `start`, counted on from the last time."""
        at, size = self._sized
        size += len(_bytes(text[at:start]))
        self._sized = (start, size)
        return size

    def _learn(self, text: str, start: int) -> None:
        if first := _FIRST_KEY.match(text, start):
            self._starts = re.compile(r"\{\s*[\"']" + re.escape(first.group(1)[1:-1]) + r"[\"']")

    def _incomplete(self, error: Malformed, text: str) -> bool:
        """Whether the error is that the text ends, so that reading on may cure it."""
        return error.at >= len(text) - 32 or error.text.startswith("Unterminated string")

    def _broken(self, text: str, start: int, error: Malformed, items: list[Item]) -> int:
        """Note the error, read the record leniently if that helps; the index where reading goes on."""
        if self._eof and self._incomplete(error, text):
            if not self._final:
                self.unfinished = True
                return len(text)
            self._fault(f"the file ends inside record {self._index} ({error.text})", text, error.at)
        else:
            self._fault(error.text, text, error.at)
        if self._starts is _ANY_RECORD:
            self._learn(text, start)
        past = start + _DEEP if error.text == TOO_DEEP else max(start + 1, error.at)
        found = self._starts.search(text, min(past, len(text)))
        stop = found.start() if found and self._patience <= 0 else len(text)
        if (repaired := repair(text, start, stop)) is not None:
            self._one(text, start, Decoded(repaired.value, repaired.end), items)
            return repaired.end
        self._patience -= stop - start
        self._index += 1  # it is a record all the same: those after it keep their index
        self._comma = True  # whatever stands between here and the next record was part of the fault
        if found is None:
            self._open = self._open and not self._eof
            return len(text)
        return text.index("{", found.start() + (1 if text[found.start()] == "}" else 0))

    def _take(self, text: str, at: int) -> None:
        self._consume(len(_bytes(text[:at])))

    def _fault(self, what: str, text: str, at: int) -> None:
        if self._faulty:  # the first fault is the one to mend; finding the place of each would be slow
            return
        self._faulty = True
        self._note(Fault(what, self._offset + len(_bytes(text[:at]))))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
