"""GitHub workflow commands: annotations beside the lines. GitHub shows ten per step, so the worst come first."""

from __future__ import annotations

from lorachk.engine.finding import Finding, Report, Severity
from lorachk.report import Options
from lorachk.report.escape import command_data, command_property, no_commands, sentence, visible
from lorachk.report.words import by_reason, how_many, inside, short_fix, shown_path, verdict, worst_first

_LEVEL = {Severity.error: "error", Severity.warning: "warning", Severity.info: "notice"}


def render(report: Report, options: Options) -> str:
    """One command per finding, per broken rule and per internal error; then what was not judged, and the verdict."""
    lines = [_annotation(f, options) for f in worst_first(report)]
    for rule in report.broken:
        title = f"{visible(rule.rule)} {visible(rule.name)} broke"
        lines.append(_command("warning", {"title": title}, sentence(rule.reason)))
    lines += [_command("warning", {"title": "lorachk internal error"}, sentence(e)) for e in report.internal_errors]
    for word, rules in (("skipped", report.skipped), ("ignored", report.ignored)):
        lines += [no_commands(f"{word} {', '.join(codes)}: {reason}") for reason, codes in by_reason(rules)]
    return "\n".join([*lines, f"lorachk: {verdict(report)}", ""])


def _annotation(finding: Finding, options: Options) -> str:
    properties: dict[str, str] = {}
    place = next((p for p in finding.places if p.path), None)
    if place and place.path:
        properties["file"] = visible(shown_path(place.path, options.root))
        if place.line is not None and place.line > 0:
            properties["line"] = str(place.line)
            if place.column is not None and place.column > 0:
                properties["col"] = str(place.column)
    properties["title"] = f"{visible(finding.rule)} {visible(finding.name)}"
    text = [sentence(finding.message)]
    if many := how_many(finding):
        text.append(many)
    if place:
        text.append(": ".join(part for part in (inside(place), sentence(place.note or "")) if part))
    if fix := short_fix(finding.fix):
        text.append(f"Fix: {fix}")
    return _command(_LEVEL[finding.severity], properties, "\n".join(t for t in text if t))


def _command(level: str, properties: dict[str, str], text: str) -> str:
    # no_commands: the runner also reads its older "##[command]" form anywhere in a line.
    listed = ",".join(f"{k}={command_property(no_commands(v))}" for k, v in properties.items())
    return f"::{level} {listed}::{command_data(no_commands(text))}"
