"""Progress: drawn for a person, silent for a log."""

from __future__ import annotations

import io
import sys

from rich.console import Console

from lorachk.commands.progress import watching


def test_a_person_sees_how_far_and_how_fast():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    with watching(console) as watched:
        assert watched.say
        assert watched.bar
        watched.say("reading [red]train.json\x1b[2J")
        watched.bar(5, None, "images")
        watched.bar(10, 200, "MB of train.json")
        watched.bar(150, 200, "MB of train.json")
    text = out.getvalue()
    assert "150 of 200" in text
    assert "MB of train.json" in text
    assert "\x1b[2J" not in text, "a file name must not clear the screen"


def test_a_log_stays_silent(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with watching() as watched:
        assert (watched.say, watched.bar) == (None, None)
    assert sys.stderr.getvalue() == ""
