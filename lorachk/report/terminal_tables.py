"""Tables of the terminal report: what fits into memory, what takes it, how the rehearsal went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lorachk.engine.finding import Report
from lorachk.report import fit, rehearsed
from lorachk.report.escape import sentence
from lorachk.report.terminal_layout import block, line
from lorachk.report.words import gib

Row = Mapping[str, Any]


def tables(console: Console, report: Report) -> None:
    """Every table of the report that has rows."""
    fits = report.tables.get("fit", [])
    if fits:
        _fit(console, fits)
        _memory(console, fits, report.tables.get("memory", []))
    for row in report.tables.get("rehearsal", [])[:1]:
        _rehearsal(console, row, report.tables.get("step", []), report.tables.get("saved", []))


def _table(*heads: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    return table


def _title(console: Console, text: str) -> None:
    block(console, Text(text, style="bold"))


def _fit(console: Console, rows: Sequence[Row]) -> None:
    _title(console, fit.caption(rows))
    several = len(fit.gpus(rows)) > 1
    heads = list(fit.HEAD)
    if several:
        heads.insert(-1, "GPU")
    table = _table("", *heads, right=("peak", "needed", "available"))
    for row in rows:
        cells: list[str | Text] = list(fit.cells(row))
        cells[-1] = Text(str(cells[-1]), style={True: "green", False: "red"}.get(row.get("fits"), "dim"))  # type: ignore[arg-type]
        if several:
            cells.insert(-1, sentence(str(row.get("gpu") or "-")))
        table.add_row(">" if row.get("configured") else "", *cells, style="bold" if row.get("configured") else "")
    console.print(table)
    mine = fit.own(rows)
    if mine is not None:
        parts = ["> this run"]
        if mine.get("moment"):
            parts.append(f"its peak: {sentence(str(mine['moment']))}")
        if mine.get("host_needed"):
            parts.append(f"host memory: {gib(mine['host_needed'])}")
        block(console, Text("; ".join(parts), style="dim"))
    line(console, Text())


def _memory(console: Console, fits: Sequence[Row], memory: Sequence[Row]) -> None:
    rows = fit.own_components(fits, memory)
    if not rows:
        return
    _title(console, "What takes it in this run")
    host = any(r.get("host_bytes") for r in rows)
    table = _table("component", "GPU", *(["host"] if host else []), "how known", "what", right=("GPU", "host"))
    for row in rows:
        sizes = [gib(row.get("bytes")), *([gib(row.get("host_bytes"))] if host else [])]
        texts = [sentence(str(row.get(name) or "")) for name in ("component", "method", "detail")]
        table.add_row(texts[0], *sizes, *texts[1:])
    totals = [gib(sum(r.get(name) or 0 for r in rows)) for name in ("bytes", *(["host_bytes"] if host else []))]
    table.add_row("total", *totals, "", "", style="bold")
    console.print(table)
    line(console, Text())


def _rehearsal(console: Console, row: Row, steps: Sequence[Row], saved: Sequence[Row]) -> None:
    _title(console, f"Rehearsal: {rehearsed.what_ran(row)}")
    good = row.get("outcome") in (None, "ok")
    if said := rehearsed.conditions(row):
        block(console, Text(said), indent=2)
    block(console, Text(rehearsed.outcome(row), style="" if good else "red"), indent=2)
    if steps:
        head, body = rehearsed.steps(steps)
        table = _table("", *head, right=head)
        for cells in body:
            table.add_row("", *cells)
        console.print(table)
    if saved:
        block(console, Text(rehearsed.saved(saved)), indent=2)
    if row.get("versions"):
        block(console, Text(sentence(str(row["versions"])), style="dim"), indent=2)
    line(console, Text())
