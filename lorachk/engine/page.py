"""Rule pages: front matter, prose, one query, examples. A page that is not whole does not load."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lorachk.engine.finding import Severity
from lorachk.engine.front import Brief, FrontMatter, brief, front_matter
from lorachk.engine.front import PageError as PageError

_FENCE = re.compile(r"^(`{3,}|~{3,})\s*(\S*)\s*(.*?)\s*$")
_PLACES = ("at", "path", "line", "col", "pointer", "record", "turn", "position")


class Block(NamedTuple):
    """A fenced block: language, file name and text."""

    language: str
    name: str
    text: str
    line: int


class Example(NamedTuple):
    """One bad or good example: files and facts."""

    title: str
    line: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """One rule."""

    path: Path
    front: str  # the front matter, YAML
    title: str
    text: str  # what happens and why, Markdown
    fix: str  # what to change, Markdown
    sql: str
    sql_line: int
    bad: tuple[Example, ...]
    good: tuple[Example, ...]
    reads: frozenset[str] = frozenset()  # tables, found when the page is prepared

    @cached_property
    def head(self) -> FrontMatter:
        """The front matter. Raises PageError."""
        return front_matter(self.path, self.front)

    @cached_property
    def brief(self) -> Brief:
        """The front matter as far as judging needs it, without YAML where it is simple. Raises PageError."""
        head = brief(self.front)
        return head or Brief(*(getattr(self.head, name) for name in Brief._fields))

    @property
    def code(self) -> str:
        """Rule code."""
        return self.brief.code

    @property
    def name(self) -> str:
        """Kebab-case name of the problem."""
        return self.brief.name

    @cached_property
    def severity(self) -> Severity:
        """Severity as a value that can be compared."""
        return Severity[self.brief.severity]

    def whole(self) -> Page:
        """The page itself, with its front matter read. Raises PageError."""
        _ = self.head
        return self

    def reading(self, names: frozenset[str]) -> Page:
        """The page with the tables that its query reads."""
        return replace(self, reads=names)


def _split(path: Path, lines: list[str]) -> tuple[str, int]:
    """The front matter's text and the index of the first line after it."""
    if not lines or lines[0].strip() != "---":
        raise PageError(path, 1, "a rule page starts with '---' and its front matter")
    try:
        end = next(i for i, line in enumerate(lines[1:], 1) if line.strip() == "---")
    except StopIteration:
        raise PageError(path, 1, "the front matter has no closing '---'") from None
    return "\n".join(lines[1:end]), end + 1


class _Section(NamedTuple):
    heading: str
    line: int
    prose: list[str]
    blocks: list[Block]


def _sections(path: Path, lines: list[str], start: int) -> tuple[str, list[_Section]]:
    """The title and the sections; the first section has an empty heading and holds the description."""
    title = ""
    sections = [_Section("", start + 1, [], [])]
    i = start
    while i < len(lines):
        line = lines[i]
        if line.startswith(("```", "~~~")) and (match := _FENCE.match(line)):
            fence, language, name = match.groups()
            close = next((j for j in range(i + 1, len(lines)) if lines[j].rstrip() == fence), None)
            if close is None:
                raise PageError(path, i + 1, f"the block opened with {fence} is never closed")
            text = "\n".join(lines[i + 1 : close])
            sections[-1].blocks.append(Block(language, name, text + "\n", i + 1))
            i = close
        elif line.startswith("## "):
            sections.append(_Section(line[3:].strip(), i + 1, [], []))
        elif line.startswith("# ") and not title:
            title = line[2:].strip()
        else:
            sections[-1].prose.append(line)
        i += 1
    return title, sections


def parse(path: Path, text: str) -> Page:
    """Parse one page. Raises PageError with file and line."""
    return outline(path, text).whole()


def outline(path: Path, text: str) -> Page:
    """The page without a look at its front matter, which is read when asked for. Raises PageError for the rest."""
    lines = text.splitlines()
    front, start = _split(path, lines)
    title, sections = _sections(path, lines, start)
    if not title:
        raise PageError(path, start + 1, "a page needs a title: '# ...'")
    bad: list[Example] = []
    good: list[Example] = []
    found: dict[str, _Section] = {}
    for section in sections:
        kind, _, about = section.heading.partition(":")
        match kind.strip():
            case "Bad" | "Good" as which:
                if not section.blocks:
                    raise PageError(path, section.line, f"'{section.heading}' has no fenced block")
                example = Example(about.strip(), section.line, tuple(section.blocks))
                (bad if which == "Bad" else good).append(example)
            case "" | "Fix" | "Check" as which:
                if which in found:
                    raise PageError(path, section.line, f"a second section '{which}'")
                found[which] = section
            case _:
                raise PageError(
                    path, section.line, f"unknown section '{section.heading}'", "known: Fix, Check, Bad, Good"
                )
    for which in ("Fix", "Check"):
        if which not in found:
            raise PageError(path, len(lines), f"a page needs a section '## {which}'")
    for which, examples in (("Bad", bad), ("Good", good)):
        if not examples:
            raise PageError(path, len(lines), f"a page needs at least one example '## {which}'")
    check = found["Check"]
    queries = [b for b in check.blocks if b.language == "sql"]
    if len(queries) != 1:
        raise PageError(path, check.line, f"'## Check' holds one sql block, found {len(queries)}")
    return Page(
        path=path,
        front=front,
        title=title,
        text=_joined(found[""]),
        fix=_joined(found["Fix"]),
        sql=queries[0].text.strip().rstrip(";"),
        sql_line=queries[0].line + 1,
        bad=tuple(bad),
        good=tuple(good),
    )


def _joined(section: _Section) -> str:
    text = "\n".join(section.prose).strip()
    for block in section.blocks:
        text += f"\n\n```{block.language}\n{block.text}```"
    return text.strip()


def place_columns(columns: list[str]) -> list[str]:
    """Those result columns that locate a row."""
    return [c for c in columns if c in _PLACES]


def as_dict(page: Page) -> dict[str, Any]:
    """The page for machines (`rules list --format json`)."""
    return {
        "code": page.code,
        "name": page.name,
        "severity": page.severity.name,
        "title": page.title,
        "reads": sorted(page.reads),
        "symptoms": page.head.symptoms,
        "sources": page.head.sources,
        "verified": page.head.verified,
    }
