"""From an error text to the rule that would have found it: paste a traceback, get the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from lorachk.engine.page import Page

_RUN = 5  # words in a row that say enough when neither text holds the other


def by_code(pages: Sequence[Page], text: str) -> Page | None:
    """The page with this code or name."""
    wanted = text.strip()
    return next((p for p in pages if wanted.upper() == p.code or wanted.lower() == p.name), None)


def by_symptom(pages: Sequence[Page], text: str) -> list[Page]:
    """Pages one of whose symptoms and `text` have words in common, the best match first.

    Numbers, case and punctuation do not count: two users never see the same shapes. A whole symptom in the text is the
    best match; otherwise a run of five words, or a text that stands in a symptom, will do. Of equal ones errors come
    first: they end runs.
    """
    seen = _words(text)
    scored = []
    for page in pages:
        best = max((_score(_words(s), seen) for s in page.head.symptoms), default=(0, 0))
        if best > (0, 0):
            scored.append((best, page))
    scored.sort(key=lambda item: (-item[0][0], -item[0][1], -item[1].severity, item[1].code))
    return [page for _, page in scored]


def _score(symptom: list[str], seen: list[str]) -> tuple[int, int]:
    """(2 when the whole symptom stands in the text, 1 for a part, 0 for nothing; matching words)."""
    if not symptom or not seen:
        return (0, 0)
    match = SequenceMatcher(None, symptom, seen, autojunk=False).find_longest_match()
    if match.size == len(symptom):
        return (2, match.size)
    whole_text = match.size == len(seen) and match.size > 2
    return (1, match.size) if match.size >= _RUN or whole_text else (0, 0)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z_.]*[a-z_]|[<>=!-]+|\d+", re.sub(r"\d+", "0", text.lower()))
