"""The command line: parse, run one command, turn what went wrong into one message and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from lorachk.arguments import Parser, parser, visible
from lorachk.errors import UsageError

_EXAMPLES = {
    **dict.fromkeys((".json", ".jsonl", ".ndjson", ".parquet", ".gz", ".zst"), "data {}"),
    **dict.fromkeys((".sh", ".yaml", ".yml"), "check {}"),
    ".toml": "check --config {}",
    ".md": "rules test {}",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    whole = parser()
    _not_a_command(whole, words)
    arguments, strange = whole.parse_known_args(words)
    if arguments.command is None:
        whole.print_help()
        return 2
    if strange:
        arguments.parser.error(f"{arguments.command} does not take {' '.join(strange)}")
    from lorachk import stopping

    stopping.listen()
    try:
        from lorachk import commands

        return commands.run(arguments)
    except UsageError as error:
        print(f"lorachk: {visible(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `lorachk ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        return _interrupted(stopping.received() or signal.SIGINT)
    except Exception as error:  # exit code 1 would say that the run was looked at
        if number := stopping.received():
            return _interrupted(number)
        print(f"lorachk: {visible(_internal(error))}", file=sys.stderr)
        return 2


def _not_a_command(whole: Parser, words: Sequence[str]) -> None:
    """`lorachk train.json`: a file stands where a command is missing; name the command that takes it."""
    first = words[0] if words else ""
    commands = next(action.choices for action in whole._actions if action.choices) or ()
    if not first or first.startswith("-") or first in commands:
        return
    folder = os.path.isdir(first)  # noqa: PTH112 - no error for names that no file system takes
    example = _EXAMPLES.get(Path(first).suffix.lower()) or ("data {}" if folder or "/" in first else None)
    if example is None:
        return
    from lorachk.launchers.text import is_deepspeed

    if folder and Path(first, "config.json").exists():
        example = "model --model {}"
    elif is_deepspeed(first):
        example = "model --config {}"
    import shlex

    kind = "folder" if folder else "file"
    hint = f"try: lorachk {visible(example.format(shlex.quote(first)))}"
    whole.exit(2, f"lorachk: {visible(first)} is a {kind}, and a command comes first\n  {hint}\n")


def _interrupted(number: int) -> int:
    print(f"lorachk: interrupted by {signal.Signals(number).name}", file=sys.stderr)
    return 128 + number


def _internal(error: Exception) -> str:
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rpartition('lorachk/')[2]}:{frame.lineno}"
    return f"internal error: {type(error).__name__}: {error} ({where})\n  this is a bug in lorachk; please report it"
