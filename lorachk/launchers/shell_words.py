"""Shell text to commands of words, for scripts that are read and never run.

A word keeps where each of its characters stands, so that a value that came through `$MODEL` is shown where MODEL is
set.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from copy import copy
from typing import NamedTuple

from lorachk.errors import UsageError
from lorachk.launchers.text import where

_NAME = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!-]")
_CONTROL = re.compile(r"\|\||&&|;;|\n|[;&|()]")
_REDIRECT = re.compile(r"[0-9]*(?:<<<|>>|<&|>&|&>>|&>|<|>)(?:&?[0-9-])?")


class Piece(NamedTuple):
    """A stretch of a word: literal text, a variable, or something only a shell can tell."""

    kind: str  # text, variable, unknown
    text: str  # the text, the variable's name, or the source of the unknown
    quoted: bool
    line: int
    col: int
    default: tuple[Piece, ...] | None = None  # ${NAME:-default}
    operator: str = ""  # :- - := = + :+ for variables with a default
    file: str | None = None  # where it stands, when that is a file that the script reads in


Word = tuple[Piece, ...]


class Command(NamedTuple):
    """A simple command. `arrays` holds the elements of NAME=( ... ) by the index of their word."""

    words: list[Word]
    line: int
    arrays: dict[int, list[Word]]
    ends: str  # the operator behind it


class _Reader:
    def __init__(self, text: str, path: str) -> None:
        self.text, self.path, self.offset = text, path, 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]

    def at(self, offset: int) -> tuple[int, int]:
        """Line and column; looked up, as counting from the start for each word takes minutes in a long script."""
        line = bisect_left(self._newlines, offset)
        return line + 1, offset - (self._newlines[line - 1] if line else -1)

    def inner(self, offset: int, end: int) -> _Reader:
        """A reader of the part from `offset` to `end`, with the same places."""
        part = copy(self)
        part.text, part.offset = self.text[:end], offset
        return part

    def where(self, offset: int) -> str:
        return where(self.path, *self.at(offset))

    def fail(self, message: str, offset: int) -> UsageError:
        return UsageError(message, where=self.where(offset), hint="the script is read as bash would read it")


def commands(text: str, path: str) -> Iterator[Command]:
    """The simple commands of a script in order. UsageError when a quote or bracket is never closed."""
    reader = _Reader(text, path)
    words: list[Word] = []
    arrays: dict[int, list[Word]] = {}
    line = 1
    while reader.offset < len(text):
        _skip_blank(reader)
        if reader.offset >= len(text):
            break
        control = _CONTROL.match(text, reader.offset)
        redirect = _REDIRECT.match(text, reader.offset)
        if redirect and not text.startswith(("<(", ">("), redirect.start()):
            reader.offset = redirect.end()
            if redirect.group()[-1] in "<>&":
                _skip_blank(reader)
                _word(reader)
            continue
        if control:
            reader.offset = control.end()
            if words:
                yield Command(words, line, arrays, control.group())
                words, arrays = [], {}
            elif control.group() in "()":
                yield Command([], line, {}, control.group())
            continue
        if not words:
            line = reader.at(reader.offset)[0]
        word = _word(reader)
        if _opens_array(word) and text.startswith("(", reader.offset):
            arrays[len(words)] = _array(reader)
        words.append(word)
    if words:
        yield Command(words, line, arrays, "\n")


def _opens_array(word: Word) -> bool:
    last = word[-1]
    return last.kind == "text" and not last.quoted and last.text.endswith("=")


def _skip_blank(reader: _Reader) -> None:
    text = reader.text
    while reader.offset < len(text):
        if text[reader.offset] in " \t\r":
            reader.offset += 1
        elif text.startswith("\\\n", reader.offset) or text.startswith("\\\r\n", reader.offset):
            reader.offset = text.index("\n", reader.offset) + 1
        elif text[reader.offset] == "#":
            end = text.find("\n", reader.offset)
            reader.offset = len(text) if end < 0 else end
        else:
            return


def _array(reader: _Reader) -> list[Word]:
    opened = reader.offset
    words: list[Word] = []
    reader.offset += 1
    while True:
        _skip_blank(reader)
        if reader.offset >= len(reader.text):
            raise reader.fail("this bracket is never closed", opened)
        if reader.text[reader.offset] == "\n":
            reader.offset += 1
        elif reader.text[reader.offset] == ")":
            reader.offset += 1
            return words
        else:
            words.append(_word(reader))


def _word(reader: _Reader) -> Word:
    pieces: list[Piece] = []
    text, begun = reader.text, reader.offset
    while reader.offset < len(text):
        char = text[reader.offset]
        if char in " \t\r\n;&|<>()":
            break
        if char == "'":
            end = text.find("'", reader.offset + 1)
            if end < 0:
                raise reader.fail("this single quote is never closed", reader.offset)
            pieces += _literal(reader, text[reader.offset + 1 : end], reader.offset + 1, quoted=True)
            reader.offset = end + 1
        elif char == '"':
            pieces += _double_quoted(reader)
        elif char in "$`":
            pieces.append(_expansion(reader, quoted=False))
        elif char == "\\":
            if text.startswith(("\\\n", "\\\r\n"), reader.offset):
                reader.offset = text.index("\n", reader.offset) + 1
            else:
                pieces += _literal(reader, text[reader.offset + 1 : reader.offset + 2], reader.offset + 1, quoted=True)
                reader.offset += 2
        else:
            end = reader.offset
            while end < len(text) and text[end] not in " \t\r\n;&|<>()'\"$`\\":
                end += 1
            pieces += _literal(reader, text[reader.offset : end], reader.offset, quoted=False)
            reader.offset = end
    if reader.offset == begun:  # a character no word starts with, such as a stray bracket
        reader.offset += 1
    return tuple(pieces) or (Piece("text", "", True, *reader.at(begun)),)


def _literal(reader: _Reader, content: str, offset: int, *, quoted: bool) -> list[Piece]:
    """Text pieces, one per line, so that each knows its line and column."""
    if not content:
        return [Piece("text", "", quoted, *reader.at(offset))] if quoted else []
    pieces = []
    for part in content.splitlines(keepends=True):
        pieces.append(Piece("text", part, quoted, *reader.at(offset)))
        offset += len(part)
    return pieces


def _double_quoted(reader: _Reader) -> list[Piece]:
    text, opened = reader.text, reader.offset
    reader.offset += 1
    pieces: list[Piece] = []
    start, run = reader.offset, ""
    while True:
        char = text[reader.offset : reader.offset + 1]
        if char and char not in '"$`\\':
            if not run:
                start = reader.offset
            run += char
            reader.offset += 1
            if char == "\n":
                pieces += _literal(reader, run, start, quoted=True)
                run = ""
            continue
        if run:
            pieces += _literal(reader, run, start, quoted=True)
            run = ""
        if not char:
            raise reader.fail("this double quote is never closed", opened)
        if char == '"':
            reader.offset += 1
            return pieces or [Piece("text", "", True, *reader.at(opened))]
        if char == "\\":
            after = text[reader.offset + 1 : reader.offset + 2]
            if after == "\n" or text.startswith("\r\n", reader.offset + 1):
                reader.offset = text.index("\n", reader.offset) + 1
            else:
                kept = after if after in '"$`\\' else "\\" + after  # bash keeps the backslash of "\d"
                pieces += _literal(reader, kept, reader.offset, quoted=True)
                reader.offset += 2
        else:
            pieces.append(_expansion(reader, quoted=True))


def _expansion(reader: _Reader, *, quoted: bool) -> Piece:
    text, begun = reader.text, reader.offset
    at = reader.at(begun)
    if text.startswith(("$(", "`"), begun):
        reader.offset = _closing(reader)
        return Piece("unknown", text[begun : reader.offset], quoted, *at)
    if text.startswith("${", begun):
        end = _closing(reader)
        inside = text[begun + 2 : end - 1]
        reader.offset = end
        name = _NAME.match(inside)
        rest = inside[name.end() :] if name else inside
        if name and rest in ("", "[@]", "[*]"):
            return Piece("variable", name.group(), quoted, *at)
        operator = re.match(r":?[-=+]", rest) if name else None
        if name and operator:
            default = _until(reader.inner(begun + 2 + name.end() + operator.end(), end - 1), end - 1)
            return Piece("variable", name.group(), quoted, *at, default, operator.group())
        return Piece("unknown", text[begun:end], quoted, *at)
    name = _NAME.match(text, begun + 1)
    if name is None:
        reader.offset += 1
        return Piece("text", "$", quoted, *at)
    found = name.group() if name.group()[0].isalpha() or name.group()[0] == "_" else name.group()[0]
    reader.offset = begun + 1 + len(found)
    return Piece("variable", found, quoted, *at)


def _until(inner: _Reader, end: int) -> Word:
    """The word up to `end`, the inside of a default value."""
    pieces: list[Piece] = []
    while inner.offset < end:
        before = inner.offset
        pieces += [piece for piece in _word(inner) if piece.text or piece.kind != "text"]
        if inner.offset <= before or (inner.offset < end and inner.text[inner.offset] in " \t\n;&|<>()"):
            gap = inner.text[inner.offset]
            pieces += _literal(inner, gap, inner.offset, quoted=False)
            inner.offset += 1
    return tuple(pieces)


def _closing(reader: _Reader) -> int:
    """The offset behind the bracket or backtick that closes the expansion at the reader's offset."""
    text, begun = reader.text, reader.offset
    if text[begun] == "`":
        end = text.find("`", begun + 1)
        if end < 0:
            raise reader.fail("this backtick is never closed", begun)
        return end + 1
    opening, closing = text[begun + 1], {"(": ")", "{": "}"}[text[begun + 1]]
    depth, offset, quote = 0, begun + 1, ""
    while offset < len(text):
        char = text[offset]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and opening == "(":
            quote = char
        elif char == opening:
            depth += 1
        elif char == closing:
            depth -= 1
            if depth == 0:
                return offset + 1
        offset += 2 if char == "\\" else 1
    raise reader.fail(f"this ${opening} is never closed", begun)
