"""Table script: what the training program does, read as text.

The program that the launch starts and the modules beside it are parsed, never imported: a launch file may come from
anywhere. Only files below the program's own folder are followed, so that a library's code is not taken for the user's.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

from lorachk.facts.collector import Context
from lorachk.facts.script_scan import Row, Scanned, scan, subclasses
from lorachk.launchers.text import is_file, special

_LARGEST = 2**20  # bytes of one file
_TOTAL = 4 * 2**20  # bytes of all files
_FILES = 32


class _Unread(Exception):
    """Why a file was not read."""


def collect(context: Context) -> None:
    """Fill script, and state what could not be read: then `script.file` is unknown, and is NULL without a program."""
    program = context.run.program
    reason = None
    if program is None:
        reason = "no launch file names the training program"
    elif not is_file(program):
        reason = f"the training program {program} is not here"
    if program is None or reason:
        context.sink.add("script", [{"kind": "program"}])
        context.sink.unknown("script.file", reason or "")
        return
    rows: list[Row] = []
    problems: list[str] = []
    for path, found in _files(program, problems):
        kind = "program" if path == program else "module"
        rows.append({"kind": kind, "file": path, "place": {"path": path, "line": None, "col": None, "pointer": None}})
        rows += [_row(path, row) for row in found.rows]
    if not rows:
        rows = [{"kind": "program"}]
    _mark_used(rows)
    context.sink.add("script", rows)
    if problems:
        context.sink.unknown("script.file", problems[0], len(problems))


def _row(path: str, row: Row) -> Row:
    line, col = row.pop("line"), row.pop("col")
    return {**row, "file": path, "place": {"path": path, "line": line, "col": col, "pointer": None}}


def _files(program: str, problems: list[str]) -> Iterator[tuple[str, Scanned]]:
    """The program and the modules beside it that it imports, directly or through each other; each file once."""
    waiting, seen, total = [program], {program}, 0
    while waiting:
        path = waiting.pop(0)
        try:
            raw = _read(path)
            found = _parsed(path, raw)
        except _Unread as problem:
            problems.append(str(problem))
            continue
        yield path, found
        total += len(raw)
        for module in found.imports:
            if (near := _beside(path, module, program)) and near not in seen:
                if len(seen) >= _FILES or total > _TOTAL:
                    problems.append(f"{near} was not read: the training program has more than {_FILES} files or 4 MiB")
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


def _parsed(path: str, raw: bytes) -> Scanned:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in the user's strings is no business of ours
            return scan(ast.parse(raw, path))
    except SyntaxError as error:
        where = f"{path}:{error.lineno}" if error.lineno else path
        raise _Unread(f"{where} is not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes; brackets nested too deeply
        raise _Unread(f"{path} is not Python: {str(error) or type(error).__name__}") from None


def _beside(path: str, module: str, program: str) -> str | None:
    """The file of an imported module below the program's folder, or below the folder of the file that imports it."""
    name = module.lstrip(".")
    if not name:
        return None
    parts = name.split(".")
    level = len(module) - len(name)
    home = Path(program).parent
    folder = Path(path).parent
    roots = [folder.joinpath(*[".."] * (level - 1))] if level else [folder, home]
    candidates = [root.joinpath(*parts) for root in roots]
    package = parts[:-1]
    if not level and package and folder.resolve().parts[-len(package) :] == tuple(package):
        candidates.append(folder / parts[-1])  # llava.train.llava_trainer, from llava/train/train.py
    for candidate in candidates:
        file = str(candidate.with_suffix(".py"))
        if is_file(file) and Path(file).resolve().is_relative_to(home.resolve()):
            return file
    return None


def _mark_used(rows: list[Row]) -> None:
    """`used` of Trainer subclasses: made somewhere, or the base of one that is; and of what stands in them."""
    bases = dict(subclasses(rows))
    made = {row["name"] for row in rows if row["kind"] == "trainer"}
    for name in list(made):
        while (base := bases.get(name, "").rpartition(".")[2]) and base not in made:
            made.add(base)
            name = base
    for row in rows:
        if row["kind"] == "class":
            row["used"] = row["name"] in made
        elif row["kind"] in ("method", "bypass"):
            owner = row["subject"] if row["kind"] == "method" else str(row.get("owner")).partition(".")[0]
            row["used"] = owner in made
