"""The JSON report, version 1. It is stable: fields are added, never renamed; other tools read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from lorachk import __version__
from lorachk.engine.finding import Finding, Report, Skipped
from lorachk.report import Options
from lorachk.report.escape import dump_json
from lorachk.report.words import worst_first

VERSION = 1


def render(report: Report, options: Options) -> str:  # noqa: ARG001
    """Everything the report knows. Sizes are bytes, times are seconds, lines and columns count from 1."""
    heaviest = {} if report.heaviest is None else {"worst": report.heaviest}
    return dump_json(
        {
            "version": VERSION,
            "lorachk": __version__,
            "command": report.command,
            "exit_code": report.exit_code,
            "findings": [_finding(f) for f in worst_first(report)],
            "passed": report.passed,
            "skipped": _reasons(report.skipped),
            "ignored": _reasons(report.ignored),
            "broken": _reasons(report.broken),
            "internal_errors": report.internal_errors,
            "notes": report.notes,
            "facts": report.facts,
            "tables": report.tables,
            **heaviest,
            "seconds": round(report.seconds, 3),
        }
    )


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "name": finding.name,
        "severity": finding.severity.name,
        "message": finding.message,
        "fix": finding.fix or None,
        "count": finding.count,
        "total": finding.total,
        "of": finding.of,
        "share": finding.share,
        "locations": [asdict(p) for p in finding.places],
        **({"patch": _patch(finding)} if finding.edits else {}),
    }


def _patch(finding: Finding) -> dict[str, Any]:
    """The edits that mend it, as RFC 6902 operations per file; the operations of a script's file name its flags."""
    from lorachk.fixes.settings.patch import operations

    paths = dict.fromkeys(edit.path for edit in finding.edits)
    files = [
        {"path": path, "operations": operations(path, [edit for edit in finding.edits if edit.path == path])}
        for path in paths
    ]
    return {"safe": finding.safe, "files": files}


def _reasons(rules: Iterable[Skipped]) -> list[dict[str, str]]:
    return [{"rule": s.rule, "reason": s.reason} for s in rules]
