"""data --fix and --diff: a repaired copy beside the original, what was done to it, and what is still wrong."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorachk.commands.diff import painted, require_fix_or_diff
from lorachk.commands.judge import chosen_format, judged, written
from lorachk.commands.options import resolve_options
from lorachk.commands.progress import watching
from lorachk.engine.fix import Changed, Outcome, fix_file
from lorachk.errors import UsageError
from lorachk.facts.records.inputs import expand
from lorachk.fixes import unsafe
from lorachk.fixes.surroundings import around
from lorachk.launchers.resolve import resolve
from lorachk.report.escape import clipped, no_commands, visible

if TYPE_CHECKING:
    from lorachk.facts.records.datafile import DataFile
    from lorachk.fixes.fixer import Around
    from lorachk.run import Run

_WIDE = 400  # characters of a line of the diff


def run(arguments: argparse.Namespace) -> int:
    """Write the copy and judge it, or show the diff. Raises UsageError for options that do not go together."""
    require_fix_or_diff(arguments)
    if arguments.plot:
        hint = "lorachk data --plot lengths.png fixed.json draws the copy"
        raise UsageError("it draws a dataset as it is", where="--plot", hint=hint)
    if arguments.worst and arguments.diff:
        raise UsageError("it goes with the report, which --diff does not make", where="--worst", hint="leave it out")
    if arguments.facts:
        raise UsageError("facts hold no text to repair", where="--facts", hint="name the dataset file")
    if arguments.fix and not arguments.output and not arguments.diff:
        hint = "add --output fixed.json; the original is never touched (--diff shows the changes first)"
        raise UsageError("where the repaired copy goes is not said", where="--fix", hint=hint)
    resolved = resolve(resolve_options(arguments))
    file = _source(resolved.run)
    source, found = Path(file.local), around(resolved.run, file)
    if arguments.diff:
        return _diff(arguments, source, found)
    target = _target(arguments.output, source, resolved.run)
    container = found.loader.container if found.loader else None
    if container is None and target.suffix in (".jsonl", ".ndjson"):
        container = "lines"
    with watching() as watched:
        outcome = fix_file(
            source,
            target,
            found,
            container=container,
            with_unsafe=arguments.unsafe_fixes,
            progress=watched.bar,
        )
    for_people = chosen_format(arguments) == "terminal"
    print(_summary(outcome, source, target), file=sys.stdout if for_people else sys.stderr)
    if not resolved.run.image_root and not resolved.run.launch and source.parent.resolve() != target.parent.resolve():
        text = f"{target} stands in another folder than {source.name}: give --image-root {source.parent} from now on"
        print(f"lorachk: {visible(text)}", file=sys.stderr)
        arguments.image_root = str(source.parent)
    arguments.files, arguments.data = [str(target)], []
    again = resolve(resolve_options(arguments))
    report = judged(arguments, again)
    written(arguments, again.lint, report, None)
    mendable = {code for fixer in unsafe() for code in fixer.codes}
    left = sorted({f.rule for f in report.findings} & mendable)
    if left and not arguments.unsafe_fixes:
        print(f"lorachk: --unsafe-fixes may mend more of {', '.join(left)}", file=sys.stderr)
    return report.exit_code


def _source(run: Run) -> DataFile:
    """The one file that is named, by itself, by its folder, or by its entry in a dataset_info.json."""
    files = expand(run.data, "train", at=run.at("data"), trainer=run.trainer)
    hint = "lorachk data --fix --output fixed.json train.json"
    if len(files) != 1:
        what = f"one file at a time, not {len(files)}" if files else "no dataset is named"
        raise UsageError(what, where="--fix", hint=hint)
    if files[0].spooled:
        raise UsageError("only a file of this machine is repaired", where=files[0].path, hint=hint)
    return files[0]


def _target(output: str, source: Path, run: Run) -> Path:
    target = Path(output)
    if output == "-" or target.suffix in (".gz", ".zst", ".parquet"):
        raise UsageError("the copy is plain JSON or JSON lines", where="--output", hint="name a .json or .jsonl file")
    for path in (source, *map(Path, run.data), *map(Path, run.eval_data)):
        if target.resolve() == path.resolve() or (target.exists() and path.exists() and target.samefile(path)):
            hint = "name another file; the original is never touched"
            raise UsageError(f"{output} is the dataset itself", where="--output", hint=hint)
    if target.is_dir():
        raise UsageError("is a folder", where=output, hint=f"--output {target / source.name}")
    return target


def _summary(outcome: Outcome, source: Path, target: Path) -> str:
    """What was done, by rule."""
    kept = outcome.written - outcome.changed
    lines = [
        f"{target}: {outcome.written:,} of {outcome.read:,} records of {source}; {kept:,} as they were, "
        f"{outcome.changed:,} changed, {outcome.dropped:,} left out"
    ]
    lines += [f"  {f.code}  {f.what}" for f in outcome.file]
    for fix, count in sorted(outcome.fixes.items()):
        note = "" if fix.safe else " (unsafe)"
        lines.append(f"  {fix.code}  {count:,} record{'s' * (count != 1)}: {fix.what}{note}")
    if not outcome.anything:
        lines.append("  nothing to fix was found")
    return no_commands("\n".join(map(visible, lines))) + "\n"


def _diff(arguments: argparse.Namespace, source: Path, found: Around) -> int:
    """Print what would change, record by record; 1 when anything would."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    container = found.loader.container if found.loader else None

    def show(change: Changed) -> None:
        sys.stdout.write(_record_diff(change, source, colour))

    outcome = fix_file(source, None, found, container=container, with_unsafe=arguments.unsafe_fixes, on_change=show)
    for fix in outcome.file:
        print(f"{fix.code}  {visible(fix.what)}")
    if not outcome.anything:
        print("nothing to fix was found")
    return 1 if outcome.anything else 0


def _record_diff(change: Changed, source: Path, colour: bool) -> str:
    codes = ", ".join(f"{f.code} {f.what}" for f in change.fixes)
    after = [] if change.after is None else _pretty(change.after)
    name = f"{source}:{change.line} record {change.number}"
    lines = difflib.unified_diff(_pretty(change.before), after, visible(name), visible(codes), lineterm="", n=2)
    shown = []
    for line in islice(lines, 2000):
        text = clipped(visible(line), _WIDE)
        shown.append(painted(text) if colour else text)
    return no_commands("\n".join(shown)) + "\n"


def _pretty(value: Any) -> list[str]:
    return json.dumps(value, indent=2, ensure_ascii=False).split("\n")
