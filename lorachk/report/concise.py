"""One line per finding, as editors and grep like it: `path:line:col: CODE message`."""

from __future__ import annotations

from lorachk.engine.finding import Report
from lorachk.report import Options
from lorachk.report.escape import no_commands, sentence, visible
from lorachk.report.words import spot, verdict, worst_first


def render(report: Report, options: Options) -> str:
    """The findings, worst first, and the verdict as last line."""
    lines = []
    for finding in worst_first(report):
        where = next((s for p in finding.places if (s := spot(p, options.root))), "run")
        lines.append(f"{where}: {finding.severity.name} {visible(finding.rule)} {sentence(finding.message)}")
    lines += [f"{visible(s.rule)} broke: {sentence(s.reason)}" for s in report.broken]
    lines += [f"internal error: {sentence(e)}" for e in report.internal_errors]
    return no_commands("\n".join([*lines, verdict(report), ""]))
