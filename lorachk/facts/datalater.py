"""What is known of the dataset only when its images are: their facts, tokens, and what that does to the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from lorachk.facts.collector import ColumnSink, Context, Row
from lorachk.facts.encoding.setup import NO_LIMIT, Recipe, Setup
from lorachk.facts.imagefile import ImageFacts
from lorachk.facts.images import DECODED, SEED, inspect_all
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.verdicts import loader

_PICTURE = {
    "resolved": "VARCHAR",
    "bytes": "BIGINT",
    "format": "VARCHAR",
    "mode": "VARCHAR",
    "width": "INTEGER",
    "height": "INTEGER",
    "orientation": "INTEGER",
    "frames": "INTEGER",
    "transparency": "BOOLEAN",
    "decodes": "BOOLEAN",
    "problem": "VARCHAR",
}
_DISTINCT = """SELECT DISTINCT resolved FROM image
WHERE resolved IS NOT NULL AND format IS NULL AND (kind = 'url' OR (coalesce("exists", false) AND kind = 'file'))"""
# What was to be fetched is there when something came.
_THERE = (
    'CASE WHEN i.kind = \'url\' AND p.resolved IS NOT NULL THEN p.bytes IS NOT NULL ELSE i."exists" END AS "exists"'
)


class Later:
    """Fills in what comes after the structure of all records is in the sink."""

    def __init__(self, context: Context, recipe: Recipe, used: Setup, files: Mapping[str, DataFile]) -> None:
        self._context, self._trainer = context, recipe.trainer
        self._recipe, self._setup, self._files = recipe, used, files
        self._sink = cast(ColumnSink, context.sink)
        self._loader = loader(recipe.trainer)

    def fill(self, *, undecoded: int) -> None:
        """All of it. `undecoded`: images inside the data whose pixels were not decoded."""
        self._pictures(undecoded)
        self._tokens()
        self._verdicts()
        self._worst()

    def _one(self, sql: str) -> tuple[Any, ...]:
        return next(iter(self._sink.select(sql)))

    # -- images

    def _pictures(self, undecoded: int) -> None:
        sink, options = self._sink, self._context.options
        (urls,) = self._one("SELECT count(*) FROM image WHERE kind = 'url' AND resolved IS NULL")
        if urls:
            sink.unknown("image.exists", f"{urls:,} images are URLs, which are only fetched with --fetch-urls", urls)
        (total,) = self._one(f"SELECT count(*) FROM ({_DISTINCT})")  # noqa: S608
        lost = 0
        if total:
            paths = (row[0] for row in sink.select(_DISTINCT))

            def rows() -> Iterator[Row]:
                nonlocal undecoded, lost
                found = inspect_all(
                    paths, total, deep=options.deep, workers=options.workers, progress=lambda d, t: self._tell(d, t)
                )
                for path, facts in found:
                    if facts is None:
                        lost += 1
                    else:
                        undecoded += facts.decodes is None
                        yield {"resolved": path, **facts._asdict()}

            sink.stage("picture", _PICTURE, rows())
            facts = ", ".join(f"coalesce(p.{n}, i.{n}) AS {n}" for n in ImageFacts._fields if n != "problem")
            given = ", ".join(ImageFacts._fields)
            sink.remake(
                "image",
                f'SELECT i.* EXCLUDE ({given}, "exists"), {_THERE}, {facts}, '  # noqa: S608
                "coalesce(p.problem, i.problem) AS problem "
                "FROM image i LEFT JOIN picture p ON p.resolved = i.resolved",
            )
        if undecoded:
            reason = (
                f"{undecoded:,} image files were checked at their ends but not decoded: only a random sample of about "
                f"{DECODED:,} (seed {SEED}) is; --deep decodes all"
            )
            sink.unknown("image.decodes", reason, undecoded)
        (veiled,) = self._one("SELECT count(*) FROM image WHERE format IS NOT NULL AND transparency IS NULL")
        if veiled:
            reason = f"{veiled:,} images have an alpha channel that was not decoded; --deep decodes all"
            sink.unknown("image.transparency", reason, veiled)
        if lost:
            reason = f"{lost:,} image files: the process that looked at them was ended from outside"
            sink.unknown("image.problem", reason, lost)
            sink.unknown("image.decodes", reason, lost)

    def _tell(self, done: int, total: int) -> None:
        self._context.progress(done, total, "images")

    # -- tokens

    def _tokens(self) -> None:
        """Tokens of images and records. What does it is imported when there is something to do."""
        sink, used = self._sink, self._setup
        (images,) = self._one("SELECT count(*) FROM (FROM image LIMIT 1)")
        if used.images is None and images:
            for column in ("tokens", "pieces", "features", "refused"):
                sink.unknown(f"image.{column}", used.no_images or "not counted")
        elif used.images is not None:
            from lorachk.facts.encoding import imagetokens

            imagetokens.fill(sink, used.images)
        if used.tokenizer is None and used.problem is None:
            sink.unknown("tokenizer", used.no_encoder or "no tokenizer")
        else:
            from lorachk.facts.encoding.describe import tokenizer_rows

            sink.add("tokenizer", tokenizer_rows(used, self._recipe))
        if used.encoder is not None:
            from lorachk.facts.encoding.collect import Encoding

            Encoding(self._context, self._recipe, used, self._files).fill()
            self._remedies()
        elif self._recipe.run.max_length is None or used.images is None:
            # What a text model lacks is its tokenizer, not images.
            missing = used.no_encoder if self._recipe.run.family == "text" else used.no_images
            reason = NO_LIMIT if self._recipe.run.max_length is None else missing or used.no_encoder
            sink.unknown("encoding", reason or "not counted")
        else:
            from lorachk.facts.encoding import bounds

            bounds.fill(sink, self._recipe, used)
            self._remedies()

    def _remedies(self) -> None:
        if self._setup.images is not None:
            from lorachk.facts.encoding import remedies

            self._sink.add("remedy", list(remedies.rows(self._sink, self._recipe, self._setup.images)))

    def _worst(self) -> None:
        """The heaviest record, where there are lengths at all."""
        found = None
        if self._one("SELECT count(*) FROM (FROM encoding LIMIT 1)")[0]:
            from lorachk.facts.encoding.worst import worst_row

            found = worst_row(self._sink.select)
        self._sink.add("worst", [found] if found else [])

    # -- verdicts

    def _verdicts(self) -> None:
        sink, found = self._sink, self._loader
        if found is None:
            what = f"what {self._trainer} does with a record is not known here" if self._trainer else "no trainer given"
            sink.unknown("record.verdict", what)
            return
        unopened = [f"WHEN i.problem IS NOT NULL THEN {_NAMED} || i.problem"]
        if not found.data_uris:
            unopened.insert(0, "WHEN i.kind = 'data' THEN 'a data: URI is opened as a file, which fails'")
        if not found.urls:
            unopened.insert(0, "WHEN i.kind = 'url' THEN 'a URL is opened as a file, which fails'")
        bad = (
            "SELECT path, record, arg_min(why, position) AS why FROM (SELECT i.path, i.record, i.position, CASE "  # noqa: S608
            f"{' '.join(unopened)} END AS why FROM image i) WHERE why IS NOT NULL GROUP BY path, record"
        )
        kind = "NULL" if found.bad_image is None else f"'{found.bad_image}'"
        over = "true" if found.bad_image_first else "r.verdict IS NULL OR r.verdict IN ('kept', 'changed')"
        (any_bad,) = self._one(f"SELECT count(*) FROM ({bad})")  # noqa: S608
        (any_cut,) = self._one("SELECT count(*) FROM encoding WHERE reason IS NOT NULL")
        if any_bad or any_cut:
            sink.remake(
                "record",
                f"WITH bad AS ({bad}) SELECT r.* REPLACE (CASE "  # noqa: S608
                f"WHEN bad.why IS NOT NULL AND ({over}) THEN {kind} "
                f"WHEN {_CUT} THEN e.verdict ELSE r.verdict END AS verdict, CASE "
                f"WHEN bad.why IS NOT NULL AND ({over}) THEN bad.why "
                f"WHEN {_CUT} THEN e.reason ELSE r.reason END AS reason) "
                "FROM record r LEFT JOIN bad ON bad.path = r.path AND bad.record = r.record "
                "LEFT JOIN encoding e ON e.path = r.path AND e.record = r.record",
            )
        unknown, why = self._one("SELECT count(*), min(reason) FROM record WHERE verdict IS NULL")
        if unknown:
            sink.unknown("record.verdict", f"{unknown:,} records: {why or 'not known'}", unknown)


_NAMED = "CASE WHEN i.reference IS NULL THEN '' ELSE 'image ''' || i.reference || ''': ' END"
# Truncation comes after all that replaces a record, and before what only changes it.
_CUT = (
    "e.reason IS NOT NULL AND (r.verdict = 'kept' OR (e.verdict = 'replaced' AND r.verdict IN ('changed', 'crash') "
    "AND r.reason NOT LIKE 'a literal pair%') OR (e.verdict IN ('dropped', 'crash') AND r.verdict = 'changed'))"
)
