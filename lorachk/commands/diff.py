"""What `data` and the configuration commands have in common when they mend: their options, and how a diff looks."""

from __future__ import annotations

import argparse

from lorachk.errors import UsageError

_COLOURS = {"-": "31", "+": "32", "@": "36"}


def require_fix_or_diff(arguments: argparse.Namespace) -> None:
    """UsageError for --unsafe-fixes alone."""
    if not (arguments.fix or arguments.diff):
        raise UsageError("it says which fixes, not what to do", where="--unsafe-fixes", hint="add --fix or --diff")


def painted(line: str) -> str:
    """A line of a diff in the colour of its kind."""
    code = _COLOURS.get(line[:1])
    return f"\x1b[{code}m{line}\x1b[0m" if code else line
