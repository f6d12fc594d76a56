"""model and check with --fix or --diff: configuration files mended where the value stands, and what is left to do."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path

from lorachk.commands.diff import painted, require_fix_or_diff
from lorachk.commands.judge import chosen_format, judged, written
from lorachk.commands.options import require_input, resolve_options
from lorachk.engine.edits import Mended, mend, unsafe_left, write
from lorachk.engine.finding import Finding, Report
from lorachk.errors import UsageError
from lorachk.fixes.settings import editor, told
from lorachk.launchers.resolve import Lint, resolve
from lorachk.report.escape import no_commands, visible

_SHOWN = 2000  # lines of a diff


def run(arguments: argparse.Namespace) -> int:
    """Mend the files in place (--fix), or show how (--diff). Raises UsageError for options that do not go together."""
    require_fix_or_diff(arguments)
    if arguments.facts:
        hint = "name the configuration files"
        raise UsageError("facts hold no files to mend", where="--facts", hint=hint)

    lint = Lint()

    def judge() -> Report:
        nonlocal lint
        resolved = resolve(resolve_options(arguments))
        lint = resolved.lint
        require_input(arguments.command, resolved.run)
        return judged(arguments, resolved)

    work = mend(judge, with_unsafe=arguments.unsafe_fixes)
    changed = {path: text for path, text in work.texts.items() if text != work.originals[path]}
    if arguments.diff:
        _show(work, changed)
        return 1 if changed or work.by_hand else 0
    try:
        write(changed)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror or error}", where=error.filename) from error
    for_people = chosen_format(arguments) == "terminal"
    print(_summary(work, list(changed)), file=sys.stdout if for_people else sys.stderr)
    assert work.report
    written(arguments, lint, work.report, Path(arguments.output) if arguments.output else None)
    left = unsafe_left(work.report.findings)
    if left and not arguments.unsafe_fixes:
        print(f"lorachk: --unsafe-fixes would also mend {', '.join(left)}", file=sys.stderr)
    return work.report.exit_code


def _show(work: Mended, changed: dict[str, str]) -> None:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for path, text in changed.items():
        name = visible(path)
        before, after = work.originals[path].splitlines(), text.splitlines()
        lines = list(difflib.unified_diff(before, after, name, name, lineterm=""))[:_SHOWN]
        sys.stdout.write(
            no_commands("\n".join(painted(visible(line)) if colour else visible(line) for line in lines)) + "\n"
        )
    print(_summary(work, []), file=sys.stderr)


def _summary(work: Mended, files: list[str]) -> str:
    """What was done by rule, and what a person must do, since scripts are not written."""
    lines = [f"mended {', '.join(files)}"] if files else []
    lines += [f"  {_named(finding)}" for finding in work.mended]
    if work.by_hand:
        scripts = all(any(editor(edit.path) is None for edit in finding.edits) for finding, _ in work.by_hand)
        lines.append(f"to be done by hand{', since scripts are not changed' if scripts else ''}:")
        lines += [f"  {finding.rule}  {told(edit)}" for finding, edit in work.by_hand]
    if not work.mended and not work.by_hand:
        lines.append("nothing that lorachk could mend was found")
    return no_commands("\n".join(map(visible, lines)))


def _named(finding: Finding) -> str:
    return f"{finding.rule}  {finding.message}{'' if finding.safe else ' (unsafe)'}"
