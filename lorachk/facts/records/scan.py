"""Scans one part of a large file: the work of a process. Everything in the result counts from the part's start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lorachk.facts.records.array import ArrayReader
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.item import Fault, Item
from lorachk.facts.records.jsonlines import read_lines
from lorachk.facts.records.parts import Part, read_part
from lorachk.facts.records.reader import strange
from lorachk.facts.records.tabulate import Plan, Tabulator, write
from lorachk.facts.records.typed import Layout, Typed

_TOGETHER = 512  # records


class Written(NamedTuple):
    """Columns of one table that were written to a file."""

    table: str
    file: Path
    bytes: int
    names: tuple[str, ...]


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
    if _latest is None or _latest[0] != job:
        tabulator = Tabulator(job.plan)
        _latest = (job, tabulator, Typed(job.layout, tabulator) if job.layout else None)
    _, tabulator, typed = _latest
    tabulator.restart()
    data = read_part(job.file, part)
    newlines = data.count(b"\n")
    faults: list[Fault] = []
    odd: Item | None = None
    unfinished = False
    records = typed.add(_inside(data, job.lines), lines=job.lines) if typed else None
    places = records or 0
    if records is None:
        records = 0
        reader = _general(job, data, faults)
        batch: list[Item] = []
        for item in reader.items:
            records += 1
            if odd is None and not isinstance(item.value, dict):
                odd = item._replace(raw=b"", value=strange(item.value))
            batch.append(item)
            if len(batch) == _TOGETHER:
                tabulator.add(batch)
                batch = []
        tabulator.add(batch)
        places = records
        if reader.array is not None:
            places, unfinished = reader.array.index, reader.array.unfinished
    fields, cut = list(tabulator.fields.rows()), tabulator.fields.cut
    written = [Written(*w) for w in write(tabulator.clear(), job.folder, f"{os.getpid()}-{number}")]
    return Scanned(records, places, newlines, written, fields, cut, faults, odd, tabulator.undecoded, unfinished)


def _inside(data: bytes, lines: bool) -> bytes:
    """The part without the comma behind its last record."""
    if lines:
        return data
    body = data.rstrip(b" \t\r\n")
    return body[:-1] if body.endswith(b",") else data


class _General(NamedTuple):
    items: Iterator[Item]
    array: ArrayReader | None


def _general(job: Job, data: bytes, faults: list[Fault]) -> _General:
    if job.lines:
        return _General(read_lines(_Nothing(), data, faults.append), None)
    array = ArrayReader(_Nothing(), data, 0, faults.append, final=False)
    return _General(iter(array), array)


class _Nothing:
    """A part has been read already."""

    def read(self, _size: int) -> bytes:
        """Nothing more."""
        return b""
