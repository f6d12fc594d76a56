"""What each format looks like. A change that nobody meant would reach every user's screen and CI."""

from __future__ import annotations

import pytest

from lorachk.report import FORMATS, Options, render
from tests.report_samples import clean, full, unjudged
from tests.snapshots import check_snapshot

_PLAIN = Options(color=False, width=80)
_SUFFIX = {"json": "json", "sarif": "sarif", "gitlab": "gitlab.json", "junit": "xml", "markdown": "md"}
_SAMPLES = {"full": full, "clean": clean, "unjudged": unjudged}


@pytest.mark.parametrize("sample", _SAMPLES)
@pytest.mark.parametrize("format", FORMATS)
def test_looks_as_expected(format: str, sample: str) -> None:
    check_snapshot(f"{sample}.{_SUFFIX.get(format, f'{format}.txt')}", render(_SAMPLES[sample](), format, _PLAIN))


def test_colour_only_adds_colour() -> None:
    """A reader without colour would miss what only colour said."""
    from rich.text import Text

    coloured = render(full(), "terminal", Options(color=True, width=80))
    assert "\x1b[" in coloured
    plain = [line.rstrip() for line in Text.from_ansi(coloured).plain.splitlines()]
    assert plain == render(full(), "terminal", _PLAIN).splitlines()
