"""What a fixer is: a small function that mends one thing in one record, and what it may know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lorachk.facts.records.datasetinfo import Mapping_
from lorachk.facts.records.dialect import Shape, shape
from lorachk.facts.records.verdicts import Loader, Settings


class Record(NamedTuple):
    """A record and what it was taken apart into. Fixers leave the value as it is and give back a changed copy."""

    value: Mapping[str, Any]
    shape: Shape


@dataclass
class Around:
    """What a fixer may know beside the record: who reads it, for which model, where images are."""

    trainer: str | None
    family: str | None = None
    mapping: Mapping_ | None = None
    loader: Loader | None = None
    settings: Settings = field(default_factory=Settings)
    folders: Sequence[str] = (".",)  # that relative image paths are joined to, the first first
    non_finite: bool = False  # the file holds NaN or Infinity somewhere

    def record(self, value: Mapping[str, Any]) -> Record:
        """The record of a value."""
        return Record(value, shape(value, self.mapping))


class Change(NamedTuple):
    """A changed copy of a record (None: the record is left out), the rule it mends, and what was done."""

    value: Mapping[str, Any] | None
    code: str
    what: str  # the same words for every record, so that they can be counted


class Fixer(NamedTuple):
    """One thing that can be mended. `safe`: nothing of what is meant is lost and nothing else is trained."""

    codes: tuple[str, ...]  # rules it claims to mend
    safe: bool
    function: Callable[[Record, Around], Change | None]


def placed(value: Any, pointer: str, new: Any) -> Any:
    """A copy of `value` with `new` at an RFC 6901 pointer that leads somewhere; only what is on the way is copied."""
    if not pointer:
        return new
    head, slash, rest = pointer[1:].partition("/")
    key: Any = head.replace("~1", "/").replace("~0", "~")
    if isinstance(value, list):
        copy: Any = list(value)
        key = int(key)
    else:
        copy = dict(value)
    copy[key] = placed(copy[key], slash + rest, new)
    return copy


def found(value: Any, pointer: str) -> Any:
    """What stands at a pointer; None when nothing does."""
    for part in pointer.split("/")[1:]:
        key: Any = part.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (LookupError, TypeError, ValueError):
            return None
    return value


def renamed(value: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A copy with keys renamed, in the same order."""
    return {names.get(key, key): content for key, content in value.items()}
