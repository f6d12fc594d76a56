"""TOML with the line and column of every value.

`tomllib` decides what is valid; the scanner below only finds where values stand, on text already known to be valid.
"""

from __future__ import annotations

import re
import sys

from lorachk.errors import UsageError
from lorachk.launchers.positions import Document, Leaf, escape, leaves_of
from lorachk.launchers.text import position, where

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

_AT = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'", re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}\n#]+")


def parse_toml(text: str, path: str) -> Document:
    """Parse a TOML file; UsageError with `path:line:col` when it is not valid."""
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        at = _AT.search(message)
        line, col = (int(at[1]), int(at[2])) if at and at[1] else position(text, len(text))
        hint = "strings need quotes, tables are [name]" if "Invalid value" in message else None
        raise UsageError(_AT.sub("", message), where=where(path, line, col), hint=hint) from None
    except RecursionError:
        raise UsageError("nested too deeply to be a configuration file", where=path) from None
    places = _Scanner(text).places()
    leaves = [Leaf(pointer, leaf, *_place(places, pointer)) for pointer, leaf in leaves_of(value)]
    return Document(value, leaves, places, [])


def _place(places: dict[str, tuple[int, int]], pointer: str) -> tuple[int, int]:
    while pointer not in places and pointer:
        pointer = pointer.rpartition("/")[0]
    return places.get(pointer, (1, 1))


class _Scanner:
    """Finds where each value of a valid TOML text starts."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._places: dict[str, tuple[int, int]] = {}
        self._counts: dict[str, int] = {}  # elements of arrays of tables so far

    def places(self) -> dict[str, tuple[int, int]]:
        """Line and column of every value, by pointer."""
        table, offset = "", self._match(_GAP, 0)
        while offset < len(self.text):
            if self.text[offset] == "[":
                table, offset = self._header(offset)
            else:
                offset = self._pair(offset, table)
            offset = self._match(_GAP, offset)
        return self._places

    def _match(self, pattern: re.Pattern[str], offset: int) -> int:
        match = pattern.match(self.text, offset)
        return match.end() if match else offset

    def _header(self, offset: int) -> tuple[str, int]:
        array = self.text.startswith("[[", offset)
        keys, end = self._key(offset + 1 + array)
        parent = self._resolve(keys[:-1])
        pointer = f"{parent}/{escape(keys[-1])}"
        if array:
            count = self._counts[pointer] = self._counts.get(pointer, -1) + 1
            self._places.setdefault(pointer, position(self.text, offset))
            pointer = f"{pointer}/{count}"
        self._places.setdefault(pointer, position(self.text, offset))
        return pointer, self._match(_BLANK, end) + 1 + array

    def _resolve(self, keys: list[str]) -> str:
        """The pointer of a table header; a part that is an array of tables means its last element."""
        pointer = ""
        for key in keys:
            pointer = f"{pointer}/{escape(key)}"
            if pointer in self._counts:
                pointer = f"{pointer}/{self._counts[pointer]}"
        return pointer

    def _key(self, offset: int) -> tuple[list[str], int]:
        keys: list[str] = []
        while True:
            offset = self._match(_BLANK, offset)
            match = (_STRING if self.text[offset] in "\"'" else _BARE).match(self.text, offset)
            assert match is not None, "the text is valid TOML"
            word = match.group()
            keys.append(str(tomllib.loads(f"key = {word}")["key"]) if word[0] in "\"'" else word)
            offset = self._match(_BLANK, match.end())
            if self.text[offset] != ".":
                return keys, offset
            offset += 1

    def _pair(self, offset: int, table: str) -> int:
        keys, end = self._key(offset)
        pointer = table
        for key in keys[:-1]:
            pointer = f"{pointer}/{escape(key)}"
            self._places.setdefault(pointer, position(self.text, offset))
        return self._value(self._match(_BLANK, end + 1), f"{pointer}/{escape(keys[-1])}")

    def _value(self, offset: int, pointer: str) -> int:
        self._places[pointer] = position(self.text, offset)
        first = self.text[offset]
        if first in "\"'":
            return self._match(_STRING, offset)
        if first == "[":
            return self._array(offset, pointer)
        if first == "{":
            return self._inline(offset, pointer)
        return self._match(_SCALAR, offset)

    def _array(self, offset: int, pointer: str) -> int:
        offset, index = self._match(_GAP, offset + 1), 0
        while self.text[offset] != "]":
            offset = self._match(_GAP, self._value(offset, f"{pointer}/{index}"))
            index += 1
            if self.text[offset] == ",":
                offset = self._match(_GAP, offset + 1)
        return offset + 1

    def _inline(self, offset: int, pointer: str) -> int:
        offset = self._match(_GAP, offset + 1)
        while self.text[offset] != "}":
            offset = self._match(_GAP, self._pair(offset, pointer))
            if self.text[offset] == ",":
                offset = self._match(_GAP, offset + 1)
        return offset + 1
