"""Rows and tables for a person, a script or a page."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lorachk.engine.store import Result
from lorachk.errors import UsageError
from lorachk.facts.tables import LOCATION, Table, tables
from lorachk.report.escape import dump_json, markdown_cell, no_commands, visible


def show(result: Result, format: str, output: Path | None) -> None:
    """Write rows as table, json, csv or markdown. Raises UsageError when the file cannot be written."""
    from lorachk.report import put

    text = _FORMATS[format](result)
    if output is None and format != "json":  # a log must not take a cell for a command; JSON hides it itself
        text = no_commands(text)
    put(text, output)


def _cell(value: Any) -> str:
    """One value on one line; facts come from other people's files."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict) and set(value) == {"path", "line", "col", "pointer"}:
        return visible(":".join(str(value[k]) for k in ("path", "line", "col") if value[k] is not None))
    if isinstance(value, list):
        return f"[{', '.join(_cell(v) for v in value)}]"
    return visible(str(value))


def _table(result: Result) -> str:
    """Aligned columns; one row under the other where they do not fit the terminal."""
    import shutil

    rows = [[_cell(v) for v in row] for row in result.rows]
    widths = [max([len(c), *(len(r[i]) for r in rows)]) for i, c in enumerate(map(visible, result.columns))]
    wide = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if wide and sum(widths) + 2 * len(widths) > wide and len(result.columns) > 1:
        return _stacked(result.columns, rows)
    numeric = [
        any(v is not None for v in column) and all(v is None or type(v) in (int, float) for v in column)
        for column in (zip(*result.rows, strict=True) if result.rows else [[]] * len(widths))
    ]

    def line(cells: Sequence[str]) -> str:
        aligned = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(cells, widths, numeric, strict=True)]
        return "  ".join(aligned).rstrip() + "\n"

    head = line([visible(c) for c in result.columns]) + line(["-" * w for w in widths])
    count = f"({len(rows):,} row{'s' * (len(rows) != 1)})\n"
    return head + "".join(map(line, rows)) + count


def _stacked(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    width = max(len(visible(c)) for c in columns)
    parts = []
    for number, row in enumerate(rows, 1):
        parts.append(f"-- row {number}\n")
        parts += [f"{visible(c):<{width}}  {value}\n" for c, value in zip(columns, row, strict=True)]
    return "".join(parts) + f"({len(rows):,} row{'s' * (len(rows) != 1)})\n"


def _json(result: Result) -> str:
    return dump_json(result.dicts())


def _csv(result: Result) -> str:
    """RFC 4180; NULL is an empty field, control characters are spelled out."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([visible(c) for c in result.columns])
    writer.writerows([["" if v is None else _cell(v) for v in row] for row in result.rows])
    return out.getvalue()


def _markdown(result: Result) -> str:
    lines = [[markdown_cell(c) for c in result.columns], ["---"] * len(result.columns)]
    lines += [[markdown_cell(_cell(v)) for v in row] for row in result.rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


_FORMATS: dict[str, Callable[[Result], str]] = {"table": _table, "json": _json, "csv": _csv, "markdown": _markdown}


def show_tables(arguments: argparse.Namespace) -> int:
    """The fact tables with their columns, or one of them. Raises UsageError for a name that none has."""
    name = arguments.tables
    if name and name not in tables():
        import difflib

        near = difflib.get_close_matches(name, tables(), 2, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"tables: {', '.join(tables())}"
        raise UsageError(f"no fact table named {name!r}", where="--tables", hint=hint)
    chosen = [tables()[name]] if name else list(tables().values())
    output = Path(arguments.output) if arguments.output else None
    if arguments.format == "table":
        from lorachk.report import put

        put("\n".join(_described(table) for table in chosen), output)
    else:
        rows: list[tuple[Any, ...]] = [(t.name, c.name, _type(c.type), c.doc) for t in chosen for c in t.columns]
        show(Result(["table", "column", "type", "meaning"], rows), arguments.format, output)
    return 0


def _described(table: Table) -> str:
    columns = [c for c in table.columns if not (table.name == "run" and c.name.endswith("_at"))]
    wide, types = max(len(c.name) for c in columns), max(len(_type(c.type)) for c in columns)
    lines = [f"  {c.name:<{wide}}  {_type(c.type):<{types}}  {c.doc}".rstrip() for c in columns]
    if table.name == "run":
        lines.append(f"  {'<any of these>_at':<{wide}}  {'LOCATION':<{types}}  where it was read; NULL for a default")
    return f"{table.name}: {table.row}\n" + "\n".join(lines) + "\n"


def _type(kind: str) -> str:
    return kind.replace(LOCATION, "LOCATION")
