"""A repaired copy of a dataset: record by record through the fixers, never the original, whole or not at all."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from lorachk.errors import UsageError
from lorachk.facts.records.decode import NON_FINITE
from lorachk.facts.records.item import Item
from lorachk.facts.records.reader import Reader
from lorachk.facts.records.stream import BLOCK, Stream, lines
from lorachk.fixes import SAFE, unsafe
from lorachk.fixes.fixer import Around, Fixer
from lorachk.fixes.style import ARRAY, LINES, Glue, array_glue, dumped

_TOLD = 2048  # records between two words on progress
_any = msgspec.json.Decoder()


class Applied(NamedTuple):
    """A kind of fix: rule code, what was done, and whether it was safe."""

    code: str
    what: str
    safe: bool


class Changed(NamedTuple):
    """One record that changes: where it stood, before, after (None: left out), and what was done."""

    number: int
    line: int
    before: Any
    after: Any
    fixes: list[Applied]


@dataclass
class Outcome:
    """What was done. Of `read` records `changed` were changed and `dropped` left out; `fixes` counts records."""

    read: int = 0
    written: int = 0
    changed: int = 0
    dropped: int = 0
    fixes: Counter[Applied] = field(default_factory=Counter)
    file: list[Applied] = field(default_factory=list)  # fixes of the file as a whole

    @property
    def anything(self) -> bool:
        """Whether the copy differs from the original."""
        return bool(self.fixes or self.file)


def fix_file(
    source: Path,
    target: Path | None,
    around: Around,
    *,
    container: str | None = None,
    with_unsafe: bool = False,
    on_change: Callable[[Changed], None] | None = None,
    progress: Callable[[int, int | None, str], None] | None = None,
) -> Outcome:
    """Read `source`, mend its records, write `target` (None: only tell through `on_change`).

    `container` (array, lines) is what the trainer reads; None: as the original. Memory does not grow with the file,
    but for a hash per record with `with_unsafe`. Raises UsageError when the file is no JSON, cannot be written, or when
    no record would be left.
    """
    work = _Work(source, around, (*SAFE, *unsafe()) if with_unsafe else SAFE, on_change, progress)
    try:
        if target is None:
            work.run(None, container)
        else:
            with _atomic(target) as out:
                work.run(out, container)
    except OSError as error:
        raise UsageError(f"cannot write the copy: {error.strerror or error}", where=str(target or source)) from error
    return work.outcome


class _Work:
    """State over one file."""

    def __init__(
        self,
        source: Path,
        around: Around,
        fixers: tuple[Fixer, ...],
        on_change: Callable[[Changed], None] | None,
        progress: Callable[[int, int | None, str], None] | None,
    ) -> None:
        self._source, self._around, self._fixers = source, around, fixers
        self._on_change, self._progress = on_change, progress
        self._reader = Reader(source)
        self.outcome = Outcome()
        self._bytes = 0
        self._last = -1

    def run(self, out: IO[bytes] | None, container: str | None) -> None:
        """Mend all records into `out`."""
        items = iter(self._reader)
        head = list(islice(items, 2))
        reader = self._reader
        self._refuse_foreign(head)
        wanted = container if container in ("array", "lines") else "array" if reader.container != "lines" else "lines"
        glue = LINES
        if wanted == "array":
            glue = self._glue(head) if reader.container == "array" else ARRAY
        last = None
        for item in chain(head, items):
            text = self._mended(item, one_line=wanted == "lines")
            if text is not None and out is not None:
                out.write(glue.before if last is None else glue.between)
                out.write(text)
            last = text if text is not None else last
            self._bytes += len(item.raw)
            if self._progress and item.number % _TOLD == 0:
                self._progress(self._bytes >> 20, reader.bytes >> 20, f"MB of {self._source.name}")
        if last is None:
            why = "; ".join(f"{fix.code} {fix.what}: {count:,}" for fix, count in self.outcome.fixes.items())
            raise UsageError(f"no record would be left: {why}", where=str(self._source), hint="nothing was written")
        if out is not None:
            out.write(glue.after)
        self._file_fixes(wanted)

    def _refuse_foreign(self, head: list[Item]) -> None:
        reader = self._reader
        kind = reader.foreign or (reader.container if reader.container == "parquet" else None)
        if kind or (head and not head[0].raw):
            raise UsageError(f"a {kind or 'binary'} file is not repaired: only JSON is", where=str(self._source))
        if not head:
            why = reader.fault.text if reader.fault else "it holds no records"
            raise UsageError(f"there is nothing to repair: {why}", where=str(self._source))

    def _glue(self, head: list[Item]) -> Glue:
        stream = Stream(self._source)
        try:
            needed = sum(len(item.raw) for item in head) + (64 << 10)
            start = b""
            while len(start) < needed and (block := stream.read(max(BLOCK, needed))):
                start += block
        finally:
            stream.close()
        return array_glue(start, head[0].raw, head[1].raw if len(head) > 1 else None)

    def _mended(self, item: Item, *, one_line: bool) -> bytes | None:
        """The record as it goes into the copy; None when it is left out."""
        outcome, reader = self.outcome, self._reader
        outcome.read += 1
        self._last = item.number
        self._around.non_finite = reader.fault is not None
        value, fixes = self._through(item.value)
        left_out = value is None and bool(fixes)
        raw = item.raw.strip()
        whole = value is item.value and (reader.fault is None or _is_json(raw))
        if left_out:
            outcome.dropped += 1
            text = None
        elif whole and not (one_line and b"\n" in raw):
            text = raw
        elif value is item.value and not _is_utf8(raw):
            text = raw  # its text is not known, and a guess would be another text
        else:
            text, lossy = dumped(value, raw, one_line=one_line)
            if lossy:
                fixes.append(Applied("D201", "NaN and Infinity are now null", True))
            if not whole and not fixes:
                fixes.append(Applied("D101", "is now written as JSON", True))
        outcome.written += text is not None
        if fixes:
            outcome.changed += not left_out
            outcome.fixes.update(fixes)
            if self._on_change:
                self._on_change(Changed(item.number, item.line, item.value, value, fixes))
        return text

    def _through(self, value: Any) -> tuple[Any, list[Applied]]:
        """The record after all fixers (None with fixes: left out), and what they did."""
        fixes: list[Applied] = []
        if not isinstance(value, dict):
            return value, fixes
        record = self._around.record(value)
        for fixer in self._fixers:
            change = fixer.function(record, self._around)
            if change is None:
                continue
            fixes.append(Applied(change.code, change.what, fixer.safe))
            if change.value is None:
                return None, fixes
            record = self._around.record(change.value)
        return record.value, fixes

    def _file_fixes(self, wanted: str) -> None:
        reader, file = self._reader, self.outcome.file
        if reader.encoding != "utf-8":
            mark = "without byte order mark" if reader.encoding == "utf-8-sig" else f"instead of {reader.encoding}"
            file.append(Applied("D101", f"the file is now UTF-8 {mark}", True))
        fault = reader.fault
        if fault and fault.json and NON_FINITE not in fault.text and reader.encoding == "utf-8":
            file.append(Applied("D101", f"the file is now JSON; before: {fault.text}", True))
        elif fault and not fault.json and fault.line is None and reader.container != "object":
            file.append(Applied("D101", f"what comes after this is left out: {fault.text}", True))
        if reader.container != wanted:
            names = {"lines": "one record per line", "array": "one JSON array", "object": "an object"}
            before = names.get(reader.container or "", "no list")
            file.append(Applied("D101", f"the file is now {names[wanted]}; before: {before}", True))
        if lost := self._lost():
            records = f"{lost:,} record{'s' * (lost != 1)} that cannot be read"
            file.append(Applied("D101", f"{records} {'is' if lost == 1 else 'are'} left out", True))

    def _lost(self) -> int:
        """Records of the original that could not be read."""
        reader = self._reader
        if reader.fault is None:
            return 0
        if reader.container != "lines":
            return self._last + 1 - self.outcome.read + reader.fault.text.startswith("the file ends inside record")
        stream = Stream(self._source)
        try:
            there = sum(line is None or bool(line.strip()) for _, line in lines(stream, b"", 64 << 20))
        finally:
            stream.close()
        return there - self.outcome.read


def _is_json(raw: bytes) -> bool:
    """Whether bytes are one JSON value as Python's json and everybody else reads it."""
    try:
        _any.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            json.loads(raw, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return False
    return True


def _refuse(word: str) -> None:
    raise ValueError(word)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def _atomic(target: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when all is written, and not at all when something fails."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
