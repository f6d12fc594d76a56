"""Arguments that transformers and trl declare in a version: read from the installed source, else as recorded.

`arguments_recorded.json` is written by benchmarks/versions/record_arguments.py from the first release of every minor
version. A version between two of them has the arguments of its own minor version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lorachk.facts.argument_classes import Argument, Class, Sources, read_all
from lorachk.launchers.versions import installed

# Files of a package that declare arguments, as globs inside it.
FILES = {
    "transformers": ("training_args.py", "training_args_seq2seq.py", "trainer_utils.py"),
    "trl": ("trainer/*config*.py", "trainer/utils.py", "scripts/*.py", "experimental/*/*_config.py"),
}


class Span(NamedTuple):
    """Versions in which a field exists; `until` is the first recorded version without it, None while it is there."""

    since: str
    until: str | None


class NotKnown(Exception):
    """Which arguments there are cannot be said; the text is the reason."""


@cache
def recorded() -> Mapping[str, Any]:
    """The record, as it stands in the file."""
    path = Path(__file__).with_name("arguments_recorded.json")
    value: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    return value


def declared(library: str, version: str | None) -> Sources:
    """The classes and enums of a library in `version`. Raises NotKnown for a version nobody looked at."""
    if version is None:
        hint = "state its version under [environment] in lorachk.toml or give --requirements"
        raise NotKnown(f"{library} is not installed here and its version is not known: {hint}")
    if version == installed(library) and (found := from_source(library)) is not None:
        return found
    return from_record(library, version)


@cache
def from_source(library: str) -> Sources | None:
    """The classes of the installed package; None when its source is not to be found."""
    from lorachk.launchers.versions import package_folder

    folder = package_folder(library)
    if folder is None:
        return None
    paths = [path for pattern in FILES[library] for path in sorted(folder.glob(pattern))]
    sources = read_all(path.read_text("utf-8", errors="replace") for path in paths)
    return sources if sources.classes else None


@cache
def from_record(library: str, version: str) -> Sources:
    """The classes of a recorded version. Raises NotKnown when it is older or newer than those recorded."""
    data = recorded()["libraries"][library]
    index = position(library, version)
    sources = Sources()
    for name, spans in data["bases"].items():
        bases = _at(spans, index)
        if bases is None:
            continue
        fields = {
            field: unpacked(field, packed)
            for field, entries in data["classes"].get(name, {}).items()
            if (packed := _at(entries, index)) is not None
        }
        sources.classes[name] = Class(name, tuple(bases), fields)
    for name, values in data["enums"].items():
        there = tuple(v for v, spans in values.items() if any(a <= index <= b for a, b, _ in spans))
        if there:
            sources.enums[name] = there
    return sources


def position(library: str, version: str) -> int:
    """Index of the recorded version that stands for `version`. Raises NotKnown when none does."""
    from packaging.version import InvalidVersion, Version

    versions = [Version(text) for text in recorded()["libraries"][library]["versions"]]
    try:
        wanted = Version(version)
    except InvalidVersion:
        raise NotKnown(f"{version!r} is no version of {library}") from None
    if wanted.release[:2] < versions[0].release[:2]:
        raise NotKnown(f"the arguments of {library} {version} are not recorded: the oldest is {versions[0]}")
    if wanted.release[:2] > versions[-1].release[:2]:
        raise NotKnown(f"the arguments of {library} {version} are not recorded: the newest is {versions[-1]}")
    return max(i for i, known in enumerate(versions) if known.release[:2] <= wanted.release[:2])


def spans(library: str, classes: set[str]) -> dict[str, Span]:
    """Fields that any of these classes has or had in some recorded version, with when. The last stretch counts."""
    data = recorded()["libraries"][library]
    versions = data["versions"]
    found: dict[str, Span] = {}
    for name in classes:
        for field, entries in data["classes"].get(name, {}).items():
            last = max(b for _, b, _ in entries)
            until = versions[last + 1] if last + 1 < len(versions) else None
            found[field] = Span(versions[min(a for a, _, _ in entries)], until)
    return found


def _at(entries: list[Any], index: int) -> Any:
    return next((what for first, last, what in entries if first <= index <= last), None)


def unpacked(name: str, packed: list[Any]) -> Argument:
    """An argument as the record writes it: type, choices or enum, default, aliases."""
    kind, choices, default, aliases = [*packed, None, None, None, None][:4]
    enum = choices if isinstance(choices, str) else None
    return Argument(name, kind, () if enum else tuple(choices or ()), enum, default, tuple(aliases or ()))
