"""rules: list them, run the examples of their pages, begin a new page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lorachk.engine.page import as_dict
from lorachk.engine.rules import builtin_rules, load_rules
from lorachk.errors import UsageError


def run(arguments: argparse.Namespace) -> int:
    """List, test or new; 1 when an example did not do what its page promises. Raises UsageError."""
    match arguments.action:
        case "list":
            return _list(arguments)
        case "test":
            return _test(arguments)
        case _:
            from lorachk.commands.scaffold import new_rule

            return new_rule(arguments)


def _list(arguments: argparse.Namespace) -> int:
    pages = load_rules([builtin_rules(), *(Path(r) for r in arguments.rules)]).pages
    if arguments.format == "json":
        print(json.dumps([as_dict(p) for p in pages], indent=2))
    else:
        for page in pages:
            print(f"{page.code}  {page.severity.name:<7}  {page.name:<38}  {page.title}")
    return 0


def _test(arguments: argparse.Namespace) -> int:
    from lorachk.engine.example import run_examples

    for path in arguments.paths:
        if not Path(path).exists():
            from lorachk.commands.options import near_path

            raise UsageError("no such folder or page", where=path, hint=near_path(path))
    folders = [Path(p) for p in arguments.paths] or [builtin_rules()]
    pages, broken = load_rules([*folders, *(Path(r) for r in arguments.rules)])
    bad = len(broken)
    for page, why in broken:
        print(f"FAIL {page.code} ({page.path})\n     {why}")
    outcomes = [outcome for page in pages for outcome in run_examples(page)]
    for outcome in outcomes:
        if outcome.problem:
            bad += 1
            print(f"FAIL {outcome.label}\n     {outcome.problem}")
    ran = [outcome for outcome in outcomes if not outcome.skipped]
    rules = f"{len(pages)} rule{'s' * (len(pages) != 1)}"
    summary = f"{rules}, {len(ran)} examples: {len(ran) + len(broken) - bad} as promised, {bad} not"
    if left := len(outcomes) - len(ran):
        summary += f"; {left} not run: torch is not installed"
    print(summary)
    return 1 if bad else 0
