"""Scans one part of a large file: the work of a process. Everything in the result counts from the part's start."""

from __future__ import annotations

import gc
import os
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from lorachk.facts.records.array import ArrayReader
from lorachk.facts.records.columns import Written
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.item import Fault, Item
from lorachk.facts.records.jsonlines import read_lines
from lorachk.facts.records.layout import Layout
from lorachk.facts.records.parts import Part, read_part
from lorachk.facts.records.reader import strange
from lorachk.facts.records.tabulate import Plan, Tabulator, write
from lorachk.facts.records.typed import Typed

_TOGETHER = 512  # records


class Scanned(NamedTuple):
    """What a part held: records, line breaks, columns, key paths, faults; `unfinished`: it was cut inside a record.

    `places` counts the records that could not be read, too.
    """

    records: int
    places: int
    newlines: int
    written: list[Written]
    fields: list[tuple[str, str, int, int]]
    fields_cut: bool
    faults: list[Fault]
    strange: Item | None  # the first record that is no object, without its bytes
    undecoded: int
    unfinished: bool = False


class Job(NamedTuple):
    """What all parts of a file share."""

    file: DataFile
    lines: bool
    plan: Plan
    layout: Layout | None
    folder: Path


_latest: tuple[Job, Tabulator, Typed | None] | None = None  # of this process: what it found of folders is kept


def scan(job: Job, part: Part, number: int) -> Scanned:
    """Scan one part. Raises OSError when the file went away."""
    global _latest
    gc.disable()  # rows make no cycles, and this process does nothing else
    if _latest is None or _latest[0] != job:
        tabulator = Tabulator(job.plan)
        _latest = (job, tabulator, Typed(job.layout, tabulator) if job.layout else None)
    _, tabulator, typed = _latest
    tabulator.restart()
    data = read_part(job.file, part)
    found = _Found()
    if typed is None or not _quickly(job, data, tabulator, typed, found):
        tabulator.restart()
        found = _Found()
        _generally(job, data, tabulator, found)
    fields, cut = list(tabulator.fields.rows()), tabulator.fields.cut
    written = write(tabulator.clear(), job.folder, f"{os.getpid()}-{number}")
    newlines = data.count(b"\n") if found.newlines is None else found.newlines
    return Scanned(
        found.records,
        found.places,
        newlines,
        written,
        fields,
        cut,
        found.faults,
        found.strange,
        tabulator.undecoded,
        found.unfinished,
    )


class _Found:
    def __init__(self) -> None:
        self.records = self.places = 0
        self.faults: list[Fault] = []
        self.strange: Item | None = None
        self.unfinished = False
        self.newlines: int | None = None  # when they were counted


def _quickly(job: Job, data: bytes, tabulator: Tabulator, typed: Typed, found: _Found) -> bool:
    """Take the part apart in groups of records, those written in an unusual way generally. False: all must be."""
    line, broken = 0, b"\n" in data
    for group in typed.groups(data):
        count = typed.add(data, group, lines=job.lines, first=found.places, line=line)
        if count is None:
            _generally(job, data[group.start : group.end], tabulator, found, line=line, offset=group.start)
            if found.unfinished:  # what looked like the start of a record was none
                return False
        else:
            found.records += count
            found.places += count
        line += data.count(b"\n", group.start, group.end) if broken else 0
    found.newlines = line
    return True


def _generally(job: Job, data: bytes, tabulator: Tabulator, found: _Found, *, line: int = 0, offset: int = 0) -> None:
    """Take records apart one by one; `line` lines and `offset` bytes of the part come before `data`."""
    array = None
    if job.lines:
        items = read_lines(_Nothing(), data, found.faults.append, offset=offset, index=found.places, line=line + 1)
    else:
        array = ArrayReader(
            _Nothing(), data, 0, found.faults.append, final=False, offset=offset, index=found.places, line=line + 1
        )
        items = iter(array)
    before = found.records
    while batch := list(islice(items, _TOGETHER)):
        found.records += len(batch)
        odd = next((item for item in batch if not isinstance(item.value, dict)), None)
        if odd is not None and found.strange is None:
            found.strange = odd._replace(raw=b"", value=strange(odd.value))
        tabulator.add(batch)
    found.places = array.index if array else found.places + found.records - before
    found.unfinished = array is not None and array.unfinished


class _Nothing:
    """A part has been read already."""

    def read(self, _size: int) -> bytes:
        """Nothing more."""
        return b""
