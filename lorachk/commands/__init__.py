"""What each command does; a command's module is imported when it is used."""

from __future__ import annotations

import argparse
from importlib import import_module

_MODULES = {
    "explain": "lorachk.commands.explain",
    "rules": "lorachk.commands.rules",
    "sql": "lorachk.commands.sql",
    "env": "lorachk.commands.env",
    "compare": "lorachk.commands.compare",
    "init": "lorachk.commands.init",
}


def run(arguments: argparse.Namespace) -> int:
    """Run the command that was parsed; returns the exit code. Raises UsageError."""
    name = _MODULES.get(arguments.command, "lorachk.commands.judge")
    if arguments.command == "data" and (arguments.fix or arguments.diff or arguments.unsafe_fixes):
        name = "lorachk.commands.fix"
    elif arguments.command in ("model", "check") and (arguments.fix or arguments.diff or arguments.unsafe_fixes):
        name = "lorachk.commands.fix_settings"
    code = import_module(name).run(arguments)
    assert isinstance(code, int)
    return code
