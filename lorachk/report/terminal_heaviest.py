"""The heaviest records in the terminal report: numbers in columns, the place last, so that it stays clickable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from lorachk.report import Options
from lorachk.report.heaviest import HEAD, caption, cells, verdict, where, why
from lorachk.report.terminal_layout import line

_LOST = ("replaced", "dropped", "crash")


def heaviest(console: Console, rows: Sequence[Mapping[str, Any]], options: Options) -> None:
    """The table; nothing without rows."""
    if not rows:
        return
    plain = console.options.ascii_only
    body = [(*cells(row, ascii=plain), verdict(row)) for row in rows]
    head = (*HEAD, "verdict")
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    line(console, Text(caption(rows), style="bold"))
    line(console, Text(f"  {_row(head, widths)}  where", style="bold"))
    for row, texts in zip(rows, body, strict=True):
        text = Text(f"  {_row(texts, widths)}  ", style="red" if verdict(row) in _LOST else "")
        text.append(where(row, options.root), style="cyan")
        if said := why(row):
            text.append(f"  {said}", style="dim")
        line(console, text)
    line(console, Text())


def _row(texts: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers to the right, the verdict to the left."""
    *numbers, last = texts
    aligned = [text.rjust(width) for text, width in zip(numbers, widths, strict=False)]
    return "  ".join([*aligned, last.ljust(widths[-1])])
