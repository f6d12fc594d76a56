"""Any text in any field. A dataset or file name could else take over the terminal, the CI job or the reader's page."""

from __future__ import annotations

import json
import re
import unicodedata
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.engine.finding import Finding, Place, Report, Severity, Skipped
from lorachk.report import FORMATS, Options, render
from lorachk.report.escape import command_data, command_property
from tests.test_report_schemas import JUNIT, SARIF

_NASTY = (
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07",
    "\x9b2J",
    "a\r\n::error::boo",
    "::set-output name=x::1",
    "##[add-path]/tmp",
    "##vso[task.setvariable]x",
    "[red]text[/red]",
    "[/]",
    ":warning:",
    "\u202egpj.exe",
    "\u2066\u200b\ufeff",
    "\U000e0041",
    "\ufffe\uffff\x00",
    "\ud800",
    "caf\udce9",
    "]]>",
    "</system-out>",
    "<script>alert(1)</script>",
    "| a | b |",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/y.png)",
    "{0} {name}",
    "%0A,:%",
    "100%",
    "~~~\n# head",
    "```",
    "`a`www.evil.example",
    "漢字 👩‍💻",
)
_TEXT = st.one_of(st.sampled_from(_NASTY), st.text(max_size=30), st.lists(st.sampled_from(_NASTY)).map(" ".join))
_MAYBE = st.none() | _TEXT
_NUMBER = st.none() | st.integers(-2, 10**6)
_PLACE = st.builds(Place, _MAYBE, _NUMBER, _NUMBER, _MAYBE, _NUMBER, _NUMBER, _MAYBE)
_FINDING = st.builds(
    Finding,
    rule=_TEXT,
    name=_TEXT,
    severity=st.sampled_from(Severity),
    message=_TEXT,
    fix=_TEXT,
    places=st.lists(_PLACE, max_size=7).map(tuple),
    count=st.integers(0, 10**6),
    total=st.none() | st.integers(0, 10**6),
    of=_MAYBE,
)
_RULES = st.lists(st.builds(Skipped, _TEXT, _TEXT, _TEXT), max_size=3)
_VALUE = st.one_of(st.none(), _TEXT, st.booleans(), st.integers(0, 10**12), st.floats())
_SIZE = st.none() | st.integers(0, 10**12)
_FIT = st.fixed_dictionaries(
    {
        **dict.fromkeys(("offload_optimizer", "offload_param", "gpu", "moment"), _MAYBE),
        **dict.fromkeys(("zero_stage", "peak_allocated", "needed", "available", "sequence", "micro_batch"), _SIZE),
        "configured": st.booleans(),
        "fits": st.none() | st.booleans(),
    }
)
_REHEARSAL = st.fixed_dictionaries(
    {
        **dict.fromkeys(("model", "architecture", "outcome", "phase", "error_type", "error", "versions"), _MAYBE),
        **dict.fromkeys(("parameters", "trainable", "world_size", "zero_stage", "steps"), _SIZE),
    }
)
_STEP = st.fixed_dictionaries(
    {"step": st.integers(0, 3), "loss": st.none() | st.floats(), "grad_norm": st.none() | st.floats()}
)
_REPORT = st.builds(
    Report,
    command=_TEXT,
    findings=st.lists(_FINDING, max_size=3),
    passed=st.lists(_TEXT, max_size=2),
    skipped=_RULES,
    ignored=_RULES,
    broken=_RULES,
    internal_errors=st.lists(_TEXT, max_size=2),
    facts=st.dictionaries(st.sampled_from(["record", "image"]) | _TEXT, st.integers(0, 10**9), max_size=3),
    names=st.dictionaries(_TEXT, _TEXT, max_size=2),
    notes=st.lists(_TEXT, max_size=2),
    tables=st.fixed_dictionaries(
        {
            "fit": st.lists(_FIT, max_size=2),
            "rehearsal": st.lists(_REHEARSAL, max_size=1),
            "step": st.lists(_STEP, max_size=2),
            "gpu": st.lists(st.dictionaries(_TEXT, _VALUE, max_size=2), max_size=2),
        }
    ),
    seconds=st.floats(0, 1e5),
    exit_code=st.integers(0, 3),
)
_PLAIN = Options(color=False, width=80)
_COMMAND = re.compile(r"^\s*::|##\w*\[", re.MULTILINE)
_quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def _hidden(text: str) -> set[str]:
    return {c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_hidden_gets_out(format: str) -> None:
    @_quick
    @given(_REPORT)
    def check(report: Report) -> None:
        text = render(report, format, _PLAIN)
        # Two emoji of lorachk's own Markdown hold a variation selector, which is category Mn.
        assert not _hidden(text)
        assert text.endswith("\n")
        if format != "github":
            assert not _COMMAND.search(text)

    check()


@_quick
@given(_REPORT)
def test_json_reads_back_exactly(report: Report) -> None:
    """A tool that looks up the path needs the path, not its escaped form."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    read = json.loads(render(report, "json"), parse_constant=refuse)
    want = sorted(f.message.encode("utf-8", "backslashreplace").decode() for f in report.findings)
    assert sorted(f["message"] for f in read["findings"]) == want


@_quick
@given(_REPORT)
def test_sarif_is_always_valid(report: Report) -> None:
    log = json.loads(render(report, "sarif"))
    jsonschema.Draft7Validator(SARIF).validate(log)
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in log["runs"][0]["results"])


@_quick
@given(_REPORT)
def test_junit_is_always_valid(report: Report) -> None:
    JUNIT.validate(ET.fromstring(render(report, "junit")))


_ANNOTATION = re.compile(r"::(error|warning|notice) ((?:\w+=[^,:\r\n]*,?)+)::([^\r\n]*)")


@_quick
@given(_REPORT)
def test_github_commands_are_ours_only(report: Report) -> None:
    """As many commands as findings and failures, each of the three kinds, no matter what the texts hold."""
    lines = render(report, "github").splitlines()
    commands = [line for line in lines if line.lstrip().startswith("::")]
    assert len(commands) == len(report.findings) + len(report.broken) + len(report.internal_errors)
    assert all(_ANNOTATION.fullmatch(c) for c in commands)
    assert not any("##[" in line for line in lines)


@given(st.text())
def test_workflow_escapes_can_be_undone(text: str) -> None:
    """The runner undoes them in this order; a text that comes back changed would point to a file that is not there."""
    for escaped, codes in (
        (command_data(text), (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))),
        (command_property(text), (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))),
    ):
        assert "\n" not in escaped
        for code, character in codes:
            escaped = escaped.replace(code, character)
        assert escaped == text
