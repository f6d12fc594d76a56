"""Reports: one small renderer per format, imported when it is used."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from lorachk.engine.finding import Report, Severity
from lorachk.errors import UsageError

FORMATS: dict[str, str] = {
    "terminal": "lorachk.report.terminal",
    "concise": "lorachk.report.concise",
    "json": "lorachk.report.json_v1",
    "sarif": "lorachk.report.sarif",
    "junit": "lorachk.report.junit",
    "github": "lorachk.report.github",
    "gitlab": "lorachk.report.gitlab",
    "markdown": "lorachk.report.markdown",
}


@dataclass(frozen=True)
class Options:
    """How a report is rendered; a renderer takes what concerns it."""

    root: Path | None = None  # folder that paths are shown relative to; None: the working folder
    fail_on: Severity | None = Severity.error  # junit: findings from here on are failures; None: none is
    color: bool | None = None  # terminal; None: as the terminal, NO_COLOR and FORCE_COLOR say
    width: int | None = None  # terminal, characters; None: the terminal's, 80 without one
    rule_uri: str | None = None  # sarif: page of a rule, with {code} and {name}


def render(report: Report, format: str, options: Options | None = None) -> str:
    """`report` in `format`, ending in one newline."""
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}", where="--format", hint=f"formats: {', '.join(FORMATS)}")
    text = import_module(FORMATS[format]).render(report, options or Options())
    assert isinstance(text, str)
    return text


def write(report: Report, format: str = "terminal", output: Path | None = None, options: Options | None = None) -> None:
    """Render `report` and write it to `output`, or to standard output for None and "-".

    A file appears whole or not at all. Raises UsageError when it cannot be written.
    """
    options = options or Options()
    if output is None or str(output) == "-":
        _print(render(report, format, options))
        return
    if format == "terminal" and options.color is None:
        options = Options(options.root, options.fail_on, False, options.width, options.rule_uri)
    put(render(report, format, options), output)


def put(text: str, output: Path | None = None) -> None:
    """Print `text`, or write it to `output`, which appears whole or not at all; UsageError when it cannot."""
    if output is None or str(output) == "-":
        _print(text)
    else:
        keep(text.encode("utf-8", "backslashreplace"), output, "the report")


def keep(data: bytes, output: Path, what: str) -> None:
    """Write `data` to `output`, which appears whole or not at all; UsageError that names `what` when it cannot."""
    try:
        _save(data, output)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"cannot write {what}: {reason}", where=str(output)) from error


def _print(text: str) -> None:
    stream = sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:  # `lorachk ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _save(data: bytes, output: Path) -> None:
    target = output.resolve()  # a link stays a link
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):  # /dev/stdout, a pipe; a folder fails here
        target.write_bytes(data)
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with partial.open("xb") as file:
            file.write(data)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
