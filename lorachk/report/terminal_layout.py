"""Indented lines and blocks. Prose wraps at the terminal's width; places never wrap, so that they stay clickable."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def line(console: Console, text: Text, indent: int = 0) -> None:
    """One line that is never wrapped or cut."""
    console.print(Text(" " * indent) + text, soft_wrap=True)


def block(console: Console, text: Text, indent: int = 0, mark: Text | None = None) -> None:
    """A wrapped paragraph; `mark` opens it and the other lines hang below the text."""
    mark = mark or Text()
    hang = indent + mark.cell_len
    for number, wrapped in enumerate(text.wrap(console, max(console.width - hang, 20))):
        wrapped.rstrip()
        line(console, (mark if number == 0 else Text(" " * mark.cell_len)) + wrapped, indent)
