"""Reads the usual almost-JSON: single quotes, trailing commas, Python's True, False and None.

A file with such records is reported as broken; reading them all the same lets the rest of the checks go on.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

# Strings are unrolled loops: an alternative per character would cost re a hundred bytes of stack for each.
_STRING = r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
_TOKEN = re.compile(rf"\s+|{_STRING}|" + _STRING.replace('"', "'") + r"|[{}\[\],:]|[^\s\"'{}\[\],:]+", re.DOTALL)
_WORDS = {"True": "true", "False": "false", "None": "null"}
_CLOSES = {"}": "{", "]": "["}
_QUOTE = re.compile(r"\\.|\"", re.DOTALL)


class Repaired(NamedTuple):
    """A value that was read, and the index of the first character after it."""

    value: Any
    end: int


def repair(text: str, start: int, stop: int | None = None) -> Repaired | None:
    """Read the object or array at `start` leniently; None when that does not help, or when it does not end by `stop`.

    Linear in its length, and in that of the rest of the text when the value never closes.
    """
    out: list[str] = []
    open_: list[str] = []
    at = start
    stop = len(text) if stop is None else stop
    while match := _TOKEN.match(text, at, stop):
        token, at = match.group(), match.end()
        if token[0] in "{[":
            open_.append(token)
            out.append(token)
        elif token in _CLOSES:
            if not open_ or open_.pop() != _CLOSES[token]:
                return None
            if out[-1] == ",":
                out.pop()
            out.append(token)
            if not open_:
                return _parsed("".join(out), at)
        elif token[0] == "'":
            out.append('"' + _QUOTE.sub(_requote, token[1:-1]) + '"')
        elif not token.isspace():
            out.append(_WORDS.get(token, token))
    return None


def _requote(match: re.Match[str]) -> str:
    found = match.group()
    if found == '"':
        return '\\"'
    return "'" if found == "\\'" else found


def _parsed(text: str, end: int) -> Repaired | None:
    try:
        return Repaired(json.loads(text), end)
    except (ValueError, RecursionError):
        return None
