"""--requirements: the versions a run will use, out of the files people keep them in.

An exact pin is a version. A range says which versions may be there: when the installed one is among them, that is taken
(nothing is stated); otherwise the version is not known, with the range for a reason, and is not guessed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lorachk.errors import UsageError
from lorachk.launchers.text import read_text, where
from lorachk.launchers.versions import installed
from lorachk.run import Location, Setting, Source

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
# what conda calls distributions
_CONDA = {"pytorch": "torch", "pytorch-gpu": "torch", "pytorch-cpu": "torch", "faiss-gpu": "faiss"}


class Stated(NamedTuple):
    """What a file says of one distribution: an exact version, or `allowed`, the text of a range (or of a URL)."""

    name: str  # normalised
    version: str | None
    allowed: str
    at: Location
    constraint: bool = False  # pip -c: it says nothing unless something else asks for the distribution


class Requirements(NamedTuple):
    """Read requirements: exact versions and open ones by distribution, with every file that was read."""

    environment: dict[str, str]
    settings: list[Setting]
    sources: list[Source]


def read_requirements(path: str, named_at: str | None = None) -> Requirements:
    """Read requirements.txt, a pip freeze, a lock file, pyproject.toml or a conda environment.

    UsageError with the place for a missing file, one that includes itself, or a line that is no requirement.
    """
    sources: list[Source] = []
    stated = _read(path, sources, named_at)
    environment: dict[str, str] = {}
    settings: list[Setting] = []
    for entry in _settled(stated):
        version = entry.version or _known(entry)
        if version is None:
            continue
        environment[entry.name] = version
        settings.append(Setting("requirements", f"/{entry.name}", version, entry.at))
    return Requirements(environment, settings, sources)


def _read(path: str, sources: list[Source], named_at: str | None) -> list[Stated]:
    text, source = text_of(path, named_at)
    sources.append(source)
    name = Path(path).name.lower()
    if name.endswith((".toml", ".lock", ".yml", ".yaml", ".json")):
        from lorachk.launchers import requirements_lock

        return requirements_lock.read(text, path)
    from lorachk.launchers import requirements_txt

    return requirements_txt.read(text, path, sources)


def text_of(path: str, named_at: str | None = None) -> tuple[str, Source]:
    """A requirements file's text. pip reads byte-order marks, which PowerShell's `pip freeze > file` writes."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(4)
        encoding = next((name for mark, name in _BOMS if head.startswith(mark)), None)
        if encoding:
            text = Path(path).read_text(encoding)
            return text, Source(path, "requirements", Path(path).stat().st_size, encoding)
    except (OSError, ValueError):
        pass  # read_text says what is wrong
    return read_text(path, "requirements", named_at)


def _settled(stated: list[Stated]) -> list[Stated]:
    """One entry per distribution: what is pinned beats what is open, a requirement beats a constraint."""
    best: dict[str, Stated] = {}
    for entry in stated:
        other = best.get(entry.name)
        if other is None or _rank(entry) > _rank(other):
            best[entry.name] = entry
        elif entry.version and other.version and entry.version != other.version and _rank(entry) == _rank(other):
            allowed = f"{other.version} and {entry.version}"  # a lock for several Pythons or platforms
            best[entry.name] = other._replace(version=None, allowed=f"=={allowed}")
    return list(best.values())


def _rank(entry: Stated) -> tuple[bool, bool]:
    return entry.version is not None, not entry.constraint


def _known(entry: Stated) -> str | None:
    """What the environment holds for a range: nothing when the installed version is in it, else the range itself.

    `versions.used` takes a range for a version that is not known.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    here = installed(entry.name)
    if not entry.allowed:
        return None
    try:
        if here and SpecifierSet(entry.allowed).contains(here, prereleases=True):
            return None
    except (InvalidSpecifier, ValueError):
        pass
    return entry.allowed if entry.allowed[0] in "<>=~!@" else f"@ {entry.allowed}"


def normal(name: str) -> str:
    """A distribution's name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution(name: str) -> str:
    """The distribution that conda means by a package's name."""
    return _CONDA.get(normal(name), normal(name))


def requirement(text: str, at: Location, *, constraint: bool = False) -> Stated | None:
    """What one PEP 508 requirement states; None when its marker leaves it out here. UsageError when it is none."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        made = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).split("\n")[0]
        raise UsageError(f"is no requirement: {text!r} ({reason})", where=where(*at[:3]), hint=_hint(text)) from None
    if made.marker is not None and not made.marker.evaluate({"extra": ""}):
        return None
    return _stated(made, at, constraint)


def _stated(made: Requirement, at: Location, constraint: bool) -> Stated:
    if made.url:
        return Stated(normal(made.name), version_in(made.url), f"@ {made.url}", at, constraint)
    exact = [s.version for s in made.specifier if s.operator in ("==", "===") and not s.version.endswith(".*")]
    version = exact[0] if len({*exact}) == 1 else None
    return Stated(normal(made.name), version, str(made.specifier), at, constraint)


def version_in(url: str) -> str | None:
    """The version that the name of a wheel or archive states; None for a repository and the like."""
    from urllib.parse import unquote

    from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

    name = unquote(url.partition("#")[0].partition("?")[0].rstrip("/").rpartition("/")[2])
    try:
        if name.endswith(".whl"):
            return str(parse_wheel_filename(name)[1])
        if name.endswith((".tar.gz", ".zip")):
            return str(parse_sdist_filename(name)[1])
    except (InvalidWheelFilename, InvalidSdistFilename):
        pass
    return None


def _hint(text: str) -> str | None:
    if re.match(r"[A-Za-z0-9._-]+=[^=]", text):
        return f"did you mean {text.replace('=', '==', 1)!r}?"
    if re.match(r"[A-Za-z0-9._-]+\s+[0-9]", text):
        return "this looks like `pip list`; write the file with `pip freeze`"
    return None
