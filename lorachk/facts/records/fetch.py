"""Reads single records of a dataset file again, by their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.locate import read_at
from lorachk.facts.records.reader import Reader


def fetch(file: DataFile, wanted: Sequence[tuple[int, int | None]]) -> Iterator[tuple[int, Any]]:
    """Number and value of records, in the order of the file; `wanted` are number and byte offset, ascending.

    What stands at a known place of a plain file is read there; from the first that is not, the file is read on from its
    beginning. A record that cannot be read any more is left out.
    """
    done = 0
    if file.seekable:
        for number, offset in wanted:
            if offset is None:
                break
            try:
                value = read_at(file.local, offset).value
            except (OSError, ValueError, RecursionError):  # UTF-16, or broken in a way that the reader can mend
                break
            yield number, value
            done += 1
    rest = {number for number, _ in wanted[done:]}
    if not rest:
        return
    last = max(rest)
    for item in Reader(file):
        if item.number in rest:
            yield item.number, item.value
        if item.number >= last:
            return
