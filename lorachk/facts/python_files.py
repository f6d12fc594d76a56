"""Python files read as text, with those they import from the same folder: parsed, never imported or run."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from lorachk.launchers.text import is_file, special

_LARGEST = 2**20  # bytes of one file
_TOTAL = 4 * 2**20  # bytes of all files
_FILES = 32


class Imports(Protocol):
    """What a scanner gives of a file."""

    @property
    def imports(self) -> list[str]:
        """Modules it imports: dotted names, with dots in front when relative."""


Scanned = TypeVar("Scanned", bound=Imports)


class Reading(NamedTuple):
    """Where files may lie, and what they are called together in a message."""

    home: Path  # nothing outside it is followed
    name: str  # "the training program"
    links: bool = False  # links that lead out of it are followed: Hugging Face's cache is made of them


class _Unread(Exception):
    """Why a file was not read."""


def followed(
    first: Iterable[str], reading: Reading, scan: Callable[[ast.Module], Scanned], problems: list[str]
) -> Iterator[tuple[str, Scanned]]:
    """The files `first` and the modules they import, directly or through each other; each file once.

    What could not be read is added to `problems`.
    """
    waiting = list(dict.fromkeys(first))
    seen, total = set(waiting), 0
    while waiting:
        path = waiting.pop(0)
        try:
            raw = _read(path)
            found = _parsed(path, raw, scan)
        except _Unread as problem:
            problems.append(str(problem))
            continue
        yield path, found
        total += len(raw)
        for module in found.imports:
            if (near := _beside(path, module, reading)) and near not in seen:
                if len(seen) >= _FILES or total > _TOTAL:
                    problems.append(f"{near} was not read: {reading.name} has more than {_FILES} files or 4 MiB")
                    break
                seen.add(near)
                waiting.append(near)


def _read(path: str) -> bytes:
    try:
        if nature := special(path):
            raise _Unread(f"{path} is {nature}, not a file")
        if Path(path).stat().st_size > _LARGEST:
            raise _Unread(f"{path} was not read: it has more than 1 MiB")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise _Unread(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _parsed(path: str, raw: bytes, scan: Callable[[ast.Module], Scanned]) -> Scanned:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in the user's strings is no business of ours
            return scan(ast.parse(raw, path))
    except SyntaxError as error:
        where = f"{path}:{error.lineno}" if error.lineno else path
        raise _Unread(f"{where} is not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes; brackets nested too deeply
        raise _Unread(f"{path} is not Python: {str(error) or type(error).__name__}") from None


def _beside(path: str, module: str, reading: Reading) -> str | None:
    """The file of an imported module below the home, or below the folder of the file that imports it."""
    home = reading.home
    real = os.path.abspath if reading.links else os.path.realpath
    name = module.lstrip(".")
    if not name:
        return None
    parts = name.split(".")
    level = len(module) - len(name)
    folder = Path(path).parent
    roots = [folder.joinpath(*[".."] * (level - 1))] if level else [folder, home]
    candidates = [root.joinpath(*parts) for root in roots]
    package = parts[:-1]
    if not level and package and folder.resolve().parts[-len(package) :] == tuple(package):
        candidates.append(folder / parts[-1])  # llava.train.llava_trainer, from llava/train/train.py
    for candidate in candidates:
        file = str(candidate.with_suffix(".py"))
        if is_file(file) and Path(real(file)).is_relative_to(real(home)):
            return file
    return None
