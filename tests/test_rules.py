"""Every example of every rule page: what is bad is found, what is good passes."""

from __future__ import annotations

import pytest

from lorachk.engine.example import can_run, judge_example
from lorachk.engine.rules import builtin_rules, load_rules

PAGES, BROKEN = load_rules([builtin_rules()])
EXAMPLES = [
    pytest.param(page, example, kind == "good", id=f"{page.code}-{kind}-{i}")
    for page in PAGES
    for kind, examples in (("bad", page.bad), ("good", page.good))
    for i, example in enumerate(examples, 1)
]


@pytest.mark.parametrize(("page", "example", "good"), EXAMPLES)
def test_example(page, example, good):
    if not can_run(page):
        pytest.skip("torch is not installed")
    report = judge_example(page, example)
    assert not report.internal_errors
    assert not report.broken
    if good:
        assert [f.message for f in report.findings] == []
        assert [s.reason for s in report.skipped] == []
    else:
        assert report.findings, [s.reason for s in report.skipped]
        assert all(f.message and f.fix for f in report.findings)


def test_every_page_binds():
    assert BROKEN == []


def test_every_area_of_the_issue_has_its_rules():
    codes = {page.code for page in PAGES}
    promised = (
        "D101 D105 D106 D107 D108 D109 D110 D111 I101 I102 Z101 Z102 Z104 Z108 N102 N103 N106 L101 Q101 P101 P113 "
        "G101 G102 G103 G106 K101 K104 V101 V105 "
        "I103 I104 I106 T101 T102 T103 T104 T105 T106 T107 T108 T109 T110 T111 T112 T113 T114 T115 T116 T117"
    )
    assert set(promised.split()) <= codes
