"""Scans a large file part by part, in several processes or in this one, and gives the results in order."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from lorachk.facts.imagepool import cpus
from lorachk.facts.records.item import Item
from lorachk.facts.records.layout import layout
from lorachk.facts.records.parts import Part, cut_of, parts, start_of
from lorachk.facts.records.reader import Reader
from lorachk.facts.records.scan import Job, Scanned, scan
from lorachk.facts.records.stream import Stream
from lorachk.facts.records.tabulate import Plan

_AHEAD = 6  # parts that wait beside those being scanned: fewer leave processes idle while a batch is compressed
_AHEAD_IN_MEMORY = 2  # of those that stand in memory
_BEGINNING = 4 << 20  # bytes in which the first records are looked for


class Base(NamedTuple):
    """Where a part starts: record, lines before it, byte."""

    record: int
    line: int
    offset: int


class Parallel:
    """One large file. `possible` tells whether it can be cut; then `scan`, then what is `rest`.

    `here`: no processes are started, for a file that is read before they would have.
    """

    def __init__(
        self, reader: Reader, head: list[Item], plan: Plan, folder: Path, workers: int | None, *, here: bool = False
    ) -> None:
        self._reader = reader
        self._here = here
        self._workers = workers or cpus()
        text = b""
        if head and reader.container in ("array", "lines"):
            stream = Stream(reader.file)
            text = stream.read(_BEGINNING)
            stream.close()
        self._cut = cut_of(head, reader.container, text)
        lines = reader.container == "lines"
        usual = None
        if head and reader.file.mapping is None:
            usual = layout([i.value for i in head], start_of(head[0].raw))
        self._job = Job(reader.file, lines, plan, usual, folder)
        first = head[0] if head else None
        start = 0 if lines or first is None or first.offset is None else first.offset
        self._next = Base(0, 0 if lines or first is None else first.line - 1, start)

    @property
    def possible(self) -> bool:
        """Whether the file can be cut."""
        return self._cut is not None

    def scan(self, tell: Callable[[int], None]) -> Iterator[tuple[Scanned, Base]]:
        """Results of all parts but the last, in order, and where each starts; `tell` is told the bytes done.

        Ends early where a part turns out to be cut in the wrong place or its process dies: `rest` goes on from there.
        """
        assert self._cut is not None
        remaining = (part for part in parts(self._reader.file, self._next.offset, self._cut) if not part.last)
        for scanned, part in self._here_scanned(remaining) if self._here else self._in_processes(remaining):
            if scanned.unfinished:
                return
            base = self._next
            self._note(scanned, base)
            self._next = Base(base.record + scanned.places, base.line + scanned.newlines, base.offset + part.size)
            yield scanned, base
            tell(self._next.offset)

    def _here_scanned(self, remaining: Iterator[Part]) -> Iterator[tuple[Scanned, Part]]:
        for number, part in enumerate(remaining):
            yield scan(self._job, part, number), part

    def _in_processes(self, remaining: Iterator[Part]) -> Iterator[tuple[Scanned, Part]]:
        waiting: deque[tuple[Future[Scanned], Part]] = deque()
        # Not fork: threads of other libraries (DuckDB) may hold locks.
        pool = ProcessPoolExecutor(self._workers, mp_context=multiprocessing.get_context("spawn"))
        try:
            number = 0
            while True:
                while not self._enough(waiting) and (part := next(remaining, None)):
                    waiting.append((pool.submit(scan, self._job, part, number), part))
                    number += 1
                if not waiting:
                    return
                future, part = waiting.popleft()
                try:
                    scanned = future.result()
                except (BrokenProcessPool, OSError):
                    return
                yield scanned, part
        finally:
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()

    def rest(self) -> Iterator[Item]:
        """The records that `scan` left."""
        return self._reader.resume(self._next.offset, self._next.record, self._next.line + 1)

    def _enough(self, waiting: deque[tuple[Future[Scanned], Part]]) -> bool:
        in_memory = bool(waiting) and waiting[-1][1].data is not None
        return len(waiting) >= self._workers + (_AHEAD_IN_MEMORY if in_memory else _AHEAD)

    def _note(self, scanned: Scanned, base: Base) -> None:
        for fault in scanned.faults:
            self._reader.note(fault._replace(offset=fault.offset + base.offset))
        if (odd := scanned.strange) is not None:
            self._reader.note_strange(odd.number + base.record, str(odd.value), odd.line + base.line)
