"""Writing: a file appears whole or not at all, and what cannot be written is said in one line."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lorachk.errors import UsageError
from lorachk.report import FORMATS, Options, render, write
from tests.report_samples import clean, full


def test_every_format_is_there() -> None:
    """The registry names modules; a typing mistake would show only when a user asks for that format."""
    assert all(render(clean(), name, Options(color=False)) for name in FORMATS)


def test_unknown_format() -> None:
    with pytest.raises(UsageError, match="unknown format 'html5'"):
        render(clean(), "html5")


def test_file_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_text("old")
    write(full(), "json", target)
    assert target.read_text() == render(full(), "json")
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_readable_by_others(tmp_path: Path) -> None:
    """A CI server that runs as another user has to read it."""
    mask = os.umask(0o022)
    try:
        write(clean(), "json", tmp_path / "report.json")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o644


def test_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    write(clean(), "json", link)
    assert link.is_symlink()
    assert real.read_text().startswith("{")


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not leave half a report that CI then parses."""
    target = tmp_path / "report.json"
    target.write_text("old")

    def full_disk(self: Path, other: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(UsageError, match="No space left"):
        write(full(), "json", target)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("path", ["missing/report.json", "."])
def test_unwritable_path(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="cannot write the report") as caught:
        write(clean(), "json", tmp_path / path)
    assert caught.value.where == str(tmp_path / path)


def test_terminal_report_in_a_file_has_no_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    write(full(), "terminal", tmp_path / "report.txt")
    assert "\x1b" not in (tmp_path / "report.txt").read_text(encoding="utf-8")


def test_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    write(clean(), "json")
    write(clean(), "json", Path("-"))
    assert capsys.readouterr().out == 2 * render(clean(), "json")


_SHOW = "from tests.report_samples import full; from lorachk.report import write; write(full(), '{}')"


@pytest.mark.parametrize("format", ["terminal", "markdown"])
def test_stdout_that_knows_only_ascii(format: str) -> None:
    """Bare containers have LANG=C; a UnicodeEncodeError there would hide the findings."""
    done = _python(_SHOW.format(format), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert b"D108" in done.stdout
    assert done.stdout.isascii()


def test_pipe_has_no_colour_and_80_columns() -> None:
    done = _python(_SHOW.format("terminal"))
    assert b"\x1b" not in done.stdout
    assert done.stdout.decode() == render(full(), "terminal", Options(color=False, width=80))


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31" not in render(full(), "terminal", Options(width=80))


def test_reader_that_stops_early() -> None:
    """`lorachk check | head -1` must not end in a traceback."""
    script = f"{_SHOW.format('json')}"
    command = f'{sys.executable} -c "{script}" | head -c 10'
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=Path(__file__).parents[1])
    assert b"Traceback" not in done.stderr


def test_machine_formats_import_no_rich() -> None:
    done = _python(
        "import sys; from lorachk.report import render; from tests.report_samples import full;"
        "[render(full(), f) for f in ('json', 'sarif', 'junit', 'github', 'concise', 'markdown', 'gitlab')];"
        "assert 'rich' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "NO_COLOR", "COLUMNS")}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=Path(__file__).parents[1],
        env={**inherited, "PYTHONIOENCODING": "utf-8", **environment},
    )
