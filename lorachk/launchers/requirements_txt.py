"""requirements.txt and what `pip freeze` writes, with the files they include."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from lorachk.errors import UsageError
from lorachk.launchers.requirements import Stated, requirement, text_of, version_in
from lorachk.launchers.text import beside, where
from lorachk.run import Location, Source

_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDE = re.compile(r"(?:-r|--requirement)(?:\s+|=|(?<=-r))(.+)$")
_CONSTRAIN = re.compile(r"(?:-c|--constraint)(?:\s+|=|(?<=-c))(.+)$")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s+|=)(.+)$")
_OPTIONS = re.compile(r"\s--(?:hash|global-option|config-settings?|install-option)\b.*$")


class _Line(NamedTuple):
    """One logical line: continuations joined, comments gone."""

    text: str
    line: int
    col: int


def read(text: str, path: str, sources: list[Source]) -> list[Stated]:
    """What a file and those it includes state, in order. UsageError with the place for a line that is none."""
    return _Reader(sources).read(text, path, (), constraint=False)


class _Reader:
    def __init__(self, sources: list[Source]) -> None:
        self.sources = sources

    def read(self, text: str, path: str, above: tuple[str, ...], *, constraint: bool) -> list[Stated]:
        found: list[Stated] = []
        for line in _lines(text):
            at = Location(path, line.line, line.col)
            if match := _INCLUDE.match(line.text):
                found += self._include(match[1].strip(), at, (*above, path), constraint=constraint)
            elif match := _CONSTRAIN.match(line.text):
                found += self._include(match[1].strip(), at, (*above, path), constraint=True)
            elif match := _EDITABLE.match(line.text):
                found += _linked(match[1].strip(), at)
            elif not line.text.startswith("-"):  # other options say where to look, not for what
                found += _stated(line.text, at, constraint=constraint)
        return found

    def _include(self, named: str, at: Location, above: tuple[str, ...], *, constraint: bool) -> list[Stated]:
        if "://" in named:
            return []  # nothing is fetched
        path = beside(at.path, named)
        if path in above:
            chain = " -> ".join([*above[above.index(path) :], path])
            raise UsageError(f"includes itself: {chain}", where=where(*at[:3]), hint="remove one of the -r lines")
        text, source = text_of(path, where(*at[:3]))
        self.sources.append(source)
        return self.read(text, path, above, constraint=constraint)


def _lines(text: str) -> Iterator[_Line]:
    """Logical lines; pip joins at a backslash first and takes comments away then."""
    whole, first = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        if raw.lstrip().startswith("#"):
            if not whole:
                continue
            raw = ""
        first = first or number
        if raw.endswith("\\"):
            whole += raw[:-1].rstrip() + " "
            continue
        joined = _COMMENT.sub("", whole + raw)
        if joined.strip():
            yield _Line(joined.strip(), first, len(joined) - len(joined.lstrip()) + 1)
        whole, first = "", 0
    if whole.strip():
        yield _Line(_COMMENT.sub("", whole).strip(), first, 1)


def _stated(text: str, at: Location, *, constraint: bool) -> list[Stated]:
    text = _OPTIONS.sub("", text).strip()
    bare = text.partition(";")[0].strip()
    if (
        "://" in bare.partition(" ")[0]
        or bare.startswith((".", "/", "~"))
        or re.match(r"[\w.+-]+\.(whl|tar\.gz)$", bare)
    ):
        return _linked(bare, at)
    entry = requirement(text, at, constraint=constraint)
    return [entry] if entry else []


def _linked(target: str, at: Location) -> list[Stated]:
    """A wheel, archive, folder or repository without a name in front: known by its file name or egg, or not at all."""
    name = re.search(r"[#&]egg=([A-Za-z0-9._-]+)", target)
    file = re.search(r"(?:^|/)([A-Za-z0-9_.]+?)-\d[^/]*\.(?:whl|tar\.gz|zip)", target)
    repository = (
        re.search(r"/([A-Za-z0-9._-]+?)(?:\.git)?(?:@[^/@]*)?(?:#.*)?$", target) if target.startswith("git+") else None
    )
    for match in (name, file, repository):
        if match:
            from lorachk.launchers.requirements import normal

            return [Stated(normal(match[1]), version_in(target), f"@ {target}", at)]
    return []
