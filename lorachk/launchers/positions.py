"""JSON with the line and column of every value.

The standard library decides what is valid and says what is wrong; the scanner below only finds where values stand, on
text already known to be valid.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from lorachk.errors import UsageError
from lorachk.launchers.text import position, where
from lorachk.run import Location, Setting, Source

_BLANK = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCALAR = re.compile(r"[^\s,\]}]+")
_TRAILING = "there is a comma before the closing bracket"


class Leaf(NamedTuple):
    """A value without children: a scalar, or an empty array or object."""

    pointer: str
    value: Any
    line: int
    col: int


class Document(NamedTuple):
    """A parsed file: its value, leaves in order, the place of every node, and keys that stand twice."""

    value: Any
    leaves: list[Leaf]
    places: dict[str, tuple[int, int]]  # pointer -> line, column of the value
    duplicates: list[Leaf]  # the later of two equal keys, at the key


def escape(key: str) -> str:
    """A key as a part of an RFC 6901 pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def parts(pointer: str) -> list[str]:
    """The keys of an RFC 6901 pointer."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def settings_of(kind: str, path: str, document: Document) -> list[Setting]:
    """Every leaf of a file as a setting."""
    return [
        Setting(kind, leaf.pointer, leaf.value, Location(path, leaf.line, leaf.col, leaf.pointer))
        for leaf in document.leaves
    ]


def noted(source: Source, document: Document) -> Source:
    """The row of a file, with its first key that stands twice as what is wrong with it."""
    if not document.duplicates:
        return source
    twice = document.duplicates[0]
    problem = f'"{twice.value}" stands twice; the last one counts'
    return source._replace(problem=problem, line=twice.line, col=twice.col)


def leaves_of(value: Any, pointer: str = "") -> list[tuple[str, Any]]:
    """Pointers and values of every leaf of a parsed value, in order."""
    if isinstance(value, dict) and value:
        return [leaf for key, child in value.items() for leaf in leaves_of(child, f"{pointer}/{escape(str(key))}")]
    if isinstance(value, list) and value:
        return [leaf for index, child in enumerate(value) for leaf in leaves_of(child, f"{pointer}/{index}")]
    return [(pointer, value)]


def parse_json(text: str, path: str) -> Document:
    """Parse a JSON file; UsageError with `path:line:col` and what to do when it is not valid."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        message, hint = explain(text, error)
        offset = error.pos
        if message == _TRAILING:  # Python 3.13 points at the comma, older ones behind it
            offset = text.rindex(",", 0, error.pos + 1)
        raise UsageError(message, where=where(path, *position(text, offset)), hint=hint) from None
    except RecursionError:
        raise UsageError("nested too deeply to be a configuration file", where=path) from None
    scanner = _Scanner(text)
    scanner.value(0, "")
    leaves = [Leaf(pointer, leaf, *scanner.places[pointer]) for pointer, leaf in leaves_of(value)]
    return Document(value, leaves, scanner.places, scanner.duplicates)


def explain(text: str, error: json.JSONDecodeError) -> tuple[str, str | None]:
    """What is wrong with a JSON text, and what to do about it, for people who did not write a parser."""
    at, message = text[error.pos : error.pos + 8], error.msg
    before = text[: error.pos].rstrip()
    if not text.strip():
        return "the file is empty", 'an empty configuration is written "{}"'
    if at.startswith(("'", "‘", "’", "“", "”")):
        return f"{at[0]} is no JSON quote", 'write keys and strings in straight double quotes: "stage"'
    if at.startswith(("//", "/*", "#")):
        return "JSON has no comments", "delete the comment, or move it to the file that launches the run"
    if message.startswith("Illegal trailing comma") or (before.endswith(",") and at[:1] in ("}", "]")):
        return _TRAILING, "delete the last comma"
    for python, right in (("True", "true"), ("False", "false"), ("None", "null")):
        if at.startswith(python):
            return f"{python} is Python, not JSON", f"write {right}"
    if message.startswith("Extra data"):
        return "there is more after the end of the JSON value", "one file holds one JSON object"
    if error.pos >= len(text.rstrip()):
        return f"the file ends too early ({message})", "a closing bracket or quote is missing; was the file cut?"
    if message.startswith("Expecting ',' delimiter"):
        return f"expected a comma or closing bracket before {at.splitlines()[0]!r}", "look at the end of the line above"
    return message, None


class _Scanner:
    """Finds where each value of a valid JSON text starts."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.places: dict[str, tuple[int, int]] = {}
        self.duplicates: list[Leaf] = []
        self._line, self._start, self._seen = 1, 0, 0

    def _place(self, offset: int) -> tuple[int, int]:
        # values come in order, so lines are counted once over the whole text
        newlines = self.text.count("\n", self._seen, offset)
        if newlines:
            self._line += newlines
            self._start = self.text.rfind("\n", self._seen, offset) + 1
        self._seen = offset
        return self._line, offset - self._start + 1

    def _skip(self, offset: int) -> int:
        blank = _BLANK.match(self.text, offset)
        return blank.end() if blank else offset

    def value(self, offset: int, pointer: str) -> int:
        """Scan the value at `offset`; gives the offset behind it."""
        offset = self._skip(offset)
        self.places[pointer] = self._place(offset)
        first = self.text[offset]
        if first == "{":
            return self._object(offset, pointer)
        if first == "[":
            return self._array(offset, pointer)
        match = (_STRING if first == '"' else _SCALAR).match(self.text, offset)
        assert match is not None, "the text is valid JSON"
        return match.end()

    def _object(self, offset: int, pointer: str) -> int:
        keys: set[str] = set()
        offset = self._skip(offset + 1)
        while self.text[offset] != "}":
            match = _STRING.match(self.text, offset)
            assert match is not None, "the text is valid JSON"
            key = json.loads(match.group())
            below = f"{pointer}/{escape(key)}"
            if key in keys:
                self.duplicates.append(Leaf(below, key, *self._place(offset)))
                # the last one wins, as in the standard library: forget what stood below the first
                self.places = {k: v for k, v in self.places.items() if k != below and not k.startswith(below + "/")}
            keys.add(key)
            offset = self._skip(self.value(self._skip(match.end()) + 1, below))
            if self.text[offset] == ",":
                offset = self._skip(offset + 1)
        return offset + 1

    def _array(self, offset: int, pointer: str) -> int:
        index = 0
        offset = self._skip(offset + 1)
        while self.text[offset] != "]":
            offset = self._skip(self.value(offset, f"{pointer}/{index}"))
            index += 1
            if self.text[offset] == ",":
                offset = self._skip(offset + 1)
        return offset + 1
