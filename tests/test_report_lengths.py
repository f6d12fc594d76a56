"""The histogram and the heaviest records in reports: what they look like, and that no text gets out of its place."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from lorachk.engine.finding import Report
from lorachk.facts.encoding.histogram import Bin, Lengths, lengths
from lorachk.facts.encoding.imagesizes import Sizes, sizes
from lorachk.facts.encoding.worst import heaviest
from lorachk.report import Options, render
from lorachk.report.bars import amounts, cells, segments
from lorachk.report.lengths import beyond, longest, pictures
from lorachk.report.terminal_heaviest import heaviest as table
from lorachk.report.terminal_lengths import histogram
from tests.length_samples import LIMIT, Rows, bounded, exact, facts, mixed, picture, select
from tests.snapshots import check_snapshot

_PLAIN = Options(color=False, width=80)


def _report(encodings: Rows, images: Rows = (), worst: int = 4) -> Report:
    with facts(encodings, images) as store:
        ask = select(store)
        made = Report("data", lengths=lengths(ask, 10), sizes=sizes(ask), heaviest=heaviest(ask, worst))
    made.passed, made.facts = ["D101"], {"record": len(encodings), "image": len(images)}
    return made


_CASES = {
    "mixed": lambda: _report(*mixed()),
    "exact": lambda: _report([exact(n, 64 * (n % 7), 40 + n, n % 40) for n in range(300)]),
    "one": lambda: _report([exact(0, 66, 30, 12)], [picture(0, 0, 448, 448, 1, 66)]),
    "bounds": lambda: _report([bounded(n, 66 * n, 4, 300, 66 * n + 4 > LIMIT or None) for n in range(1, 40)]),
    "all-longer": lambda: _report([exact(n, 0, 3000 + 9 * n, 40) for n in range(30)]),
    "none-longer": lambda: _report([exact(n, 0, 30 + n, 10) for n in range(30)]),
    "no-limit": lambda: _report([exact(n, 9, 30 + 8 * n, 10, None) for n in range(30)]),
}


@pytest.mark.parametrize("case", _CASES)
def test_looks_as_expected(case: str) -> None:
    report = _CASES[case]()
    text = render(report, "terminal", _PLAIN)
    check_snapshot(f"lengths-{case}.terminal.txt", text)
    check_snapshot(f"lengths-{case}.md", render(report, "markdown", _PLAIN))
    assert max(len(line) for line in text.splitlines() if "record " not in line) <= 80


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_the_histogram_keeps_to_the_terminal(width: int) -> None:
    report = _CASES["mixed"]()
    lines = render(report, "terminal", Options(color=False, width=width)).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("Tokens per record"))
    rows = [line for line in lines[start : start + 14] if line[-1:].isdigit() or "━" in line]
    assert len(rows) >= 8
    assert max(map(len, rows)) <= max(min(width, 100), 62)


def test_a_terminal_that_knows_only_ascii() -> None:
    """█ as \\u2588, fifty times a line, would be no picture."""
    report = _CASES["mixed"]()
    report.heaviest = [*report.heaviest[:1], *_CASES["bounds"]().heaviest[:1]]
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), width=80)
    assert report.lengths
    with console.capture() as captured:
        histogram(console, report.lengths, report.sizes)
        table(console, report.heaviest, _PLAIN)
    assert captured.get().isascii()
    assert "#" in captured.get()


_BIN = st.builds(Bin, st.just(1), st.just(2), *([st.integers(0, 10**9)] * 6))


@given(st.lists(_BIN, max_size=12), st.integers(1, 200))
def test_bars_never_exceed_their_width_and_add_up(bins: list[Bin], width: int) -> None:
    for row, length in zip(bins, cells(bins, width), strict=True):
        assert 0 <= length <= width
        shared = segments(amounts(row), length)
        assert sum(shared.values()) == (length if row.tokens else 0)
        assert all(n >= 0 for n in shared.values())
    if any(b.records for b in bins):
        assert max(cells(bins, width)) == width


_NASTY = (
    "\x1b]8;;https://evil.example\x07x",
    "a\n::error::boo",
    "##[group]",
    "\u202egpj",
    "| a | b |",
    "\ud800",
    "[red]",
)


@settings(deadline=None)
@given(st.sampled_from(_NASTY) | st.text(max_size=20), st.sampled_from(["terminal", "markdown", "json"]))
def test_hostile_names_stay_text(name: str, format: str) -> None:
    row = {"path": name, "record": 1, "line": 2, "tokens": 5, "verdict": name, "reason": name}
    text = render(Report("data", heaviest=[row]), format, _PLAIN)
    assert not {c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert not any(line.lstrip().startswith("::") or "##[" in line for line in text.splitlines())


def test_json_has_the_heaviest_only_when_asked() -> None:
    """Version 1 is stable: what nobody asked for changes nothing."""
    assert "worst" not in json.loads(render(Report("data"), "json"))
    rows = json.loads(render(_CASES["bounds"](), "json"))["worst"]
    assert [r["record"] for r in rows] == [39, 38, 37, 36]
    assert rows[0] | {"tokens": None, "tokens_min": 39 * 66 + 4, "tokens_max": 39 * 66 + 300, "longer": True} == rows[0]


def test_bounds_show_as_bounds() -> None:
    rows = [
        {"path": "a", "record": 0, "tokens": 1234, "text_tokens": 34, "max_length": 1000, "kept": 1000, "longer": True},
        {"path": "a", "record": 1, "tokens_min": 2049, "tokens_max": 9000, "max_length": 2048, "longer": True},
        {"path": "a", "record": 2, "tokens_min": 9, "tokens_max": 900, "max_length": 2048, "longer": False},
        {"path": "a", "record": 3, "tokens_min": 9, "max_length": 2048},
    ]
    text = render(Report("data", heaviest=rows), "terminal", _PLAIN)
    found = [line.split()[0] for line in text.splitlines() if "record " in line]
    assert found == ["1,234", "≥2,049", "≤900", "≥9"]


def _lengths(**given: object) -> Lengths:
    whole = {"limit": 10, "records": 100, "exact": 100, "least": 0, "most": 0, "longer": 0, "undecided": 0}
    whole |= {"shortest": 1, "longest": 9, "longest_meant": "exact", "bins": (), "growing": False}
    return Lengths(**(whole | given))  # type: ignore[arg-type]


def test_what_is_said_of_the_limit() -> None:
    assert beyond(_lengths()) == "none is longer"
    assert beyond(_lengths(longer=1)) == "1 of 100 records (1 %) is longer"
    assert beyond(_lengths(longer=2, undecided=5)) == "2 of 100 records (2 %) are longer"
    assert beyond(_lengths(undecided=5)) == "5 of 100 records (5 %) may be longer"
    assert longest(_lengths(longest=9000, longest_meant="most")) == "the longest has at most 9,000"


def test_images_in_a_line() -> None:
    assert (
        pictures(Sizes(1, 1, (8, 9), (8, 9), (1, 1), (66, 66, 66), 1)) == "1 image, 8 x 9 pixels, 1 piece and 66 tokens"
    )
    assert pictures(Sizes(3, 2, (8, 9), (8, 9), None, None, 0)) == "3 images, all 8 x 9 pixels; 1 could not be read"
    whole = pictures(Sizes(48, 48, (224, 224), (2000, 1400), (1, 10), (66, 334, 665), 48))
    assert whole == (
        "48 images, 224 x 224 to 2,000 x 1,400 pixels, 1 to 10 pieces and 66 to 665 tokens each (median 334)"
    )
