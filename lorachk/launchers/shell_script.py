"""What a shell script would run, worked out without running it.

Variables are followed in order. Whatever only a shell, the environment or the cluster could tell stays unknown, with
the line that says so; nothing is guessed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lorachk.errors import UsageError
from lorachk.launchers.shell_values import substituted
from lorachk.launchers.shell_words import Command, Piece, Word, commands
from lorachk.launchers.text import inside, is_file, read_text, where
from lorachk.run import Source

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=")
_OPENING = {"if", "while", "until", "for", "case", "select", "function"}
_CLOSING = {"fi", "done", "esac"}
_FILLERS = {"then", "do", "else", "elif", "{", "}", "!", "time"}
_LONGEST = 2 << 20  # characters of one value, and pieces: Linux takes no more on a command line
_READING = {"source", "."}
_OF_MACHINE = {"activate", ".bashrc", ".bash_profile", ".profile", ".zshrc", "conda.sh", "setvars.sh", "modules.sh"}
_DECLARING = {"export", "declare", "local", "readonly", "typeset"}


class Field(NamedTuple):
    """One argument after expansion: its text, or why it is unknown; and where a person would change it."""

    text: str
    unknown: str | None
    line: int
    col: int
    file: str | None = None  # when it stands in a file that the script reads in


@dataclass
class Invocation:
    """A command the script runs: environment assignments in front of it, and its arguments."""

    arguments: list[Field]
    environment: dict[str, Field]
    line: int


@dataclass
class Script:
    """Everything a script does that matters here."""

    invocations: list[Invocation] = field(default_factory=list)
    variables: dict[str, Field] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)
    sources: list[Source] = field(default_factory=list)  # files that it reads in: source env.sh


def evaluate(text: str, path: str) -> Script:
    """Follow a script's assignments and list the commands it runs. UsageError for unclosed quotes."""
    try:
        return _Evaluator(path).follow(text)
    except RecursionError:
        raise UsageError("expansions are nested too deeply to be followed", where=path) from None


class _Evaluator:
    def __init__(self, path: str) -> None:
        self.path = path
        self.values: dict[str, list[Piece]] = {}  # expanded: text and unknown pieces only
        self.arrays: dict[str, list[Word]] = {}
        self.script = Script()
        self.branches: list[int] = []  # lines of the open if, while, case ...
        self.reading: list[str] = []  # files that are read in, the innermost last

    def follow(self, text: str) -> Script:
        for command in commands(text, self.path):
            self._command(command)
        for name in self.values:
            self.script.variables[name] = _join(self.values[name])
        return self.script

    def _command(self, command: Command) -> None:
        words, skipped = list(command.words), 0
        while words and (keyword := _plain(words[0])) is not None:
            if keyword in _OPENING:
                self.branches.append(command.line)
                if keyword in ("for", "select", "function") or keyword == "case":
                    self._loop_variable(keyword, words, command.line)
                    return
            elif keyword in _CLOSING:
                if self.branches:
                    self.branches.pop()
            elif keyword not in _FILLERS:
                break
            words, skipped = words[1:], skipped + 1
        if not words:
            return
        declares = _plain(words[0]) in _DECLARING
        if declares:
            exports = _plain(words[0]) == "export"
            for index, word in enumerate(words[1:], skipped + 1):
                if (name := self._assign(word, command.arrays.get(index))) and exports:
                    self.script.exported.add(name)
                elif exports and (plain := _plain(word)):
                    self.script.exported.add(plain)
            return
        before = 0
        while before < len(words) and _assignment(words[before]):
            before += 1
        if before == len(words):
            for index, word in enumerate(words, skipped):
                self._assign(word, command.arrays.get(index))
            return
        environment = {}
        for word in words[:before]:
            match = _assignment(word)
            assert match is not None
            environment[match[1]] = _join(self._scalar(_strip(word, match.end())))
        arguments = [argument for word in words[before:] for argument in self._fields(word)]
        if _plain(words[before]) in _READING and len(arguments) > 1:
            self._read_in(arguments[1])
            return
        if self.reading:  # what such a file runs is its own business: settings are read out of it
            return
        self.script.invocations.append(Invocation(arguments, environment, command.line))

    def _read_in(self, named: Field) -> None:
        """Follow the assignments of `source env.sh`, when that file is near; it is named from where the script stands.

        Virtual environments, profiles and whatever else a machine has of its own are no part of the run.
        """
        if named.unknown is not None or Path(named.text).name in _OF_MACHINE:
            return
        folders = [str(Path(self.path).parent), "."]
        path = next((p for folder in folders if is_file(p := inside(folder, named.text))), None)
        if path is None:
            return
        at = where(named.file or self.path, named.line, named.col)
        if os.path.realpath(path) in map(os.path.realpath, [self.path, *self.reading]):
            chain = " reads ".join([self.path, *self.reading, path])
            raise UsageError(f"the script reads itself in without end: {chain}", where=at, hint="take this line out")
        text, source = read_text(path, "launch", at)
        self.script.sources.append(source)
        self.reading.append(path)
        branches, self.branches = self.branches, []
        for command in commands(text, path):
            words = [_standing(word, path) for word in command.words]
            arrays = {index: [_standing(word, path) for word in array] for index, array in command.arrays.items()}
            self._command(command._replace(words=words, arrays=arrays))
        self.branches = branches
        self.reading.pop()

    def _loop_variable(self, keyword: str, words: list[Word], line: int) -> None:
        name = _plain(words[1]) if keyword in ("for", "select") and len(words) > 1 else None
        if keyword == "function":
            self.branches.pop()  # its body is braces, which are not followed
        if name:
            self.values[name] = [Piece("unknown", f"${name}", True, line, 1)]

    def _assign(self, word: Word, elements: list[Word] | None) -> str | None:
        match = _assignment(word)
        if match is None:
            return None
        name, appends = match[1], bool(match[2])
        if elements is not None:
            array = list(self.arrays.get(name, [])) if appends else []
            size = 0
            for element in elements:
                parts = self._split(element)
                size = self._bounded((piece for part in parts for piece in part), size, word[0])
                array += [tuple(part) for part in parts]
            self.arrays[name] = array
            self.values.pop(name, None)
            return name
        value = self._scalar(_strip(word, match.end()))
        if self.branches:
            # `$1` is empty when the script is launched without arguments: such branches do not run
            if any(piece.kind == "unknown" and re.fullmatch(r"\$\{?[0-9@*#]\}?", piece.text) for piece in value):
                return name
            if _text(self.values.get(name, [])) == _text(value):
                return name
            reason = f"${name}, set under a condition"
            value = [Piece("unknown", reason, True, self.branches[-1], 1)]
        self.values[name] = (self.values.get(name, []) if appends else []) + value
        self.arrays.pop(name, None)
        return name

    def _scalar(self, word: Word) -> list[Piece]:
        found: list[Piece] = []
        size = 0
        for source in word:
            expanded = self._expand(source)
            found += expanded
            size = self._bounded(expanded, size, source)
        return found

    def _bounded(self, pieces: Iterable[Piece], size: int, source: Piece) -> int:
        """`size` with what the pieces take. UsageError beyond what fits: A=$A$A$A, some dozen times."""
        size += sum(len(piece.text) + 16 for piece in pieces)
        if size > _LONGEST:
            at = where(self.path, source.line, source.col)
            hint = "a variable holds itself several times"
            raise UsageError("grows beyond what a command line can hold", where=at, hint=hint)
        return size

    def _expand(self, piece: Piece) -> list[Piece]:
        if piece.kind == "unknown":
            value = substituted(piece.text, self._known, self.path)
            return [piece if value is None else piece._replace(kind="text", text=value)]
        if piece.kind != "variable":
            return [piece]
        known = self.values.get(piece.text)
        if piece.text in self.arrays:
            joined: list[Piece] = []
            for element in self.arrays[piece.text]:
                joined += [*([Piece("text", " ", False, piece.line, piece.col)] if joined else []), *element]
            return joined
        if piece.operator.endswith("+"):
            counts = known is not None and (piece.operator == "+" or bool(_text(known)))
            return self._scalar(piece.default or ()) if counts else []
        if known is None or (piece.operator.startswith(":") and not _text(known) and not _is_unknown(known)):
            if piece.default is not None:
                default = self._scalar(piece.default)
                if piece.operator.endswith("="):
                    self.values[piece.text] = default
                return default
            if known is None:
                return [Piece("unknown", f"${piece.text}", piece.quoted, piece.line, piece.col)]
        return [part._replace(quoted=piece.quoted) for part in known or ()]

    def _known(self, name: str) -> str | None:
        value = self.values.get(name)
        return None if value is None or _is_unknown(value) else _text(value)

    def _split(self, word: Word) -> list[list[Piece]]:
        """Expand and split a word as the shell does: unquoted values split at blanks."""
        fields: list[list[Piece]] = [[]]
        fresh = True
        for source in word:
            if source.kind == "variable" and source.text in self.arrays and source.quoted:
                for index, element in enumerate(self.arrays[source.text]):
                    if index:
                        fields.append([])
                    fields[-1] += element
                    fresh = False
                continue
            expanded = self._expand(source)
            if source.quoted and not expanded:
                expanded = [Piece("text", "", True, source.line, source.col)]  # "" is an argument, nothing is none
            for piece in expanded:
                if source.kind == "text" or source.quoted or piece.quoted or piece.kind == "unknown":
                    fields[-1].append(piece)
                    fresh = False
                    continue
                for found in re.finditer(r"\s+|\S+", piece.text):
                    if found.group().isspace():
                        if not fresh:
                            fields.append([])
                            fresh = True
                    else:
                        fields[-1].append(piece._replace(text=found.group(), col=piece.col + found.start()))
                        fresh = False
        return [pieces for pieces in fields if pieces]

    def _fields(self, word: Word) -> list[Field]:
        return [_join(pieces) for pieces in self._split(word)]


def _standing(word: Word, file: str) -> Word:
    """The word as it stands in a file that is read in."""
    return tuple(
        piece._replace(file=file, default=None if piece.default is None else _standing(piece.default, file))
        for piece in word
    )


def _plain(word: Word) -> str | None:
    """The text of a word without quotes and variables."""
    return word[0].text if len(word) == 1 and word[0].kind == "text" and not word[0].quoted else None


def _assignment(word: Word) -> re.Match[str] | None:
    first = word[0]
    return _ASSIGNMENT.match(first.text) if first.kind == "text" and not first.quoted else None


def _strip(word: Word, count: int) -> Word:
    first = word[0]
    rest = first._replace(text=first.text[count:], col=first.col + count)
    return (rest, *word[1:]) if rest.text else word[1:]


def _text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _is_unknown(pieces: list[Piece]) -> bool:
    return any(piece.kind == "unknown" for piece in pieces)


def _join(pieces: list[Piece]) -> Field:
    first = next((piece for piece in pieces if piece.text.strip()), pieces[0] if pieces else None)
    reasons = [f"{piece.text} (line {piece.line})" for piece in pieces if piece.kind == "unknown"]
    place = (first.line, first.col) if first else (1, 1)
    return Field(_text(pieces), ", ".join(reasons) or None, *place, first.file if first else None)
