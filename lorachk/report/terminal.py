"""The report for people: findings worst first, tables, and a footer from which nothing is missing.

It reads alike at 80 columns, without colour and in a CI log; colour only repeats what the words say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from itertools import groupby

from rich.console import Console
from rich.text import Text

from lorachk.engine.finding import Finding, Place, Report, Severity
from lorachk.report import Options
from lorachk.report.escape import clipped, no_commands, sentence, visible
from lorachk.report.terminal_footer import footer
from lorachk.report.terminal_layout import block, line
from lorachk.report.words import changes, how_many, inside, more, short_fix, spot, worst_first

_STYLE = {Severity.error: "bold red", Severity.warning: "bold yellow", Severity.info: "bold cyan"}
_EXAMPLES = 5  # places shown per finding
_MESSAGES = 20  # findings shown per rule
_NOTE = 300  # characters of an example's note
_TRAILING_BLANKS = re.compile(r" +(?=(?:\x1b\[0m)?$)", re.MULTILINE)


def render(report: Report, options: Options) -> str:
    """The whole report as text, with colour where the terminal takes it."""
    console = _console(options)
    with console.capture() as captured:
        for _, group in groupby(worst_first(report), key=lambda f: (f.severity, f.rule)):
            _rule(console, list(group), options)
        if report.lengths:
            from lorachk.report.terminal_lengths import histogram

            histogram(console, report.lengths, report.sizes)
        if report.heaviest:
            from lorachk.report.terminal_heaviest import heaviest

            heaviest(console, report.heaviest, options)
        if report.tables.get("fit") or report.tables.get("rehearsal"):
            from lorachk.report.terminal_tables import tables  # rich's tables, a tenth of a small run

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


def _rule(console: Console, findings: Sequence[Finding], options: Options) -> None:
    """All findings of one rule under one head, with its advice once."""
    first = findings[0]
    style = _STYLE[first.severity]
    head = Text.assemble(
        (first.severity.name, style), (f"[{visible(first.rule)}]", style), " ", (visible(first.name), "bold")
    )
    if len(findings) > 1:
        head.append(f"  {len(findings):,} times")
    elif (many := how_many(first)) and not _says(sentence(first.message), first):
        head.append(f"  {many}")
    line(console, head)
    for finding in findings[:_MESSAGES]:
        _finding(console, finding, options)
    if len(findings) > _MESSAGES:
        rest = f"... and {len(findings) - _MESSAGES:,} more; --format concise lists all"
        line(console, Text(rest, style="dim"), indent=2)
    for fix in dict.fromkeys(short_fix(f.fix) for f in findings):
        if fix:
            block(console, Text(fix), indent=2, mark=Text("fix: ", style="bold green"))
    for change in changes(findings)[:_EXAMPLES]:
        block(console, Text(change), indent=2, mark=Text("     ", style="bold green"))
    line(console, Text())


def _finding(console: Console, finding: Finding, options: Options) -> None:
    message = sentence(finding.message)
    block(console, Text(message), indent=2)
    for place in finding.places[:_EXAMPLES]:
        _place(console, place, message, options)
    if rest := more(finding, finding.places[:_EXAMPLES]):
        line(console, Text(f"... and {rest:,} more", style="dim"), indent=4)


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
