"""From an error text to the rule that would have found it: paste a traceback, get the page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lorachk.engine.page import Page


def by_code(pages: Sequence[Page], text: str) -> Page | None:
    """The page with this code or name."""
    wanted = text.strip()
    return next((p for p in pages if wanted.upper() == p.code or wanted.lower() == p.name), None)


def by_symptom(pages: Sequence[Page], text: str) -> list[Page]:
    """Pages one of whose symptoms occurs in `text`, the longest match first.

    Numbers, case, quotes and white space do not count: two users never see the same shapes.
    """
    seen = _normal(text)
    scored = []
    for page in pages:
        best = max((len(s) for s in map(_normal, page.head.symptoms) if s and _pattern(s).search(seen)), default=0)
        if best:
            scored.append((-best, page.code, page))
    return [page for _, _, page in sorted(scored, key=lambda item: item[:2])]


def _normal(text: str) -> str:
    text = re.sub(r"[`'\"‘’“”]", "", text.lower())
    text = re.sub(r"\d+", "0", text)
    return re.sub(r"\s+", " ", text).strip()


def _pattern(symptom: str) -> re.Pattern[str]:
    """A symptom as a pattern; '...' in it stands for anything."""
    parts = re.split(r"\s*(?:\.\.\.|…)\s*", symptom)
    return re.compile(".*?".join(re.escape(p) for p in parts))
