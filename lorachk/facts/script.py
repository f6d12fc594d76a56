"""Table script: what the training program does, read as text.

The program that the launch starts and the modules beside it are parsed, never imported: a launch file may come from
anywhere. Only files below the program's own folder are followed, so that a library's code is not taken for the user's.
"""

from __future__ import annotations

from pathlib import Path

from lorachk.facts.collector import Context
from lorachk.facts.python_files import Reading, followed
from lorachk.facts.script_scan import Row, scan, subclasses
from lorachk.launchers.text import is_file


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
    for path, found in followed([program], Reading(Path(program).parent, "the training program"), scan, problems):
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
