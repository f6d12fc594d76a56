"""Collects the tables of the dataset: every file is read once, every image file looked at once.

First all records are taken apart (in processes, for a large file), and references to images are resolved. Then the
distinct image files are looked at, and what was found is laid over the references, the token bounds and the verdicts.
Memory does not grow with the files.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import cast

from lorachk.facts.collector import Batch, ColumnSink, Context, NotCollected, Row
from lorachk.facts.datalater import Later
from lorachk.facts.encoding.around import counting
from lorachk.facts.encoding.setup import Recipe, Setup, environment_of, setup
from lorachk.facts.records.columns import Written
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.dialect import shape
from lorachk.facts.records.inputs import expand
from lorachk.facts.records.item import Item
from lorachk.facts.records.reader import Reader
from lorachk.facts.records.tabulate import Plan, Tabulator, write
from lorachk.facts.records.verdicts import Settings, loader
from lorachk.run import Run

_HEAD = 200  # records from which trainer and layout are told
_TOGETHER = 512  # records taken apart at once
_PARALLEL = 24 << 20  # bytes of data from which processes are worth starting
_IN_PARTS = 4 << 20  # bytes from which a file is taken apart in parts, most of them the quick way
_KEPT = 20_000  # rows that are gathered before they go to the sink
_TEMPLATES = ("version", "conv_style", "template")  # LLaVA's, InternVL's and the frameworks' flag
TABLES = ("record", "field", "turn", "image", "box")


def collect(context: Context) -> None:
    """Fill the tables. Raises UsageError for a data file that cannot be opened, NotCollected without any."""
    run = context.run
    if not run.data and not run.eval_data:
        why = run.because.get("data")  # it is named, but not here
        raise NotCollected(why or "no dataset: name the file (lorachk data train.json), or give --data or [run] data")
    files = [*_files(context, run.data, "train"), *_files(context, run.eval_data, "eval")]
    if not files:
        return
    large = sum(file.bytes for file in files) > _PARALLEL
    cast(ColumnSink, context.sink).name_paths([file.path for file in files], large=large)
    with tempfile.TemporaryDirectory(prefix="lorachk-scan-") as folder, _no_garbage_collection():
        collected = _Collected(context, Path(folder))
        for file in files:
            collected.file(file)
        collected.finish()


def _files(context: Context, names: list[str], split: str) -> list[DataFile]:
    run = context.run
    return expand(
        names,
        split,
        at=run.at("data" if split == "train" else "eval_data"),
        trainer=run.trainer,
        say=context.say,
        unread=lambda name: context.sink.unknown("record", f"{name} is no local file: data on the hub is not read"),
    )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Rows make no cycles, and looking for some among them takes a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Collected:
    """State over all files."""

    def __init__(self, context: Context, folder: Path) -> None:
        self._context, self._folder = context, folder
        self._sink = cast(ColumnSink, context.sink)
        self._trainer = context.run.trainer
        self._undecoded = self._records = self._number = 0
        self._turns = self._fields_cut = False
        self._files: dict[str, DataFile] = {}
        self._recipe = Recipe(context.run, self._trainer, {})
        self._setup: Setup | None = None
        self._fields: dict[tuple[str, str], list[int]] = {}  # of one file: key path and type to values, first record

    def file(self, file: DataFile) -> None:
        """Read one file into columns."""
        run, options = self._context.run, self._context.options
        reader = Reader(file)
        items = iter(reader)
        head = list(islice(items, _HEAD))
        if self._trainer is None:
            self._trainer = guessed_trainer(head, file, run.family)
        self._files[file.path] = file
        if self._setup is None:
            self._recipe = Recipe(run, self._trainer, environment_of(self._context.settings))
            self._setup = setup(self._recipe)
        plan = Plan(
            self._trainer,
            run.family,
            loader_settings(run, file),
            image_root(run, file),
            tuple(image_folders(run, file)),
            urls=options.fetch_urls,
            deep=options.deep,
            counting=counting(self._setup, self._recipe, head, file),
        )
        self._context.say(f"reading {file.path}")
        before = self._records
        parallel = None
        if file.bytes > _IN_PARTS:
            from lorachk.facts.records.parallel import Parallel

            here = file.bytes <= _PARALLEL
            parallel = Parallel(reader, head, plan, self._folder, options.workers, here=here)
        if parallel and parallel.possible:
            items.close()  # type: ignore[attr-defined]
            for scanned, base in parallel.scan(partial(self._tell, file)):
                self._blocks(scanned.written, file, reader, base.record, base.line, base.offset)
                self._count_fields(scanned.fields, base.record)
                self._undecoded += scanned.undecoded
                self._fields_cut |= scanned.fields_cut
                self._records += scanned.records
            rest = parallel.rest()
        else:
            rest = chain(head, items)
        self._records += self._one_by_one(rest, file, reader, plan)
        self._hand_fields(file)
        self._context.sink.add("dataset", [_dataset_row(reader, file, self._records - before, self._trainer)])
        if reader.foreign:
            reason = f"{file.path} is a {reader.foreign} file; JSON, JSON lines and Parquet are read"
            self._context.sink.unknown("record", reason)

    def _one_by_one(self, items: Iterable[Item], file: DataFile, reader: Reader, plan: Plan) -> int:
        """Take records apart in this process; how many."""
        tabulator = Tabulator(plan)
        records = 0
        remaining = iter(items)
        while batch := list(islice(remaining, _TOGETHER)):
            tabulator.add(batch)
            records += len(batch)
            if len(tabulator.tables.record) + len(tabulator.tables.turn) >= _KEPT:
                self._write(tabulator, file, reader)
                last = batch[-1]
                if last.offset is not None:
                    self._tell(file, last.offset)
                else:
                    self._context.say(f"{file.path}: {self._records + records:,} records")
        self._write(tabulator, file, reader)
        self._count_fields(tabulator.fields.rows(), 0)
        self._undecoded += tabulator.undecoded
        self._fields_cut |= tabulator.fields.cut
        return records

    def _tell(self, file: DataFile, done: int) -> None:
        total = file.bytes if file.compression is None else None
        self._context.progress(done >> 20, None if total is None else total >> 20, f"MiB of {file.path}")

    def _write(self, tabulator: Tabulator, file: DataFile, reader: Reader) -> None:
        self._number += 1
        written = write(tabulator.clear(), self._folder, f"here-{self._number}")
        self._blocks(written, file, reader, 0, 0, 0)

    def _blocks(
        self, written: Iterable[Written], file: DataFile, reader: Reader, record: int, line: int, offset: int
    ) -> None:
        """Hand columns to the sink, which count from record `record`, line `line` + 1 and byte `offset`."""
        for part in written:
            table = part.table
            constants = {**part.constants, "path": file.path}
            shifts = {"record": record}
            if table == "record":
                constants["split"] = file.split
                shifts |= {"line": line, "offset": offset}
            for name in shifts.keys() & part.constants.keys():
                if part.constants[name] is not None:
                    constants[name] = part.constants[name] + shifts[name]
            self._turns |= table == "turn"
            numbered = None
            if table == "record":
                numbered = reader.prefix
                if numbered is None:
                    constants["pointer"] = ""
            self._sink.append(
                Batch(table, part.file, part.bytes, part.names, constants, shifts, part.words, numbered, part.patterns)
            )

    def _count_fields(self, rows: Iterable[tuple[str, str, int, int]], base: int) -> None:
        """Add to the types of the file being read; the records of `rows` count from `base`."""
        for pointer, kind, count, record in rows:
            seen = self._fields.setdefault((pointer, kind), [0, base + record])
            seen[0] += count

    def _hand_fields(self, file: DataFile) -> None:
        made: list[Row] = [
            {
                "path": file.path,
                "split": file.split,
                "pointer": pointer,
                "type": kind,
                "count": count,
                "record": record,
            }
            for (pointer, kind), (count, record) in self._fields.items()
        ]
        self._context.sink.add("field", made)
        self._fields = {}

    def finish(self) -> None:
        """Look at the images, lay what was found over the records, and state what is not known."""
        sink = self._sink
        if not self._records:
            for table in (*TABLES, "encoding", "tokenizer"):
                sink.unknown(table, "no record could be read")
            return
        for table in TABLES:
            # Every table is added to, be it nothing: a dataset without images was looked at all the same.
            if table != "turn" or self._turns:
                sink.add(table, [])
        if not self._turns:
            sink.unknown("turn", "no record has a conversation (conversations or messages) that is known here")
        if self._fields_cut:
            sink.unknown("field", "the records have thousands of different keys: those beyond 2,000 were not counted")
        assert self._setup
        Later(self._context, self._recipe, self._setup, self._files).fill(undecoded=self._undecoded)


def guessed_trainer(head: Iterable[Item], file: DataFile, family: str | None) -> str | None:
    """The trainer that a file is for, told from its first records, where that is certain.

    llamafactory for what its registry names; minicpmv when all recognised records are in the dialect of its loader, and
    one of them has an image.
    """
    if file.mapping is not None:
        return "llamafactory"
    if family is not None and not family.startswith("minicpm"):
        return None
    shapes = [s for s in (shape(item.value) for item in head) if s.dialect != "unknown"]
    if not all(s.dialect in ("minicpmv", "minicpmv-multi") for s in shapes):
        return None
    return "minicpmv" if any(s.image_field in ("string", "object") for s in shapes) else None


def loader_settings(run: Run, file: DataFile) -> Settings:
    """What a trainer's verdict on the records of `file` depends on."""
    # The branch of MiniCPM-V's script; any value but these two fails whatever the records say.
    llama3 = run.llm_type == "llama3" or (run.llm_type is None and run.family == "minicpmv25")
    template = next((run.training_args[n] for n in _TEMPLATES if run.training_args.get(n)), None)
    return Settings(
        llm_type="llama3" if llama3 else "qwen",
        template=template if isinstance(template, str) else None,
        multimodal=None if run.family is None else run.family != "text",
        family=run.family,
        mapping=file.mapping,
    )


def image_root(run: Run, file: DataFile) -> str | None:
    """The folder that the image paths of `file` are joined to, when one is named."""
    return file.image_root or run.image_root


def image_folders(run: Run, file: DataFile) -> list[str]:
    """Where its images are looked for, without such a folder: where the trainer starts, beside the file, here."""
    launch = [str(Path(run.launch).parent)] if run.launch else []
    return [*launch, "." if file.spooled else str(Path(file.local).parent), "."]


def _dataset_row(reader: Reader, file: DataFile, records: int, trainer: str | None) -> Row:
    place = reader.place()
    found = loader(trainer)
    return {
        "path": file.path,
        "split": file.split,
        "container": reader.container,
        "compression": file.compression,
        "bytes": file.bytes,
        "encoding": reader.encoding,
        "records": records,
        "expected": found.container if found else None,
        "problem": reader.fault.text if reader.fault else None,
        "line": place.line if place else None,
        "col": place.col if place else None,
        "context": place.context if place else None,
    }
