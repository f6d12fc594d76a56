"""Collects dataset, record, turn, image and encoding: streams every data file once, in batches.

Memory does not grow with the file: records are read, judged and handed to the sink some hundred at a time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

from lorachk.errors import UsageError
from lorachk.facts.collector import Context, NotCollected, Row
from lorachk.facts.imagepaths import Resolver
from lorachk.facts.images import SEED, Images
from lorachk.facts.records.dialect import shape
from lorachk.facts.records.item import Item
from lorachk.facts.records.reader import Reader
from lorachk.facts.records.rows import Rows, Rules, Tally, add_rows
from lorachk.families.minicpmv import scheme
from lorachk.launchers.text import special
from lorachk.run import Run

_BATCH = 512  # records per step: images of a step are looked at together
_KEPT = 20_000  # rows that are gathered before they go to the sink
_SEPARATE = {"trl", "hf", "axolotl", "ms-swift", "llamafactory"}  # trainers whose data may be a name on the hub
# What the trainers read with json.load (array) or line by line; others take both or go by the file's name.
_CONTAINERS = {"minicpmv": "array", "llava": "array", "vlm-r1": "lines"}


def collect(context: Context) -> None:
    """Fill the tables. Raises UsageError for a data file that cannot be opened, NotCollected without any."""
    run = context.run
    files = [(path, "train") for path in run.data] + [(path, "eval") for path in run.eval_data]
    if not files:
        raise NotCollected("no dataset: name the file (lorachk data train.json), or give --data or [run] data")
    files = [(path, split) for path, split in files if _is_here(context, path)]
    collected = _Collected(context)
    with _no_garbage_collection():
        for path, split in files:
            collected.file(path, split)
        if files:
            collected.finish()


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


def _is_here(context: Context, path: str) -> bool:
    run = context.run
    at = run.at("data") if path in run.data else run.at("eval_data")
    where = f"{at.path}:{at.line}" if at and at.line else (at.path if at else None)
    try:
        kind = special(path)
        if kind is None:
            with Path(path).open("rb") as file:
                file.read(1)
    except FileNotFoundError:
        if run.trainer in _SEPARATE and not Path(path).suffix:
            context.sink.unknown("record", f"{path} is no local file: data on the hub is not read")
            return False
        hint = "paths are relative to the file naming them" if at and at.line else "paths are relative to this folder"
        raise UsageError(f"no such data file: {path}", where=where, hint=hint) from None
    except IsADirectoryError:
        hint = "name the JSON or JSONL file in it"
        raise UsageError(f"{path!r} is a folder, not a data file", where=where, hint=hint) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", where=where) from None
    if kind:
        raise UsageError(f"{path} is {kind}, not a data file", where=where, hint="write it to a file first")
    return True


class _Collected:
    """State over all files."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows = Rows()
        self._tally = Tally()
        self._trainer = context.run.trainer
        self._undecoded = 0
        self._lost = 0
        self._records = self._turns = False

    def file(self, path: str, split: str) -> None:
        """Read one file into rows."""
        reader = Reader(Path(path))
        items = iter(reader)
        head = list(islice(items, _BATCH))
        if self._trainer is None:
            self._trainer = _loader_of(head, self._context.run.family)
        rules = _rules(self._context.run, self._trainer)
        resolver = Resolver(self._context.run.image_root, _folders(self._context.run, path))
        options = self._context.options
        self._context.say(f"reading {path}")
        with Images(resolver, _expected(head, reader.bytes), deep=options.deep, workers=options.workers) as images:
            for batch in _batched(chain(head, items)):
                add_rows(self._rows, batch, path, split, rules, images, self._tally)
                self._records = True
                self._turns = self._turns or bool(self._rows.turn)
                if len(self._rows.turn) + len(self._rows.record) >= _KEPT:
                    self._flush()
                    self._context.say(f"{path}: {reader.records:,} records")
            self._undecoded += images.undecoded
            self._lost += images.lost
        self._context.sink.add("dataset", [_dataset_row(reader, path, split, self._trainer)])
        if reader.foreign:
            reason = f"{path} is a {reader.foreign} file; JSON and JSON lines are read"
            self._context.sink.unknown("record", reason)

    def _flush(self) -> None:
        rows, sink = self._rows, self._context.sink
        # Every table is added to, be it nothing: a dataset without images was looked at all the same.
        sink.add("record", rows.record)
        if self._turns:
            sink.add("turn", rows.turn)
        sink.add("image", rows.image)
        if rows.encoding:
            sink.add("encoding", rows.encoding)
        self._rows = Rows()

    def finish(self) -> None:
        """Hand over what is left and state what is not known."""
        if self._records:
            self._flush()
        run, sink, tally = self._context.run, self._context.sink, self._tally
        if self._records and not self._turns:
            sink.unknown("turn", "no record has a conversation (conversations or messages) that is known here")
        if not self._records:
            for table in ("turn", "image", "encoding", "record"):
                sink.unknown(table, "no record could be read")
            return
        if self._trainer != "minicpmv":
            which = (
                f"what {self._trainer} does with a record is not known here" if self._trainer else "no trainer given"
            )
            sink.unknown("record.verdict", f"{which}: verdicts are for trainer minicpmv")
        elif tally.verdicts:
            reason = "whether they fit the token limit, only the tokenizer can tell"
            sink.unknown("record.verdict", f"{tally.verdicts:,} records: {reason}", tally.verdicts)
        if tally.urls:
            sink.unknown("image.exists", f"{tally.urls:,} images are URLs, which are not fetched", tally.urls)
        if self._undecoded:
            reason = (
                f"{self._undecoded:,} image files were checked at their ends but not decoded: only a random sample "
                f"(seed {SEED}) is; --deep decodes all"
            )
            sink.unknown("image.decodes", reason, self._undecoded)
        if self._lost:
            reason = f"{self._lost:,} image files: a worker died or hung while reading them or their neighbours"
            sink.unknown("image.problem", reason, self._lost)
            sink.unknown("image.decodes", reason, self._lost)
        self._unknown_tokens(_rules(run, self._trainer))

    def _unknown_tokens(self, rules: Rules) -> None:
        sink, tally = self._context.sink, self._tally
        reason = _why_uncounted(rules)
        if reason:
            sink.unknown("image.tokens", reason)
            sink.unknown("image.pieces", reason)
        elif tally.uncounted_images:
            sink.unknown("image.tokens", f"{tally.uncounted_images:,} images could not be read", tally.uncounted_images)
        if rules.max_length is None:
            reason = "no token limit: give --max-length or the trainer's own option (model_max_length)"
        if reason:
            sink.unknown("encoding", reason)
            return
        sink.add("encoding", [])
        for column, count in (("cut", tally.cuts), ("image_cut", tally.image_cuts)):
            if count:
                why = "close to the token limit, or an image could not be read; only the tokenizer can tell"
                sink.unknown(f"encoding.{column}", f"{count:,} records are {why}", count)


def _loader_of(head: Iterable[Item], family: str | None) -> str | None:
    """minicpmv when all recognised records are in the dialect of its loader, and one of them has an image."""
    if family is not None and not family.startswith("minicpm"):
        return None
    shapes = [s for s in (shape(item.value) for item in head) if s.dialect != "unknown"]
    if not all(s.dialect in ("minicpmv", "minicpmv-multi") for s in shapes):
        return None
    return "minicpmv" if any(s.image_field in ("string", "object") for s in shapes) else None


def _rules(run: Run, trainer: str | None) -> Rules:
    found = scheme(run.family, run.llm_type if trainer == "minicpmv" else None)
    # The frameworks cut images their own way (LLaMA-Factory shrinks them first), except with 4.6's own processor.
    if trainer not in (None, "minicpmv") and not (found and found.query_num is None and trainer in ("hf", "trl")):
        found = None
    llama3 = run.llm_type == "llama3" or (run.llm_type is None and run.family == "minicpmv25")
    return Rules(trainer, run.family, found, "llama3" if llama3 else "qwen", run.max_length, run.max_slice_nums)


def _why_uncounted(rules: Rules) -> str | None:
    if rules.scheme:
        return None
    if rules.family is None:
        return "the model family is not known: give --model or --family"
    if rules.trainer not in (None, "minicpmv") and scheme(rules.family):
        return f"{rules.trainer} prepares images in a way that is not counted here"
    return f"no visual-token arithmetic for {rules.family}"


def _folders(run: Run, path: str) -> list[str]:
    launch = [str(Path(run.launch).parent)] if run.launch else []
    return [*launch, str(Path(path).parent), "."]


def _expected(head: list[Item], size: int) -> int:
    """About how many images the file names, from its first records."""
    images = sum(len(shape(item.value).images) for item in head)
    if len(head) < _BATCH:
        return images
    return int(images * max(1.0, size / max(1, sum(len(item.raw) for item in head))))


def _batched(items: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def _dataset_row(reader: Reader, path: str, split: str, trainer: str | None) -> Row:
    place = reader.place()
    return {
        "path": path,
        "split": split,
        "container": reader.container,
        "bytes": reader.bytes,
        "encoding": reader.encoding,
        "records": reader.records,
        "expected": _CONTAINERS.get(trainer or ""),
        "problem": reader.fault.text if reader.fault else None,
        "line": place.line if place else None,
        "col": place.col if place else None,
        "context": place.context if place else None,
    }
