"""Numbers and advice in words; a rounded share can lie."""

from __future__ import annotations

import pytest

from lorachk.engine.finding import Finding, Place, Report, Severity, Skipped, percent
from lorachk.report import Options, fit, rehearsed, render
from lorachk.report.words import gib, how_many, more, short_fix, spot, verdict
from tests.report_samples import GIB, full


@pytest.mark.parametrize(
    ("count", "total", "said"),
    [
        (133, 665000, "0.02 %"),
        (1, 10**7, "<0.01 %"),
        (999_999, 10**6, ">99.9 %"),
        (10, 10, "100 %"),
        (0, 10, "0 %"),
        (1, 3, "33 %"),
        (997, 1000, "99.7 %"),
        (1, 14, "7.1 %"),
    ],
)
def test_percent(count: int, total: int, said: str) -> None:
    """All and nothing are said only when it is all or nothing."""
    assert percent(count, total) == said


def test_how_many_speaks_of_records() -> None:
    """Rows of `encoding` are records to a person."""
    finding = Finding("T101", "x", Severity.error, "m", "", (), 1, 4, "encoding")
    assert how_many(finding) == "1 of 4 records (25 %)"


def test_more_counts_a_record_once() -> None:
    """Two bad turns of one record are one record; "and 0 more" must not become "and -1 more"."""
    places = (Place("t.json", record=1, turn=0), Place("t.json", record=1, turn=2), Place("t.json", record=5))
    finding = Finding("D105", "x", Severity.error, "m", "", places, 3, 10, "record")
    assert more(finding, places) == 1


def test_spot_ignores_impossible_lines() -> None:
    assert spot(Place("a.json", 0, 3)) == "a.json"
    assert spot(Place("a.json", 3, 0)) == "a.json:3"


@pytest.mark.parametrize(
    ("fix", "short"),
    [
        ("Use ZeRO-2.\nIt is enough.\n\nMore words.", "Use ZeRO-2. It is enough."),
        ("1. First choice,\n   continued.\n2. Second.", "First choice, continued."),
        ("In this order:\n\n- Do **this**.\n- Or that.", "Do this."),
        ('Write in ds.json:\n```json\n{\n  "stage": 2\n}\n```\n', 'Write in ds.json: `{ "stage": 2 }`'),
        ("See [the page](https://example.org) first.", "See the page first."),
        ("", ""),
    ],
)
def test_short_fix(fix: str, short: str) -> None:
    """The advice on screen is a whole advice, never only "In this order:"."""
    assert short_fix(fix) == short


def test_verdict_is_not_happy_without_reason() -> None:
    """A tired reader takes "Nothing found" for a pass."""
    skipped = [Skipped("D101", "x", "no data")]
    assert verdict(Report("data", skipped=skipped)).startswith("Nothing was checked")
    broken = Report("data", passed=["D102"], broken=skipped)
    assert verdict(broken) == "Nothing found, but 1 rule broke (1 rule passed, 1 broken)."
    crashed = Report("data", passed=["D102"], internal_errors=["boom"])
    assert "1 internal error" in verdict(crashed)
    assert verdict(Report("data", passed=["D101", "D102"])) == "Nothing found: 2 rules passed."


def test_fit_says_how_much_is_missing() -> None:
    assert fit.fits({"fits": True}) == "fits"
    assert fit.fits({"fits": None}) == "not known"
    assert fit.fits({"fits": False, "needed": 10 * GIB, "available": 7 * GIB}) == "missing 3.0 GiB"
    assert fit.fits({"fits": False, "needed": 10 * GIB, "available": 10 * GIB - 1}) == "missing <0.1 GiB"
    assert gib(None) == "-"


def test_components_of_another_stage_stay_out() -> None:
    """The sum under the table must be the sum of the run's own stage."""
    report = full()
    other = {**report.tables["memory"][0], "zero_stage": 3}
    rows = fit.own_components(report.tables["fit"], [*report.tables["memory"], other])
    assert other not in rows
    assert len(rows) == 5


def test_a_nan_on_one_rank_is_shown() -> None:
    _, body = rehearsed.steps(
        [{"step": 1, "loss": 2.0, "grad_norm": 1.0}, {"step": 1, "loss": float("nan"), "grad_norm": float("nan")}]
    )
    assert body == [["1", "nan", "nan"]]


def test_stopped_rehearsal_says_where() -> None:
    row = {"outcome": "error", "phase": "backward", "steps": 1, "error_type": "CheckpointError", "error": "saved [64]"}
    assert rehearsed.outcome(row) == "stopped in backward after 1 step: CheckpointError: saved [64]"


def test_lost_tensors_are_counted() -> None:
    rows = [{"file": "a", "equal": True}, {"file": "a", "equal": False}, {"file": None, "equal": None}]
    assert rehearsed.saved(rows) == "adapter saved: 2 tensors, 1 missing, 1 differ after reload"


def test_lines_fit_80_columns() -> None:
    """A wrapped table in a CI log cannot be read; only places may be longer, so that they stay clickable."""
    text = render(full(), "terminal", Options(color=False, width=80))
    assert max(len(line) for line in text.splitlines()) <= 80


def test_long_paths_are_not_broken() -> None:
    path = f"{'deep/' * 30}train.json"
    finding = Finding("D101", "x", Severity.error, "m", "", (Place(path, 3, 4),))
    text = render(Report("data", findings=[finding]), "terminal", Options(color=False, width=80))
    assert f"    {path}:3:4\n" in text


def test_many_findings_of_one_rule_share_head_and_fix() -> None:
    """Twelve times the same advice would bury the other findings."""
    finding = Finding("Z208", "unread-key", Severity.warning, "DeepSpeed reads no key x.", "Remove it.")
    text = render(Report("check", findings=[finding] * 25), "terminal", Options(color=False, width=80))
    assert "warning[Z208] unread-key  25 times\n" in text
    assert text.count("reads no key") == 20
    assert "... and 5 more; --format concise lists all" in text
    assert text.count("fix: ") == 1
