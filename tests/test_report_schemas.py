"""SARIF and JUnit against the official schemas; GitHub, GitLab and Jenkins drop what does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import xmlschema

from lorachk.engine.finding import Place, Severity
from lorachk.report import Options, render
from tests.report_samples import clean, full

_SCHEMAS = Path(__file__).parent / "schemas"
SARIF: dict[str, Any] = json.loads((_SCHEMAS / "sarif-schema-2.1.0.json").read_text())
JUNIT = xmlschema.XMLSchema(_SCHEMAS / "junit-10.xsd")


def _run(report: Any, options: Options | None = None) -> dict[str, Any]:
    log = json.loads(render(report, "sarif", options))
    jsonschema.Draft7Validator(SARIF, format_checker=jsonschema.FormatChecker()).validate(log)
    run = log["runs"][0]
    assert isinstance(run, dict)
    return run


def test_schema_refuses_nonsense() -> None:
    """A schema that takes anything would prove nothing."""
    log = json.loads(render(full(), "sarif"))
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert list(jsonschema.Draft7Validator(SARIF).iter_errors(log))
    root = ET.fromstring(render(full(), "junit"))
    ET.SubElement(root[0], "passed")
    assert not JUNIT.is_valid(root)


def test_sarif_results() -> None:
    """Level, places and counts as code scanning shows them."""
    results = {r["ruleId"]: r for r in _run(full())["results"]}
    assert {code: r["level"] for code, r in results.items()} == {
        "V101": "error",
        "Z101": "error",
        "D108": "warning",
        "Z208": "warning",
        "N107": "note",
    }
    places = results["Z101"]["locations"]
    assert places[0]["physicalLocation"] == {
        "artifactLocation": {"uri": "configs/ds_zero3.json", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 14, "startColumn": 20},
    }
    assert len(results["D108"]["locations"]) == 10
    assert results["D108"]["occurrenceCount"] == 133


def test_sarif_says_what_was_not_judged() -> None:
    """A green upload must not hide that a rule was skipped or broke."""
    invocation = _run(full())["invocations"][0]
    assert invocation["executionSuccessful"] is False  # a rule broke
    assert invocation["exitCode"] == 1
    assert [n["associatedRule"]["id"] for n in invocation["toolConfigurationNotifications"]] == [
        *("T101", "T102", "S101", "D111")
    ]
    assert _run(clean())["invocations"][0]["executionSuccessful"] is True


def test_sarif_uris(tmp_path: Path) -> None:
    """An absolute path below the root would not match any file of the repository; odd names need percent-encoding."""
    report = full()
    paths = (str(tmp_path / "data" / "train file#1.json"), "/elsewhere/ds.json", "a:b.json", "caf\udce9.json")
    report.findings = [replace(report.findings[1], places=tuple(Place(p) for p in paths))]
    places = _run(report, Options(root=tmp_path))["results"][0]["locations"]
    uris = [p["physicalLocation"]["artifactLocation"] for p in places]
    assert [u["uri"] for u in uris] == [
        "data/train%20file%231.json",
        "file:///elsewhere/ds.json",
        "a%3Ab.json",
        "caf%E9.json",
    ]
    assert "uriBaseId" not in uris[1]


def test_fingerprints_survive_edits() -> None:
    """Else every edit above a finding closes the alert and opens a new one."""

    def prints(report: Any) -> list[str]:
        return [r["partialFingerprints"]["lorachkFinding/v1"] for r in _run(report)["results"]]

    moved = full()
    moved.findings = [
        replace(f, count=f.count + 1, places=tuple(replace(p, line=(p.line or 0) + 40) for p in f.places))
        for f in moved.findings
    ]
    assert prints(moved) == prints(full())
    twice = full()
    twice.findings.append(twice.findings[0])
    assert len(set(prints(twice))) == len(twice.findings)


def test_rule_pages_are_linked() -> None:
    rules = _run(full(), Options(rule_uri="https://example.org/rules/{code}"))["tool"]["driver"]["rules"]
    assert {r["id"]: r["helpUri"] for r in rules}["Z101"] == "https://example.org/rules/Z101"


def test_junit_outcome_per_rule() -> None:
    """Passed, failed, skipped and broken rules each show as what they are; warnings do not fail the pipeline."""
    root = ET.fromstring(render(full(), "junit"))
    JUNIT.validate(root)
    outcome = {c.get("name", "").split()[0]: [child.tag for child in c] for c in root.iter("testcase")}
    assert outcome["D101"] == []
    assert outcome["Z101"] == ["failure"]
    assert outcome["D108"] == ["system-out"]
    assert outcome["T101"] == outcome["D111"] == ["skipped"]
    assert outcome["X901"] == outcome["internal"] == ["error"]
    assert root.attrib["failures"] == "2"


def test_junit_follows_fail_on() -> None:
    """The pipeline's verdict and the exit code must not contradict each other."""

    def failures(fail_on: Severity | None) -> str:
        return ET.fromstring(render(full(), "junit", Options(fail_on=fail_on))).attrib["failures"]

    assert [failures(level) for level in (None, Severity.error, Severity.warning, Severity.info)] == [*"0245"]
