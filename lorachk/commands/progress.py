"""What a person who waits sees on stderr: a spinner with words, or a bar with rate and time left. Else nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class Watched(NamedTuple):
    """What collectors call; None when nobody watches."""

    say: Callable[[str], None] | None = None  # one line
    bar: Callable[[int, int | None, str], None] | None = None  # done, total when known, of what


@contextmanager
def watching(console: Console | None = None) -> Iterator[Watched]:
    """Show progress while the block runs, on stderr and only when it is a terminal (or on the console given)."""
    if console is None:
        if not sys.stderr.isatty():
            yield Watched()
            return
        from rich.console import Console

        console = Console(stderr=True)
    with _progress(console) as progress:
        task = progress.add_task("", total=None)
        shown = ""

        def say(text: str) -> None:
            nonlocal shown
            shown = ""
            progress.reset(task, description=_line(text))
            progress.tasks[0].total = None  # to rich's own methods None means no change

        def bar(done: int, total: int | None, what: str) -> None:
            nonlocal shown
            if what != shown:  # another thing is counted: its rate begins anew
                shown = what
                progress.reset(task, description=_line(what))
            progress.tasks[0].total = total
            progress.update(task, completed=done)

        yield Watched(say, bar)


def _line(text: str) -> str:
    from rich.markup import escape

    from lorachk.report.escape import clipped, sentence

    return escape(clipped(sentence(text), 60))


def _progress(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Bar(BarColumn):
        def render(self, task: Task) -> object:  # type: ignore[override]
            return super().render(task) if task.total else Text("")

    class Left(TimeRemainingColumn):
        def render(self, task: Task) -> Text:
            return super().render(task) if task.total else Text("")

    class Count(ProgressColumn):
        """How many of how many, and how many per second."""

        def render(self, task: Task) -> Text:
            if not task.completed:
                return Text("")
            of = f" of {int(task.total):,}" if task.total else ""
            rate = f"  {task.speed:,.0f}/s" if task.speed else ""
            return Text(f"{int(task.completed):,}{of}{rate}")

    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), Bar(), Count(), Left(), console=console, transient=True
    )
