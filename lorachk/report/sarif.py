"""SARIF 2.1.0 (OASIS), with what GitHub code scanning needs to show a finding beside the line.

GitHub asks more than the standard: every result has a place with a start line, URIs are relative to the repository, and
its own `primaryLocationLineHash` tells one alert from another.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from lorachk import __version__
from lorachk.engine.finding import Finding, Place, Report, Severity, Skipped
from lorachk.report import Options
from lorachk.report.escape import dump_json, paragraphs, sentence, visible
from lorachk.report.fingerprint import fingerprints
from lorachk.report.words import how_many, shown_path, worst_first

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVEL = {Severity.error: "error", Severity.warning: "warning", Severity.info: "note"}
_PLACES = 10  # GitHub shows the first ones only; the count stands in the message
_WHOLE_RUN = "lorachk.toml"  # where a finding about the run as a whole is shown: GitHub refuses results without a file


def render(report: Report, options: Options) -> str:
    """One result per finding; what was skipped, ignored or broke is a notification of the invocation."""
    findings = worst_first(report)
    rules = _rules(report, options)
    index = {rule["id"]: position for position, rule in enumerate(rules)}
    results = [
        _result(finding, index, fingerprint, options)
        for finding, fingerprint in zip(findings, fingerprints(findings, options.root), strict=True)
    ]
    driver = {"name": "lorachk", "version": __version__, "semanticVersion": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "invocations": [_invocation(report)],
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The folder that lorachk was run in."}}},
        "results": results,
        "columnKind": "unicodeCodePoints",
    }
    return dump_json({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _message(text: str) -> dict[str, str]:
    # "](" would make an embedded link (SARIF 3.11.6) out of a file's text.
    return {"text": paragraphs(text).replace("](", "] (") or "-"}


def _rules(report: Report, options: Options) -> list[dict[str, Any]]:
    """Descriptors of all rules that were judged or would have been, by code."""
    found = {f.rule: f for f in reversed(worst_first(report))}
    outcomes = [*report.skipped, *report.ignored, *report.broken]
    names = {code: report.names.get(code, code) for code in report.passed}
    names |= {s.rule: s.name for s in outcomes} | {f.rule: f.name for f in report.findings}
    return [_rule(code, names[code], found.get(code), options) for code in sorted(names)]


def _rule(code: str, name: str, finding: Finding | None, options: Options) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": visible(code),
        "name": visible(name),
        "shortDescription": _message(name.replace("-", " ")),
    }
    if options.rule_uri:
        rule["helpUri"] = options.rule_uri.format(code=quote(code, safe=""), name=quote(name, safe=""))
    if finding:
        advice = f"{finding.fix.strip()}\n\n" if finding.fix.strip() else ""
        text = f"{advice}More: lorachk explain {code}"
        rule["defaultConfiguration"] = {"level": _LEVEL[finding.severity]}
        rule["help"] = {**_message(text), "markdown": paragraphs(text)}
    return rule


def _result(finding: Finding, index: dict[str, int], fingerprint: str, options: Options) -> dict[str, Any]:
    many = how_many(finding)
    text = f"{sentence(finding.message)} ({many})" if many and "%" not in finding.message else sentence(finding.message)
    result: dict[str, Any] = {
        "ruleId": visible(finding.rule),
        "ruleIndex": index[visible(finding.rule)],
        "level": _LEVEL[finding.severity],
        "message": _message(text),
        "locations": [_location(p, options) for p in finding.places[:_PLACES]] or [_location(Place(), options)],
        "partialFingerprints": {"lorachkFinding/v1": fingerprint, "primaryLocationLineHash": f"{fingerprint[:16]}:1"},
    }
    if finding.edits and (fix := _fix(finding, options)):
        result["fixes"] = [fix]
    if finding.total:
        result["occurrenceCount"] = max(finding.count, 1)
        result["properties"] = {"count": finding.count, "total": finding.total, "of": finding.of}
    return result


def _fix(finding: Finding, options: Options) -> dict[str, Any] | None:
    """The edits as what to put where in the files; None when one of them cannot be made, as in a script."""
    from lorachk.fixes.settings.patch import replacements

    changes = []
    for path in dict.fromkeys(edit.path for edit in finding.edits):
        regions = replacements(path, [edit for edit in finding.edits if edit.path == path])
        if not regions:
            return None
        changes.append(
            {
                "artifactLocation": _artifact(path, options),
                "replacements": [
                    {
                        "deletedRegion": dict(
                            zip(
                                ("startLine", "startColumn", "endLine", "endColumn"),
                                (*one.start, *one.end),
                                strict=True,
                            )
                        ),
                        "insertedContent": {"text": one.text},
                    }
                    for one in regions
                ],
            }
        )
    text = "lorachk --fix makes this change." if finding.safe else "lorachk --fix --unsafe-fixes makes this change."
    return {"description": _message(text), "artifactChanges": changes, "properties": {"safe": finding.safe}}


def _location(place: Place, options: Options) -> dict[str, Any]:
    region = {"startLine": place.line if place.line and place.line > 0 else 1}
    if place.line and place.line > 0 and place.column and place.column > 0:
        region["startColumn"] = place.column
    artifact = _artifact(place.path or _WHOLE_RUN, options)
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": artifact, "region": region}}
    if place.pointer:
        location["logicalLocations"] = [{"fullyQualifiedName": visible(place.pointer), "kind": "value"}]
    if place.note:
        location["message"] = _message(sentence(place.note))
    inside = {"record": place.record, "turn": place.turn}
    if known := {name: value for name, value in inside.items() if value is not None}:
        location["properties"] = known
    return location


def _artifact(path: str, options: Options) -> dict[str, str]:
    shown = shown_path(path, options.root)
    # Bytes that are no UTF-8 came in as lone surrogates and go out as the same bytes, percent-encoded.
    quoted = quote(shown.encode("utf-8", "surrogateescape" if _from_bytes(shown) else "backslashreplace"), safe="/")
    if PurePath(shown).is_absolute():
        return {"uri": f"file://{quoted}" if not quoted.startswith("//") else f"file:///{quoted.lstrip('/')}"}
    return {"uri": quoted, "uriBaseId": "%SRCROOT%"}


def _from_bytes(path: str) -> bool:
    return all(0xDC80 <= ord(c) <= 0xDCFF for c in path if 0xD800 <= ord(c) <= 0xDFFF)


def _invocation(report: Report) -> dict[str, Any]:
    configuration = [*_notes(report.skipped, "skipped", "note"), *_notes(report.ignored, "ignored", "note")]
    execution = list(_notes(report.broken, "broke", "error"))
    execution += [{"level": "error", "message": _message(f"internal error: {e}")} for e in report.internal_errors]
    execution += [{"level": "note", "message": _message(note)} for note in report.notes]
    return {
        "executionSuccessful": report.exit_code != 2 and not report.broken and not report.internal_errors,
        "exitCode": report.exit_code,
        "toolConfigurationNotifications": configuration,
        "toolExecutionNotifications": execution,
    }


def _notes(rules: Iterable[Skipped], what: str, level: str) -> Iterable[dict[str, Any]]:
    for rule in rules:
        text = f"{rule.rule} {rule.name} {what}: {rule.reason}"
        yield {"level": level, "message": _message(text), "associatedRule": {"id": visible(rule.rule)}}
