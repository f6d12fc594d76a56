"""Fills the tables `tokenizer` and `encoding`: exactly where a tokenizer and the trainer's encoding are known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, cast

from lorachk.facts.collector import ColumnSink, Context, Row
from lorachk.facts.encoding import frames
from lorachk.facts.encoding.cutting import image_is_cut
from lorachk.facts.encoding.exact import Answer, Asked, Job, answers, columns, encode
from lorachk.facts.encoding.setup import NO_LIMIT, Recipe, Setup
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.fetch import through
from lorachk.facts.records.verdicts import loader

_CHUNK = 512  # records of a job
_PARALLEL = 6_000  # records from which processes are worth starting
_ALONE = 500  # records of a dataset that are all encoded one by one
_SUMS = "f.texts, f.answers, f.last_answer, f.pictures, f.features, f.markers"
# Records to encode: where they stand, and the sizes of their images in order.
_WANTED = """
SELECT f.path, f.record, f."offset", list((i.width, i.height) ORDER BY i.position) FILTER (i.position IS NOT NULL)
FROM ({which}) f LEFT JOIN image i ON i.path = f.path AND i.record = f.record
GROUP BY f.path, f.record, f."offset" ORDER BY f.path, f.record
"""


class Encoding:
    """Encodes the records that are in the sink. `files` are the dataset files by path."""

    def __init__(self, context: Context, recipe: Recipe, used: Setup, files: Mapping[str, DataFile]) -> None:
        self._context, self._recipe, self._used, self._files = context, recipe, used, files
        self._sink = cast(ColumnSink, context.sink)
        self._limit = recipe.run.max_length
        self._done = self._total = 0

    def fill(self) -> None:
        """Fill `encoding`, and state what of it is not known. There must be an encoder."""
        self._sink.derive("forms", frames.FORMS)
        # What a known loader does with an image that does not open needs no tokens to be told.
        skip = "uncounted" if loader(self._recipe.trainer) else "unread"
        ((records, skipped),) = self._sink.select(f"SELECT count(*), count(*) FILTER ({skip}) FROM forms")  # noqa: S608
        forms = self._frames() if records > _ALONE else []
        self._sink.stage("frames", frames.TYPES, forms)
        self._sink.remake("encoding", frames.rows(self._limit))
        rest = (
            'SELECT f.path, f.record, f."offset" FROM forms f LEFT JOIN frames a ON a.form = f.form '  # noqa: S608
            f"WHERE NOT f.unread AND (a.form IS NULL OR NOT ({frames.surely(self._limit)}))"
        )
        ((self._total,),) = self._sink.select(f"SELECT count(*) FROM ({rest})")  # noqa: S608
        self._sink.add("encoding", self._exact(rest))
        self._unread()
        self._unknown(skipped)

    def _frames(self) -> list[dict[str, Any]]:
        """What each form adds, from samples."""
        self._sink.derive("sampled", frames.SAMPLES)
        joined = "SELECT f.* FROM forms f JOIN sampled s ON s.path = f.path AND s.record = f.record"
        sums = {
            (path, record): ((dialect, form), frames.Sums(*numbers))
            for path, record, dialect, form, *numbers in self._sink.select(
                f"SELECT f.path, f.record, f.dialect, f.form, {_SUMS} FROM ({joined}) f"  # noqa: S608
            )
        }
        samples: dict[tuple[str, int], list[frames.Sample]] = defaultdict(list)
        for path, answer in self._answers(joined, None, len(sums)):
            form, numbers = sums[path, answer.record]
            samples[form].append((numbers, answer))
        return frames.frames(samples, labels=self._used.labels)

    def _exact(self, which: str) -> Iterator[Row]:
        for path, answer in self._answers(which, self._limit, self._total):
            row = columns(answer, labels=self._used.labels)
            cut = answer.cut
            over = None if cut is None or self._limit is None else cut.total > self._limit
            yield {
                "path": path,
                "record": answer.record,
                "max_length": self._limit,
                **row,
                "cut": over,
                "image_cut": None if over is None or cut is None or not self._used.labels else image_is_cut(cut),
            }
            self._done += 1
            self._context.progress(self._done, self._total, "records tokenised")

    def _answers(self, which: str, limit: int | None, count: int) -> Iterator[tuple[str, Answer]]:
        """Path and answer of the records of a query."""
        found = self._sink.select(_WANTED.format(which=which))
        encodings = dict(self._sink.select("SELECT path::VARCHAR, encoding FROM dataset"))
        for path, rows in groupby(found, key=lambda row: row[0]):
            file = self._files[path]
            asked = (Asked(record, offset, _sizes(sizes)) for _, record, offset, sizes in rows)
            if file.seekable and file.container != "parquet" and (encodings.get(path) or "").startswith("utf-8"):
                given = self._in_jobs(Job(self._recipe, file, limit, ()), asked, count)
            else:  # one cannot go to a record: all are met on one way through the file
                job = Job(self._recipe, file, limit, ())
                given = answers(self._used, job, through(file, asked))
            yield from ((path, answer) for answer in given)

    def _in_jobs(self, job: Job, asked: Iterator[Asked], count: int) -> Iterator[Answer]:
        """Answers of records that are read at their places: in processes, when there are many."""
        jobs = (job._replace(asked=chunk) for chunk in iter(lambda: list(islice(asked, _CHUNK)), []))
        if count < _PARALLEL:
            for one in jobs:
                yield from encode(one)
            return
        from lorachk.facts.encoding.pool import mapped

        for several in mapped(jobs, self._context.options.workers):
            yield from several

    def _unread(self) -> None:
        """Rows for records with images that could not be counted: only what is known without them."""
        self._sink.add(
            "encoding",
            (
                {"path": path, "record": record, "max_length": self._limit}
                for path, record in self._sink.select("SELECT path, record FROM forms WHERE unread")
            ),
        )

    def _unknown(self, skipped: int) -> None:
        sink = self._sink
        why = f"{skipped:,} records have images that are not counted"
        why += f": {self._used.no_images}" if self._used.images is None and self._used.no_images else ""
        # A record that the trainer refuses has no length that anybody would need.
        refused = "FROM encoding WHERE tokens IS NULL AND verdict IS NULL AND reason IS NOT NULL"
        ((open_,),) = sink.select(f"SELECT count(*) {refused}")
        if not self._used.labels:
            sink.unknown("encoding.supervised", "no trainer given: what is learnt of a record is not known")
        for column in ("tokens", "text_tokens", "cut", "image_cut", "supervised", "image_tokens"):
            if skipped:
                sink.unknown(f"encoding.{column}", why, skipped)
            if self._limit is None and column in ("cut", "image_cut"):
                sink.unknown(f"encoding.{column}", NO_LIMIT)
        if open_:
            ((reason,),) = sink.select(f"SELECT reason {refused} GROUP BY reason ORDER BY count(*) DESC LIMIT 1")
            for column in ("tokens", "text_tokens", "cut", "image_cut", "supervised"):
                sink.unknown(f"encoding.{column}", f"{open_:,} records cannot be encoded, most: {reason}", open_)


def _sizes(found: Iterable[Any] | None) -> tuple[tuple[int, int], ...] | None:
    """The sizes of a record's images; None when one of them is not known."""
    sizes = tuple((pair[0], pair[1]) for pair in _pairs(found))
    return None if any(width is None or height is None for width, height in sizes) else sizes


def _pairs(found: Iterable[Any] | None) -> Sequence[tuple[Any, Any]]:
    # DuckDB gives an unnamed struct as a tuple (2.x) or a dictionary (1.x).
    return [tuple(one.values()) if isinstance(one, dict) else tuple(one) for one in found or ()]
