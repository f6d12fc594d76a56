"""Streams the records of a JSON lines file; a bad line costs that line only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from lorachk.facts.records.array import LONGEST
from lorachk.facts.records.decode import Malformed, decode
from lorachk.facts.records.item import Fault, Item, Source
from lorachk.facts.records.repair import repair
from lorachk.facts.records.stream import lines

_any = msgspec.json.Decoder()


def read_lines(
    stream: Source, first: bytes, note: Callable[[Fault], None], *, offset: int = 0, index: int = 0, line: int = 1
) -> Iterator[Item]:
    """Records of a JSON lines file; `first` is the part of `stream` that was read already. Blank lines are skipped.

    `offset`, `index` and `line` are those of the first line.
    """
    begin = offset
    for number, (at, text) in enumerate(lines(stream, first, LONGEST), line):
        offset = begin + at
        if text is None:
            note(Fault(f"a line of more than {LONGEST >> 20} MiB", offset))
            continue
        if not text or text.isspace():
            continue
        try:
            value = _any.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            read = _carefully(text, offset, note)
            if read is None:
                continue
            value = read[0]
        yield Item(value, text, index, number, "", offset + len(text) - len(text.lstrip()))
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
