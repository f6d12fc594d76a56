"""How a file is written: what stands between records, and how a changed record is indented and escaped."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from lorachk.fixes.text import without_nan

_SPACED = re.compile(rb'"\s*:\s')


class Glue(NamedTuple):
    """What stands before the first record, between records, and behind the last."""

    before: bytes
    between: bytes
    after: bytes


LINES = Glue(b"", b"\n", b"\n")
ARRAY = Glue(b"[\n  ", b",\n  ", b"\n]\n")


def array_glue(head: bytes, first: bytes, second: bytes | None) -> Glue:
    """The glue of an array, seen at its first two records; the usual one where it cannot be seen.

    `head` is the start of the file, with both records in it.
    """
    opened, at = head.find(b"["), head.find(first)
    if not first or opened < 0 or at < 0 or head[opened + 1 : at].strip():
        return ARRAY
    before = head[opened + 1 : at]
    between = b"," + before if before else b", "
    if second:
        end = at + len(first)
        next_at = head.find(second, end)
        if next_at >= 0 and head[end:next_at].strip() == b",":
            between = head[end:next_at]
    newline = b"\r\n" if b"\r\n" in between else b"\n"
    return Glue(b"[" + before, between, (newline if newline in between else b"") + b"]" + newline)


def dumped(value: Any, raw: bytes, *, one_line: bool) -> tuple[bytes, bool]:
    """`value` as JSON in the manner of `raw`, the bytes it was read from; and whether numbers had to become null."""
    escape = raw.isascii() and b"\\u" in raw
    colon = ": " if _SPACED.search(raw) or not raw else ":"
    lines = raw.split(b"\n")
    indent, base = None, ""
    if len(lines) > 2 and not one_line:
        base = _blanks(lines[-1])
        indent = _blanks(lines[1])[len(base) :] or None
    separators = (",", colon) if indent else (", " if colon == ": " else ",", colon)
    lossy = False
    try:
        text = json.dumps(value, ensure_ascii=escape, indent=indent, separators=separators, allow_nan=False)
    except ValueError:  # 1e400 is read as infinity
        lossy = True
        text = json.dumps(without_nan(value), ensure_ascii=escape, indent=indent, separators=separators)
    if indent:
        end = "\r\n" if lines[0].endswith(b"\r") else "\n"
        text = text.replace("\n", end + base)
    return text.encode("utf-8", "replace"), lossy


def _blanks(line: bytes) -> str:
    return line[: len(line) - len(line.lstrip(b" \t"))].decode("ascii")
