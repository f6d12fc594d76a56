"""JUnit XML as Jenkins and GitLab read it: one test case per rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from lorachk.engine.finding import Finding, Report, Skipped
from lorachk.report import Options
from lorachk.report.escape import paragraphs, sentence, visible
from lorachk.report.words import how_many, inside, more, short_fix, spot, worst_first

_LINE_START = re.compile(r"^(\s*)::", re.MULTILINE)


def render(report: Report, options: Options) -> str:
    """Findings at or above `options.fail_on` are failures; milder ones stand in a passing case's output."""
    cases = _cases(report, options)
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(c.find("failure") is not None for c in cases)),
        "errors": str(sum(c.find("error") is not None for c in cases)),
    }
    seconds = f"{max(report.seconds, 0):.3f}"
    suites = ET.Element("testsuites", {"name": "lorachk", **counts, "time": seconds})
    skipped = str(sum(c.find("skipped") is not None for c in cases))
    name = f"lorachk {visible(report.command)}".strip()
    suite = ET.SubElement(suites, "testsuite", {"name": name, **counts, "skipped": skipped, "time": seconds})
    suite.extend(cases)
    if report.notes:
        ET.SubElement(suite, "system-out").text = "\n".join(sentence(n) for n in report.notes)
    ET.indent(suites)
    text: str = ET.tostring(suites, encoding="us-ascii", xml_declaration=True).decode("ascii")
    # A CI log reads "##[" anywhere in a line and "::" at its start; XML spells both so that readers see no difference.
    return _LINE_START.sub(r"\1&#58;:", text.replace("##", "#&#35;")) + "\n"


def _cases(report: Report, options: Options) -> list[ET.Element]:
    by_rule: dict[str, list[Finding]] = {}
    for finding in worst_first(report):
        by_rule.setdefault(finding.rule, []).append(finding)
    cases = {code: _found(findings, report, options) for code, findings in by_rule.items()}
    for code in report.passed:
        cases.setdefault(code, _case(code, report.names.get(code, ""), report))
    for rule in report.skipped:
        cases.setdefault(rule.rule, _case(rule.rule, rule.name, report)).append(_told("skipped", rule))
    for rule in report.ignored:
        case = cases.setdefault(rule.rule, _case(rule.rule, rule.name, report))
        case.append(_told("skipped", rule, "ignored: "))
    for rule in report.broken:
        cases.setdefault(rule.rule, _case(rule.rule, rule.name, report)).append(_told("error", rule))
    ordered = [cases[code] for code in sorted(cases)]
    for error in report.internal_errors:
        case = _case("internal error", "", report)
        ET.SubElement(case, "error", {"type": "internal error", "message": sentence(error)}).text = paragraphs(error)
        ordered.append(case)
    return ordered


def _case(code: str, name: str, report: Report) -> ET.Element:
    title = f"{visible(code)} {visible(name)}".strip()
    classname = f"lorachk.{visible(report.command) or 'check'}"
    return ET.Element("testcase", {"classname": classname, "name": title, "time": "0.000"})


def _told(tag: str, rule: Skipped, prefix: str = "") -> ET.Element:
    return ET.Element(tag, {"type": tag, "message": f"{prefix}{sentence(rule.reason)}"})


def _found(findings: Sequence[Finding], report: Report, options: Options) -> ET.Element:
    first = findings[0]
    case = _case(first.rule, first.name, report)
    text = "\n\n".join(_text(f, options) for f in findings)
    if options.fail_on is None or first.severity < options.fail_on:
        ET.SubElement(case, "system-out").text = text
        return case
    message = sentence(first.message)
    if len(findings) > 1:
        message += f" (and {len(findings) - 1} more)"
    ET.SubElement(case, "failure", {"type": first.severity.name, "message": message}).text = text
    return case


def _text(finding: Finding, options: Options) -> str:
    lines = [f"{finding.severity.name}: {sentence(finding.message)}"]
    if many := how_many(finding):
        lines.append(many)
    for place in finding.places:
        parts = [spot(place, options.root), inside(place), sentence(place.note or "")]
        if line := "  ".join(p for p in parts if p):
            lines.append(f"  {line}")
    if rest := more(finding, finding.places):
        lines.append(f"  ... and {rest:,} more")
    if fix := short_fix(finding.fix):
        lines.append(f"Fix: {fix}")
    return "\n".join(lines)
