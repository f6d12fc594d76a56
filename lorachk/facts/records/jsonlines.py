"""Streams the records of a JSON lines file; a bad line costs that line only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from lorachk.facts.records.array import LONGEST
from lorachk.facts.records.decode import Malformed, decode
from lorachk.facts.records.item import Fault, Item
from lorachk.facts.records.repair import repair
from lorachk.facts.records.stream import Stream, lines

_any = msgspec.json.Decoder()


def read_lines(stream: Stream, first: bytes, note: Callable[[Fault], None]) -> Iterator[Item]:
    """Records of a JSON lines file; `first` is the part of `stream` that was read already. Blank lines are skipped."""
    index = 0
    for number, (offset, line) in enumerate(lines(stream, first, LONGEST), 1):
        if line is None:
            note(Fault(f"a line of more than {LONGEST >> 20} MiB", offset))
            continue
        if not line or line.isspace():
            continue
        try:
            value = _any.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            read = _carefully(line, offset, note)
            if read is None:
                continue
            value = read[0]
        yield Item(value, line, index, number, "", offset + len(line) - len(line.lstrip()))
        index += 1


def _carefully(line: bytes, offset: int, note: Callable[[Fault], None]) -> tuple[Any] | None:
    """The value of a line that msgspec refused, in a tuple, since it may be None; notes what is wrong with it."""

    def fault(what: str, at: int) -> None:
        note(Fault(what, offset + len(text[:at].encode("utf-8", "surrogateescape"))))

    text = line.decode("utf-8", "surrogateescape")
    broken = next((i for i, c in enumerate(text) if "\udc80" <= c <= "\udcff"), None)
    if broken is not None:
        fault(f"byte 0x{ord(text[broken]) - 0xDC00:02x} is not UTF-8", broken)
    start = len(text) - len(text.lstrip())
    try:
        decoded = decode(text, start)
    except Malformed as error:
        fault(error.text, error.at)
        repaired = repair(text, start)
        return None if repaired is None else (repaired.value,)
    if decoded.oddity:
        fault(*decoded.oddity)
    if rest := text[decoded.end :].strip():
        fault("Extra data: more than one value on this line", text.index(rest[0], decoded.end))
    return (decoded.value,)
