"""The official MiniCPM-V recipe: no false alarm, and the one failure it really has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.engine.select import Selection
from lorachk.engine.session import run_command
from lorachk.facts.collector import Options
from lorachk.launchers.resolve import ResolveOptions, resolve

ROOT = Path(__file__).parent.parent
OFFICIAL = ROOT / "fixtures/clean/minicpmv-official"
CASES = json.loads((OFFICIAL / "expected.json").read_text())["cases"]
CODES = ("Z101", "Z102", "Z104", "Z108", "Z208", "Z209", "N102", "N103", "N106", "Q101", "L101", "L201", "P113", "V105")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['launch']}-{case['environment']['deepspeed']}")
def test_official_recipe(case: dict[str, Any]) -> None:
    """A linter that cries at the recipe everybody uses is switched off."""
    given = dict(case)
    expected = given.pop("findings")
    options = ResolveOptions(isolated=True, launch=str(OFFICIAL / given.pop("launch")), **given)
    report = run_command(
        "model",
        resolve(options),
        options=Options(trace=False),
        selection=Selection(select=CODES),
        rules=[ROOT / "rules"],
    )
    assert not report.broken
    assert not report.internal_errors
    found = [[f.rule, Path(f.places[0].path or "").name, f.places[0].line] for f in report.findings]
    assert found == expected
    assert {"Z102", "Z104", "Z108", "Z208", "N106", "P113", "V105"} <= set(report.passed)
