"""The front matter of a rule page: what it must hold, and what judging needs of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from lorachk.engine.finding import Severity
from lorachk.errors import UsageError
from lorachk.facts.tables import tables

_COLUMN = re.compile(r"^[a-z_]+\.[a-z_0-9]+$")
_LINE = re.compile(r"^(code|name|severity|of|message|needs|fix):(.*)$", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_NAMES = re.compile(r"\[([a-z_0-9., ]*)\]")
_KEY = re.compile(r"`\$\.(\w+)|field `(\w+)`")  # where msgspec names the key


class PageError(UsageError):
    """A rule page that cannot be used; `where` is `file:line`."""

    def __init__(self, path: Path, line: int, message: str, hint: str | None = None) -> None:
        super().__init__(message, where=f"{path}:{line}", hint=hint)


class FrontMatter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands between the dashes at the top of a page."""

    code: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{1,3}[0-9]{3}$")]
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    severity: Literal["error", "warning", "info"]
    of: Literal["record", "turn", "image", "encoding"] | None = None
    message: str | None = None
    needs: list[str] = []
    fix: Literal["safe", "unsafe"] | None = None  # what the query's column `fix` is
    symptoms: list[str] = []
    sources: list[str] = []
    verified: list[str] = []


class Brief(NamedTuple):
    """What judging needs of the front matter."""

    code: str
    name: str
    severity: str
    of: str | None = None
    message: str | None = None
    needs: tuple[str, ...] = ()
    fix: str | None = None


def brief(front: str) -> Brief | None:
    """The front matter of a page whose keys are written as ours are; None for any other, which YAML reads.

    Reading all built-in pages as YAML takes as long as judging them.
    """
    found: dict[str, Any] = {}
    for key, text in _LINE.findall(front):
        value = text.strip()
        if key in found:
            return None
        if key == "message":
            try:
                found[key] = msgspec.json.decode(value, type=str)
            except msgspec.MsgspecError:
                return None
        elif key == "needs":
            if not (names := _NAMES.fullmatch(value)):
                return None
            found[key] = tuple(name.strip() for name in names[1].split(","))
        elif _WORD.fullmatch(value):
            found[key] = value
        else:
            return None
    whole = {"code", "name", "severity"} <= found.keys() and found["severity"] in Severity.__members__
    return Brief(**found) if whole else None


def front_matter(path: Path, text: str) -> FrontMatter:
    """The front matter from its YAML, validated. Raises PageError."""
    import yaml

    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 2
        raise PageError(path, line, f"front matter: {error.problem}") from None
    except yaml.YAMLError as error:  # a character that YAML does not take
        raise PageError(path, 2, f"front matter: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise PageError(path, 2, "front matter: expected 'key: value' lines")
    try:
        head = msgspec.convert(data, FrontMatter)
    except msgspec.ValidationError as error:
        named = _KEY.search(str(error))
        key = (named[1] or named[2]) if named else ""
        line = next((i for i, text in enumerate(text.splitlines(), 2) if key and text.startswith(f"{key}:")), 2)
        hint = f"known keys: {', '.join(FrontMatter.__struct_fields__)}" if "unknown field" in str(error) else None
        raise PageError(path, line, f"front matter: {key}: {error}", hint) from None
    if head.of and not head.message:
        raise PageError(path, 2, "front matter: a rule with 'of' needs a 'message' that sums its rows up")
    for column in head.needs:
        table, _, name = column.partition(".")
        if not _COLUMN.match(column) or table not in tables() or name not in {c.name for c in tables()[table].columns}:
            raise PageError(path, 2, f"front matter: needs: {column} is no column of a fact table")
    return head
