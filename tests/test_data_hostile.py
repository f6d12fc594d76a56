"""A dataset written to take over whoever reads the report: judged for real, shown in every format."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from lorachk.engine.finding import Report
from lorachk.engine.rules import builtin_rules
from lorachk.engine.select import Selection
from lorachk.engine.session import run_command
from lorachk.facts.collector import Options as Looking
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.report import FORMATS, Options, render
from tests.test_report_schemas import JUNIT, SARIF

_PLAIN = Options(color=False, width=80)
_ANSI = "\x1b[2J\x1b]8;;https://evil.example\x07x"
_COMMAND = "a\r\n::error file=x::owned\n##vso[task.setvariable]x"
_MARKUP = "]]></failure><script>alert(1)</script>[red]x[/red] ![x](http://evil.example/y.png)"
_BIDI = "\u202egpj.exe\u2066\u200b"
_LONE = "\ud800"
_HOSTILE = (_ANSI, _COMMAND, _MARKUP, _BIDI, _LONE)


def _turns(role: str, text: str = "<image>\nWhat?") -> list[dict[str, str]]:
    return [{"role": role, "content": text}, {"role": "assistant", "content": "A chart."}]


def _records() -> list[Any]:
    """Every hostile text as role, image name, image key and key of a record, among records that are in order."""
    records: list[Any] = []
    for text in _HOSTILE:
        records += [
            {"image": "ok.png", "conversations": _turns("user")},
            {"image": "ok.png", "conversations": _turns(text)},
            {"image": f"{text}.png", "conversations": _turns("user")},
            {
                "image": {"<image_00>": "ok.png", text: "ok.png"},
                "conversations": _turns("user", "<image_00> or <image_07>?"),
            },
            {"image": "ok.png", "conversations": _turns("user", f"<image> <|im_start|> <image> {text}"), text: text},
        ]
    return records


@pytest.fixture(
    scope="module", params=["train.json", f"tr\x1b[31m ::error::{_BIDI}.json"], ids=["plain", "hostile name"]
)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    from PIL import Image

    folder: Path = tmp_path_factory.mktemp("hostile")
    Image.new("RGB", (32, 32)).save(folder / "ok.png")
    data = folder / request.param
    data.write_text(json.dumps(_records(), indent=1))
    resolved = resolve(ResolveOptions(data=[str(data)], image_root=str(folder), trainer="minicpmv", isolated=True))
    found = run_command("data", resolved, options=Looking(), selection=Selection(), rules=[builtin_rules()])
    assert not found.internal_errors
    assert not found.broken
    return found


def _texts(report: Report) -> str:
    return "\n".join([f.message for f in report.findings] + [p.note or "" for f in report.findings for p in f.places])


def test_the_hostile_text_is_in_what_was_found(report: Report) -> None:
    """Else the tests below would prove nothing."""
    said = _texts(report)
    assert "\x1b[2J" in said
    assert "::error file=x" in said
    assert "</failure>" in said
    assert "\u202e" in said


def test_every_place_has_its_line_and_pointer(report: Report) -> None:
    """A person must be able to go there, whatever stands at the place."""
    places = [p for f in report.findings for p in f.places if p.record is not None]
    assert places
    source = _records()
    for place in places:
        assert place.line
        assert place.pointer
        value: Any = source
        for part in place.pointer.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            value = value[int(part)] if isinstance(value, list) else value[part]
        assert place.pointer.split("/")[1] == str(place.record)
    assert any(p.turn is not None for p in places)


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_of_it_reaches_the_reader_as_more_than_text(report: Report, format: str) -> None:
    text = render(report, format, _PLAIN)
    hidden = {c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert not hidden
    assert not re.search(r"##\w*\[", text)
    if format == "github":
        commands = [line for line in text.splitlines() if line.lstrip().startswith("::")]
        assert len(commands) == len(report.findings)
    else:
        assert not re.search(r"^\s*::", text, re.MULTILINE)
    if format == "markdown":
        assert "<script>" not in text
        assert "](http://evil" not in text


def test_sarif_of_a_dataset_is_valid_and_holds_its_places(report: Report) -> None:
    log = json.loads(render(report, "sarif"))
    jsonschema.Draft7Validator(SARIF, format_checker=jsonschema.FormatChecker()).validate(log)
    results = {r["ruleId"]: r for r in log["runs"][0]["results"]}
    assert results.keys() == {f.rule for f in report.findings}
    for finding in report.findings:
        regions = [p["physicalLocation"]["region"] for p in results[finding.rule].get("locations", [])]
        assert [r["startLine"] for r in regions] == [p.line for p in finding.places][: len(regions)]
        if any(p.record is not None for p in finding.places):
            assert regions


def test_junit_of_a_dataset_is_valid_and_a_failure_cannot_be_closed_from_inside(report: Report) -> None:
    root = ET.fromstring(render(report, "junit"))
    JUNIT.validate(root)
    failed = [case for case in root.iter("testcase") if case.find("failure") is not None]
    assert len(failed) == len({f.rule for f in report.findings if f.severity.name == "error"})
    assert any("</failure>" in (c.findtext("failure") or "") for c in failed)


def test_json_of_a_dataset_says_record_turn_and_line(report: Report) -> None:
    read = json.loads(render(report, "json"))
    places = [p for f in read["findings"] for p in f["locations"]]
    assert {"path", "line", "column", "pointer", "record", "turn"} <= places[0].keys()
    assert len(places) == sum(len(f.places) for f in report.findings)
