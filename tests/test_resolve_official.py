"""The official MiniCPM-V script with either DeepSpeed file: what reference/trainers.md lists for it, and no more.

Section 2.7, items 3 to 5: --evaluation_strategy is gone (L106), the scheduler block wins over cosine (Z212), 1e-6 is
the learning rate of full training (L240); 5.3: ZeRO-3 with non-reentrant checkpointing before DeepSpeed 0.19.3 (Z101).
On ZeRO-3 besides what its `modules_to_save` really do there (Z217, Z220; seen in benchmarks/versions).
"""

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


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['launch']}-{c['environment']['deepspeed']}-{c.get('gpu')}")
def test_official_recipe(case: dict[str, Any]) -> None:
    """A linter that cries at the recipe everybody uses is switched off."""
    given = dict(case)
    expected = given.pop("findings")
    options = ResolveOptions(isolated=True, launch=str(OFFICIAL / given.pop("launch")), **given)
    report = run_command(
        "model",
        resolve(options),
        options=Options(trace=False),
        selection=Selection(ignore={"V213": "where the checkout lies is no matter of a recipe"}),
        rules=[ROOT / "rules"],
    )
    assert not report.broken
    assert not report.internal_errors
    found = [[f.rule, Path(f.places[0].path or "").name, f.places[0].line] for f in report.findings]
    assert found == expected
    assert {"Z102", "Z104", "Z108", "Z208", "N106", "P113", "V105"} <= set(report.passed)
