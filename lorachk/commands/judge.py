"""data, model, smoke-train, check: from options to a run, from the run to a report, and to the person or the file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lorachk.commands.options import codes, facts_file, looking, require_input, resolve_options
from lorachk.commands.progress import watching
from lorachk.engine.finding import Report, Severity
from lorachk.engine.rules import builtin_rules
from lorachk.engine.select import Selection
from lorachk.engine.session import exit_code, run_command
from lorachk.launchers.resolve import Lint, Resolved, resolve


def run(arguments: argparse.Namespace) -> int:
    """Judge, and write the report where it was asked for; returns the exit code. Raises UsageError."""
    facts = facts_file(arguments)
    plot = _plot(arguments)
    resolved = resolve(resolve_options(arguments))
    if not facts:
        require_input(arguments.command, resolved.run)
    report = judged(arguments, resolved, facts)
    written(arguments, resolved.lint, report, Path(arguments.output) if arguments.output else None)
    if plot:
        from lorachk.report.plot import save

        save(report.drawing, plot)
    return report.exit_code


def _plot(arguments: argparse.Namespace) -> Path | None:
    """The file of --plot. Raises UsageError when it could not be written: before the dataset is read."""
    if not getattr(arguments, "plot", None):
        return None
    from lorachk.report.plot import ready

    path = Path(arguments.plot)
    ready(path)
    return path


def judged(arguments: argparse.Namespace, resolved: Resolved, facts: Path | None = None) -> Report:
    """The report on a run, its exit code set."""
    lint = resolved.lint
    with watching() as watched:
        report = run_command(
            arguments.command,
            resolved,
            options=looking(arguments, watched),
            selection=_selection(arguments, lint),
            rules=[builtin_rules(), *(Path(r) for r in (*lint.rules, *arguments.rules))],
            facts=facts,
            save=Path(arguments.save) if arguments.save else None,
            rehearse=not getattr(arguments, "no_train", False),
            build=not getattr(arguments, "no_build", False),
            worst=getattr(arguments, "worst", None),
            draw=bool(getattr(arguments, "plot", None)),
        )
    report.exit_code = exit_code(report, fail_on=_fail_on(arguments, lint), no_skips=arguments.no_skips)
    return report


def written(arguments: argparse.Namespace, lint: Lint, report: Report, output: Path | None) -> None:
    """Write the report in the format that was asked for."""
    from lorachk.report import Options, write

    fail_on = _fail_on(arguments, lint)
    threshold = None if fail_on == "never" else Severity[fail_on]
    write(report, chosen_format(arguments), output, Options(fail_on=threshold))


def chosen_format(arguments: argparse.Namespace) -> str:
    """--format, else what fits where lorachk runs."""
    return arguments.format or ("github" if os.environ.get("GITHUB_ACTIONS") == "true" else "terminal")


def _fail_on(arguments: argparse.Namespace, lint: Lint) -> str:
    return arguments.fail_on or lint.fail_on or "error"


def _selection(arguments: argparse.Namespace, lint: Lint) -> Selection:
    ignore = dict(lint.ignore)
    ignore.update(dict.fromkeys(codes(arguments.ignore), "--ignore"))
    return Selection(tuple(codes(arguments.select) or lint.select), ignore)
