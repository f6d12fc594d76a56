"""Decodes one JSON value out of text, with the standard library's own words for what is wrong.

Most trainers read with `json.load`, so its messages are those that users see; and it takes things msgspec refuses
(lone surrogates, 1e400), which therefore are no fault. NaN and Infinity it takes too, but nobody else does.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import msgspec

_CONSTANT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(-?Infinity|NaN)', re.DOTALL)
TOO_DEEP = "nested too deeply for Python's json (RecursionError)"
NON_FINITE = "is not JSON, although Python's json reads it"


class Decoded(NamedTuple):
    """A value, the index after it, and what is unusual about it (text, index), if anything."""

    value: Any
    end: int
    oddity: tuple[str, int] | None = None


class Malformed(Exception):
    """Text that is no JSON value: what is wrong, and the index where."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.text = text
        self.at = at


class _Constants:
    """Remembers whether NaN or Infinity was met; json tells the word but not the place."""

    def __init__(self) -> None:
        self.word = ""

    def __call__(self, word: str) -> float:
        self.word = self.word or word
        return float(word.lower())


_constants = _Constants()
_decoder = json.JSONDecoder(parse_constant=_constants)


def decode(text: str, start: int) -> Decoded:
    """Decode the value at `start`. Raises Malformed."""
    _constants.word = ""
    try:
        value, end = _decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise Malformed(_explained(text, error), error.pos) from None
    except RecursionError:
        raise Malformed(TOO_DEEP, start) from None
    except ValueError as error:  # an integer of more than 4300 digits
        raise Malformed(str(error).split(";")[0], start) from None
    try:
        msgspec.json.encode(value)
    except (UnicodeEncodeError, RecursionError, OverflowError):
        value = printable(value)
    oddity = None
    if _constants.word:
        found = next((m for m in _CONSTANT.finditer(text, start, end) if m.group(1)), None)
        oddity = (f"{_constants.word} {NON_FINITE}", found.start() if found else start)
    return Decoded(value, end, oddity)


def _explained(text: str, error: json.JSONDecodeError) -> str:
    """Python's message, and the cause when it is a usual one."""
    here = text[error.pos : error.pos + 1]
    before = text[max(0, error.pos - 80) : error.pos].rstrip()[-1:]
    if here == "'":
        return f"{error.msg}: strings in single quotes are Python, not JSON"
    if (
        "railing comma" in error.msg
        or (before == "," and here in ("}", "]"))
        or (here == "," and _closes(text, error.pos))
    ):
        return f"{error.msg}: a comma before a closing bracket is not JSON"
    if text.startswith(("True", "False", "None"), error.pos):
        return f"{error.msg}: True, False and None are Python, not JSON"
    return error.msg


def _closes(text: str, at: int) -> bool:
    return text[at + 1 : at + 81].lstrip()[:1] in ("}", "]")


def printable(value: Any) -> Any:
    """The value with lone surrogates replaced and absurdly deep parts cut, so that it can be measured and written."""
    return _printable(value, 50)


def _printable(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if depth == 0:
        return None
    if isinstance(value, list):
        return [_printable(v, depth - 1) for v in value]
    if isinstance(value, dict):
        return {_printable(k, depth): _printable(v, depth - 1) for k, v in value.items()}
    return value
