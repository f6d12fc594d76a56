"""The report for people: findings worst first, tables, and a footer from which nothing is missing.

It reads alike at 80 columns, without colour and in a CI log; colour only repeats what the words say.
"""

from __future__ import annotations

import re
from io import StringIO

from rich.console import Console
from rich.text import Text

from lorachk.engine.finding import Finding, Place, Report, Severity
from lorachk.report import Options
from lorachk.report.escape import clipped, no_commands, sentence, visible
from lorachk.report.terminal_footer import footer
from lorachk.report.terminal_layout import block, line
from lorachk.report.terminal_tables import tables
from lorachk.report.words import how_many, inside, more, short_fix, spot, worst_first

_STYLE = {Severity.error: "bold red", Severity.warning: "bold yellow", Severity.info: "bold cyan"}
_EXAMPLES = 5
_NOTE = 300  # characters of an example's note
_TRAILING_BLANKS = re.compile(r" +(?=(?:\x1b\[0m)?$)", re.MULTILINE)


def render(report: Report, options: Options) -> str:
    """The whole report as text, with colour where the terminal takes it."""
    console = _console(options)
    with console.capture() as captured:
        for finding in worst_first(report):
            _finding(console, finding, options)
        tables(console, report)
        footer(console, report)
    return no_commands(_TRAILING_BLANKS.sub("", captured.get()))


def _console(options: Options) -> Console:
    plain = options.color is False
    return Console(
        file=StringIO() if plain else None,
        width=options.width,
        no_color=True if plain else None,
        force_terminal={True: True, False: False, None: None}[options.color],
        highlight=False,
        markup=False,
        emoji=False,
    )


def _finding(console: Console, finding: Finding, options: Options) -> None:
    style = _STYLE[finding.severity]
    head = Text.assemble(
        (finding.severity.name, style), (f"[{visible(finding.rule)}]", style), " ", (visible(finding.name), "bold")
    )
    message = sentence(finding.message)
    if (many := how_many(finding)) and not _says(message, finding):
        head.append(f"  {many}")
    line(console, head)
    block(console, Text(message), indent=2)
    for place in finding.places[:_EXAMPLES]:
        _place(console, place, message, options)
    if rest := more(finding, finding.places[:_EXAMPLES]):
        line(console, Text(f"... and {rest:,} more", style="dim"), indent=4)
    if fix := short_fix(finding.fix):
        block(console, Text(fix), indent=2, mark=Text("fix: ", style="bold green"))
    line(console, Text())


def _says(message: str, finding: Finding) -> bool:
    """The message already tells how many, as most pages' messages do."""
    return f"{finding.count:,} of {finding.total:,}" in message and "%" in message


def _place(console: Console, place: Place, message: str, options: Options) -> None:
    where = spot(place, options.root)
    within = inside(place)
    note = clipped(sentence(place.note or ""), _NOTE)
    if note == message:
        note = ""
    text = Text.assemble((where, "cyan"), "  " if where and within else "", (within, "dim"))
    if text:
        line(console, text, indent=4)
    if note:
        block(console, Text(note), indent=6 if text else 4)
