"""Reads some records of a dataset file again: at their places, or by reading the file through once more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.locate import read_at
from lorachk.facts.records.reader import Reader


class Wanted(Protocol):
    """A record: its number, and the byte of the file's UTF-8 text where it starts, when that is known."""

    @property
    def record(self) -> int:
        """The number."""
        ...

    @property
    def offset(self) -> int | None:
        """The byte."""
        ...


_W = TypeVar("_W", bound=Wanted)


def fetch(file: DataFile, wanted: Sequence[_W]) -> Iterator[tuple[_W, Any]]:
    """Those of `wanted` (ascending) that can still be read, each with its value.

    They are read at their places; from the first that is not there on (UTF-16, or broken in a way that the reader can
    mend), the file is read through.
    """
    for at, one in enumerate(wanted):
        if one.offset is None or not file.seekable:
            yield from through(file, wanted[at:])
            return
        try:
            value = read_at(file.local, one.offset).value
        except (OSError, ValueError, RecursionError):
            yield from through(file, wanted[at:])
            return
        yield one, value


def through(file: DataFile, wanted: Iterable[_W]) -> Iterator[tuple[_W, Any]]:
    """The same, by reading the file from its beginning to the last of them."""
    remaining = iter(wanted)
    one = next(remaining, None)
    if one is None:
        return
    for item in Reader(file):
        while one.record < item.number:  # it could not be read again
            one = next(remaining, None)
            if one is None:
                return
        if one.record == item.number:
            yield one, item.value
            one = next(remaining, None)
            if one is None:
                return
