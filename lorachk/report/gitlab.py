"""GitLab Code Quality: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format."""

from __future__ import annotations

from typing import Any

from lorachk.engine.finding import Finding, Report, Severity
from lorachk.report import Options
from lorachk.report.escape import dump_json, sentence, visible
from lorachk.report.fingerprint import fingerprints
from lorachk.report.words import shown_path, worst_first

_SEVERITY = {Severity.error: "critical", Severity.warning: "major", Severity.info: "info"}


def render(report: Report, options: Options) -> str:
    """A JSON list with one issue per finding."""
    findings = worst_first(report)
    prints = fingerprints(findings, options.root)
    return dump_json([_issue(f, p, options) for f, p in zip(findings, prints, strict=True)])


def _issue(finding: Finding, fingerprint: str, options: Options) -> dict[str, Any]:
    place = next((p for p in finding.places if p.path), None)
    # GitLab drops issues without a file; lorachk.toml is the file that describes the run as a whole.
    path = shown_path(place.path, options.root) if place and place.path else "lorachk.toml"
    line = place.line if place and place.line and place.line > 0 else 1
    return {
        "description": f"{visible(finding.rule)} {visible(finding.name)}: {sentence(finding.message)}",
        "check_name": visible(finding.rule),
        "fingerprint": fingerprint,
        "severity": _SEVERITY[finding.severity],
        "location": {"path": visible(path), "lines": {"begin": line}},
    }
