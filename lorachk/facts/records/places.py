"""Lines of the parts of a record that was written over several lines."""

from __future__ import annotations

import msgspec

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])


def member_lines(raw: bytes, line: int, member: str) -> tuple[int, list[int]]:
    """Line of `member` of a record that starts at `line`, and the lines of its elements.

    The record's own line stands in for what cannot be found (a record that only could be read leniently).
    """
    try:
        part = bytes(_members.decode(raw)[member])
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError):
        return line, []
    # The last one: a key that stands twice is read as its last value.
    start = raw.rfind(part, raw.rfind(b'"' + member.encode() + b'"'))
    if start < 0:
        return line, []
    first = line + raw.count(b"\n", 0, start)
    try:
        elements = _elements.decode(part)
    except (msgspec.DecodeError, RecursionError):
        return first, []
    lines, at, here = [], 1, first
    for element in elements:
        piece = bytes(element)
        begin = part.find(piece[:1], at)
        here += part.count(b"\n", at, begin)
        lines.append(here)
        at = begin + len(piece)
        here += part.count(b"\n", begin, at)
    return first, lines
