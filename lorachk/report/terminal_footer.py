"""The footer: what was not judged and why, what broke, and the verdict as the last thing read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from lorachk.engine.finding import Report, Severity, Skipped
from lorachk.report.escape import sentence, visible
from lorachk.report.terminal_layout import block, line
from lorachk.report.words import by_reason, looked_at, plural, verdict

_CODES = 12  # codes shown per reason


def footer(console: Console, report: Report) -> None:
    """Skipped, ignored, broken, partly known, then the verdict."""
    _reasons(console, "Skipped", report.skipped)
    _reasons(console, "Ignored", report.ignored)
    _list(console, "Only partly known", report.notes)
    _list(
        console,
        "Broken rules (a bug in the rule, not in your run)",
        [f"{r.rule} {r.name}: {r.reason}" for r in report.broken],
        "red",
    )
    _list(console, "Internal errors (a bug in lorachk, not in your run)", report.internal_errors, "red")
    block(console, Text(looked_at(report), style="dim"))
    block(console, Text(verdict(report), style=_style(report)))
    if report.findings:
        code = visible(max(report.findings, key=lambda f: f.severity).rule)
        line(console, Text.assemble(("`lorachk explain ", "dim"), (code, "dim"), ("` tells more about a rule.", "dim")))


def _style(report: Report) -> str:
    worst = report.worst()
    if worst is not None:
        return {Severity.error: "bold red", Severity.warning: "bold yellow", Severity.info: "bold"}[worst]
    clean = report.passed and not report.broken and not report.internal_errors
    return "bold green" if clean else "bold yellow"


def _reasons(console: Console, title: str, rules: Sequence[Skipped]) -> None:
    if not rules:
        return
    line(console, Text(f"{title} {plural(len(rules), 'rule')}:", style="bold"))
    for reason, codes in by_reason(rules):
        shown = ", ".join(codes[:_CODES]) + (f" and {len(codes) - _CODES} more" if len(codes) > _CODES else "")
        block(console, Text.assemble(shown, f": {reason}" if reason else ""), indent=2, mark=Text("- "))
    line(console, Text())


def _list(console: Console, title: str, texts: Iterable[str], style: str = "") -> None:
    texts = list(texts)
    if not texts:
        return
    line(console, Text(f"{title}:", style=f"bold {style}"))
    for text in texts:
        block(console, Text(sentence(text)), indent=2, mark=Text("- "))
    line(console, Text())
