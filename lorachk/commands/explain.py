"""explain: a rule's page for a code, a name or an error text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lorachk.engine.page import Page
from lorachk.engine.rules import builtin_rules, load_rules
from lorachk.errors import UsageError


def run(arguments: argparse.Namespace) -> int:
    """Show the page, or the best of those whose symptoms match. Raises UsageError when none does."""
    from lorachk.engine.explain import by_code, by_symptom

    text = " ".join(arguments.text)
    if text == "-":
        text = sys.stdin.read()
    pages = load_rules([builtin_rules(), *(Path(r) for r in arguments.rules)]).pages
    if page := by_code(pages, text):
        _show_markdown(_page_text(page))
        return 0
    matching = by_symptom(pages, text)
    if not matching:
        raise UsageError("no rule has this code, name or symptom", where="explain", hint=_near(pages, text.strip()))
    best, *others = matching
    text = _page_text(best)
    if others:
        text += "\n\n## It may also be\n"
        text += "".join(f"\n- {p.code} {p.name}: {p.title}" for p in others[:5])
    _show_markdown(text)
    return 0


def _near(pages: list[Page], text: str) -> str:
    """Codes and names that look like the text."""
    import difflib

    inside = [p.code for p in pages if text and text.upper() in p.code]
    names = {name: p.code for p in pages for name in (p.code, p.name)}
    close = inside or [names[n] for n in difflib.get_close_matches(text, names, 3, 0.7)]
    found = [f"{p.code} {p.name}" for p in pages if p.code in close]
    return f"did you mean {', '.join(found)}?" if found else "see `lorachk rules list`"


def _page_text(page: Page) -> str:
    """A rule for a person: what happens, what to change, how it is checked, what it rests on."""
    parts = [
        f"# {page.code} {page.name} ({page.severity.name})",
        f"**{page.title}**",
        page.text,
        f"## Fix\n{page.fix}",
        f"## Check\n```sql\n{page.sql}\n```",
    ]
    for title, lines in (("Verified", page.head.verified), ("Seen in", page.head.sources)):
        if lines:
            parts.append(f"## {title}\n" + "\n".join(f"- {line}" for line in lines))
    parts.append(f"Examples: {page.path}")
    return "\n\n".join(parts)


def _show_markdown(text: str) -> None:
    if not sys.stdout.isatty():
        print(text.rstrip())
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))
