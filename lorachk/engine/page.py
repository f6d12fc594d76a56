"""Rule pages: front matter, prose, one query, examples. A page that is not whole does not load."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorachk.engine.finding import Severity
from lorachk.errors import UsageError
from lorachk.facts.tables import tables

_FENCE = re.compile(r"^(`{3,}|~{3,})\s*(\S*)\s*(.*?)\s*$")
_COLUMN = re.compile(r"^[a-z_]+\.[a-z_0-9]+$")
_PLACES = ("at", "path", "line", "col", "pointer", "record", "turn")


class PageError(UsageError):
    """A rule page that cannot be used; `where` is `file:line`."""

    def __init__(self, path: Path, line: int, message: str, hint: str | None = None) -> None:
        super().__init__(message, where=f"{path}:{line}", hint=hint)


class FrontMatter(BaseModel):
    """What stands between the dashes at the top of a page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(pattern=r"^[A-Z]{1,3}[0-9]{3}$")
    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    severity: Literal["error", "warning", "info"]
    of: Literal["record", "turn", "image", "encoding"] | None = None
    message: str | None = None
    needs: list[str] = Field(default_factory=list)
    symptoms: list[str] = Field(default_factory=list)
    sources: list[str] = Field(default_factory=list)
    verified: list[str] = Field(default_factory=list)


class Block(BaseModel):
    """A fenced block: language, file name and text."""

    model_config = ConfigDict(frozen=True)

    language: str
    name: str
    text: str
    line: int


class Example(BaseModel):
    """One bad or good example: files and facts."""

    model_config = ConfigDict(frozen=True)

    title: str
    line: int
    blocks: tuple[Block, ...]


class Page(BaseModel):
    """One rule."""

    model_config = ConfigDict(frozen=True, ignored_types=(cached_property,))

    path: Path
    head: FrontMatter
    title: str
    text: str  # what happens and why, Markdown
    fix: str  # what to change, Markdown
    sql: str
    sql_line: int
    bad: tuple[Example, ...]
    good: tuple[Example, ...]
    reads: frozenset[str] = frozenset()  # tables, found when the page is prepared

    @property
    def code(self) -> str:
        """Rule code."""
        return self.head.code

    @property
    def name(self) -> str:
        """Kebab-case name of the problem."""
        return self.head.name

    @cached_property
    def severity(self) -> Severity:
        """Severity as a value that can be compared."""
        return Severity[self.head.severity]


def _front_matter(path: Path, lines: list[str]) -> tuple[FrontMatter, int]:
    """The front matter and the index of the first line after it."""
    import yaml

    if not lines or lines[0].strip() != "---":
        raise PageError(path, 1, "a rule page starts with '---' and its front matter")
    try:
        end = next(i for i, line in enumerate(lines[1:], 1) if line.strip() == "---")
    except StopIteration:
        raise PageError(path, 1, "the front matter has no closing '---'") from None
    text = "\n".join(lines[1:end])
    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 2
        raise PageError(path, line, f"front matter: {error.problem}") from None
    if not isinstance(data, dict):
        raise PageError(path, 2, "front matter: expected 'key: value' lines")
    try:
        return FrontMatter.model_validate(data), end + 1
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        line = next((i for i, text in enumerate(lines[:end], 1) if text.startswith(f"{key}:")), 2)
        known = ", ".join(FrontMatter.model_fields)
        hint = f"known keys: {known}" if first["type"] == "extra_forbidden" else None
        raise PageError(path, line, f"front matter: {key}: {first['msg']}", hint) from None


class _Section(BaseModel):
    heading: str
    line: int
    prose: list[str] = Field(default_factory=list)
    blocks: list[Block] = Field(default_factory=list)


def _sections(path: Path, lines: list[str], start: int) -> tuple[str, list[_Section]]:
    """The title and the sections; the first section has an empty heading and holds the description."""
    title = ""
    sections = [_Section(heading="", line=start + 1)]
    i = start
    while i < len(lines):
        line = lines[i]
        if match := _FENCE.match(line):
            fence, language, name = match.groups()
            close = next((j for j in range(i + 1, len(lines)) if lines[j].rstrip() == fence), None)
            if close is None:
                raise PageError(path, i + 1, f"the block opened with {fence} is never closed")
            text = "\n".join(lines[i + 1 : close])
            sections[-1].blocks.append(Block(language=language, name=name, text=text + "\n", line=i + 1))
            i = close
        elif line.startswith("## "):
            sections.append(_Section(heading=line[3:].strip(), line=i + 1))
        elif line.startswith("# ") and not title:
            title = line[2:].strip()
        else:
            sections[-1].prose.append(line)
        i += 1
    return title, sections


def parse(path: Path, text: str) -> Page:
    """Parse one page. Raises PageError with file and line."""
    lines = text.splitlines()
    head, start = _front_matter(path, lines)
    if head.of and not head.message:
        raise PageError(path, 2, "front matter: a rule with 'of' needs a 'message' that sums its rows up")
    for column in head.needs:
        table, _, name = column.partition(".")
        if not _COLUMN.match(column) or table not in tables() or name not in {c.name for c in tables()[table].columns}:
            raise PageError(path, 2, f"front matter: needs: {column} is no column of a fact table")
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
                example = Example(title=about.strip(), line=section.line, blocks=tuple(section.blocks))
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
        head=head,
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
