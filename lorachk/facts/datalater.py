"""What is known of the dataset only when its images are: their facts, tokens, and what that does to the records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from lorachk.facts.collector import ColumnSink, Context, Row
from lorachk.facts.imagefile import ImageFacts
from lorachk.facts.images import DECODED, SEED, inspect_all
from lorachk.facts.records.lengths import Measured, measure
from lorachk.facts.records.verdicts import loader
from lorachk.facts.records.verdicts.minicpmv import Length, cut
from lorachk.families.visual import Settings, resolve
from lorachk.families.visual.minicpmv import MAX_SLICE_NUMS, Merged, Resampled
from lorachk.run import Run

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
# The number of an image in its record: 4.6 counts all, the scripts those that were cut. Each digit is a token.
_NUMBERED = """SELECT i.* EXCLUDE (pieces, tokens), s.pieces, s.tokens + CASE
    WHEN s.ids = 'always' THEN len(i.position::VARCHAR) - 1
    WHEN s.ids = 'sliced' AND s.pieces > 1 THEN len(coalesce(sum((s.pieces > 1)::INTEGER) OVER (
        PARTITION BY i.path, i.record ORDER BY i.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ), 0)::BIGINT::VARCHAR) - 1
    ELSE 0 END AS tokens
FROM image i LEFT JOIN size_tokens s
  ON s.width = i.width AND s.height = i.height AND i.decodes IS DISTINCT FROM false"""


class Later:
    """Fills in what comes after the structure of all records is in the sink."""

    def __init__(self, context: Context, trainer: str | None) -> None:
        self._context, self._trainer = context, trainer
        self._run: Run = context.run
        self._sink = cast(ColumnSink, context.sink)
        self._loader = loader(trainer)
        run = context.run
        self._counted = _counted(run, trainer)
        self._slices = MAX_SLICE_NUMS if run.max_slice_nums is None else run.max_slice_nums

    def fill(self, *, undecoded: int) -> None:
        """All of it. `undecoded`: images inside the data whose pixels were not decoded."""
        self._pictures(undecoded)
        self._tokens()
        self._encoding()
        self._verdicts()

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
        reason = _why_uncounted(self._run, self._trainer, self._counted)
        if reason:
            self._sink.unknown("image.tokens", reason)
            self._sink.unknown("image.pieces", reason)
            return
        assert self._counted
        sizes = self._sink.select("SELECT DISTINCT width, height FROM image WHERE width > 0 AND height > 0")
        types = {"width": "INTEGER", "height": "INTEGER", "pieces": "INTEGER", "tokens": "INTEGER", "ids": "VARCHAR"}
        self._sink.stage("size_tokens", types, (self._size(w, h, self._counted) for w, h in sizes))
        self._sink.remake("image", _NUMBERED)
        (uncounted,) = self._one("SELECT count(*) FROM image WHERE tokens IS NULL")
        if uncounted:
            self._sink.unknown("image.tokens", f"{uncounted:,} images could not be read", uncounted)

    def _size(self, width: int, height: int, used: Settings) -> Row:
        assert isinstance(used.values, (Resampled, Merged))
        found = used.count(width, height)
        ids = used.values.image_id
        return {"width": width, "height": height, "pieces": found.pieces, "tokens": found.tokens, "ids": ids}

    def _encoding(self) -> None:
        limit, sink = self._run.max_length, self._sink
        reason = _why_uncounted(self._run, self._trainer, self._counted)
        if limit is None:
            reason = "no token limit: give --max-length or the trainer's own option (model_max_length)"
        if reason:
            sink.unknown("encoding", reason)
            return
        assert limit is not None
        cuts = image_cuts = 0

        def rows() -> Iterator[Row]:
            nonlocal cuts, image_cuts
            for path, record, found in measure(sink.select, self._slices):
                row = self._measured(path, record, found, limit)
                cuts += row["cut"] is None
                image_cuts += row["image_cut"] is None
                yield row

        sink.add("encoding", rows())
        for column, count in (("cut", cuts), ("image_cut", image_cuts)):
            if count:
                why = "close to the token limit, or an image could not be read; only the tokenizer can tell"
                sink.unknown(f"encoding.{column}", f"{count:,} records are {why}", count)

    def _measured(self, path: str, record: int, found: Measured, limit: int) -> Row:
        fate = None
        if self._trainer == "minicpmv":
            total = found.total
            fate = cut(Length(limit, total, found.before_labels, found.later_images))
        return {
            "path": path,
            "record": record,
            "max_length": limit,
            "image_tokens": found.images.low if found.images.low == found.images.high else None,
            "text_tokens_min": found.text.low,
            "text_tokens_max": found.text.high,
            "cut": found.beyond([found.total], limit),
            "image_cut": found.beyond(found.image_ends, limit),
            "verdict": fate.kind if fate else None,
            "reason": fate.reason if fate else None,
        }

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
    "AND r.reason NOT LIKE 'a literal pair%'))"
)


def _counted(run: Run, trainer: str | None) -> Settings | None:
    """The visual-token settings of a MiniCPM-V model and a trainer that shows it the images as they are."""
    if not (run.family or "").startswith("minicpm"):
        return None
    overrides: dict[str, Any] = {} if run.max_slice_nums is None else {"max_slice_nums": max(0, run.max_slice_nums)}
    if trainer == "minicpmv" and run.llm_type and run.family not in ("minicpmv46", "minicpmv47"):
        overrides["llm_type"] = run.llm_type
    found = resolve(run.family, overrides=overrides)
    # The frameworks cut images their own way (LLaMA-Factory shrinks them first), except with 4.6's own processor.
    native = found is not None and isinstance(found.values, Merged)
    if trainer not in (None, "minicpmv") and not (native and trainer in ("hf", "trl")):
        return None
    return found


def _why_uncounted(run: Run, trainer: str | None, found: Settings | None) -> str | None:
    if found:
        return None
    if run.family is None:
        return "the model family is not known: give --model or --family"
    if trainer not in (None, "minicpmv") and (run.family.startswith("minicpm") and resolve(run.family)):
        return f"{trainer} prepares images in a way that is not counted here"
    return f"no visual-token arithmetic for {run.family}"
