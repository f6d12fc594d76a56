"""Exact numbers without tokenising: what a template adds is the same for all records of one form.

The form of a record is everything but its texts: dialect, roles, where its images stand. Its tokens are those of its
texts (counted in the scan, see `turntokens`), those of its images, and a number that depends on the form alone. That
number is taken from a few records of each form that are encoded as a whole: those with the shortest and longest texts
and images, the first and the last. Only where all of them give the same number, for every count, is it used; records
of other forms, and records that reach the limit, are encoded one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lorachk.facts.encoding.exact import Answer
from lorachk.facts.encoding.types import Cut

FEW = 8  # records up to which a form is encoded record by record
SLACK = 2  # tokens below the limit from which a record surely fits, whatever a trainer adds at the end
# One row per record that has turns: its form, and the sums that its numbers are made of.
FORMS = """
WITH texts AS (
  SELECT path, record, bit_xor(hash(turn, role, content_type, placeholders, placed)) AS form, sum(tokens) AS texts,
    coalesce(sum(tokens) FILTER (speaker = 'assistant'), 0) AS answers,
    coalesce(max_by(tokens, turn) FILTER (speaker = 'assistant'), 0) AS last_answer, count(tokens) < count(*) AS open
  FROM turn GROUP BY path, record
), pictures AS (
  SELECT path, record, count(*) AS images, sum(tokens) AS tokens, sum(features) AS features, sum(markers) AS markers,
    count(tokens) < count(*) AS unread,
    count(*) FILTER (tokens IS NULL AND problem IS NULL AND refused IS NULL) > 0 AS uncounted
  FROM image GROUP BY path, record
)
SELECT r.path::VARCHAR AS path, r.record, r."offset", r.dialect,
  hash(r.path::VARCHAR, r.dialect, r.style, r.image_field, r.video_count, coalesce(p.images, 0), t.form) AS form,
  t.texts::BIGINT AS texts, t.answers::BIGINT AS answers, t.last_answer::BIGINT AS last_answer,
  coalesce(p.images, 0)::BIGINT AS images, coalesce(p.tokens, 0)::BIGINT AS pictures,
  coalesce(p.features, 0)::BIGINT AS features, coalesce(p.markers, 0)::BIGINT AS markers,
  t.open, coalesce(p.unread, false) AS unread, coalesce(p.uncounted, false) AS uncounted
FROM record r JOIN texts t ON t.path = r.path AND t.record = r.record
LEFT JOIN pictures p ON p.path = r.path AND p.record = r.record
"""
# Keys, of records or turns, by which trainers treat a record in another way although it has the form of others: in a
# file with one of them, every record is encoded.
_MORE = ("tools", "objects", "channel", "loss", "chat_template", "chat_template_kwargs", "chosen", "rejected")
# Records of each form that are encoded to learn what its template adds. In a prompt with its completion two texts stand
# side by side without a template between them, and how they join depends on both.
SAMPLES = f"""
SELECT DISTINCT path, unnest([first, last, shortest, longest, smallest, largest, another]) AS record FROM (
  SELECT any_value(path) AS path, min(record) AS first, max(record) AS last, min_by(record, texts) AS shortest,
    max_by(record, texts) AS longest, min_by(record, pictures) AS smallest, max_by(record, pictures) AS largest,
    min_by(record, hash(record)) AS another
  FROM forms WHERE NOT open AND NOT unread AND dialect <> 'completion'
    AND path NOT IN (SELECT path::VARCHAR FROM field WHERE regexp_extract(pointer, '[^/]*$') IN {_MORE})
  GROUP BY form HAVING count(*) > {FEW}
)
"""  # noqa: S608
# What of a record a trainer's labels grow with; the first that fits all samples is the one.
_LEARNT = ("answers", "everything", "last_answer", "texts", "nothing")
TYPES = {
    "form": "UBIGINT",
    **dict.fromkeys(("total", "image", "features", "wanted", "starts", "ends", "supervised"), "BIGINT"),
    "learnt": "VARCHAR",
    "eos": "BOOLEAN",
    "verdict": "VARCHAR",
    "reason": "VARCHAR",
}


class Sums(NamedTuple):
    """What the numbers of one record are made of, as `FORMS` gives them."""

    texts: int
    answers: int
    last_answer: int
    pictures: int
    features: int
    markers: int

    def of(self, learnt: str) -> int:
        """The part that labels grow with."""
        if learnt == "everything":
            return self.texts + self.pictures
        return 0 if learnt == "nothing" else int(getattr(self, learnt))


Sample = tuple[Sums, Answer]


def frames(samples: Mapping[tuple[str, int], list[Sample]], *, labels: bool) -> list[dict[str, Any]]:
    """Rows of what each form adds, for the forms whose samples agree. Without `labels`, they are not looked at.

    `samples` are by dialect and form; labels grow with the same part of a record in all forms of a dialect.
    """
    dialects = dict.fromkeys(dialect for dialect, _ in samples)
    learnt = {dialect: _learnt([each for (d, _), each in samples.items() if d == dialect]) for dialect in dialects}
    found = []
    for (dialect, form), several in samples.items():
        row = _frame(several, learnt[dialect], labels=labels)
        if row is not None:
            found.append({"form": form, **row})
    return found


def _learnt(forms: list[list[Sample]]) -> str | None:
    return next((way for way in _LEARNT if all(_agreed(several, way) for several in forms)), None)


def _agreed(samples: list[Sample], learnt: str) -> bool:
    """Whether the labels of all samples that could be encoded are that part of them and a number."""
    return len({a.cut.supervised_before - sums.of(learnt) for sums, a in samples if a.cut is not None}) <= 1


def _frame(samples: list[Sample], learnt: str | None, *, labels: bool) -> dict[str, Any] | None:
    """What a form adds to the sums; None when its samples do not agree."""
    refusals = {(a.fate, a.reason) for _, a in samples if a.cut is None}
    if refusals:
        if len(refusals) > 1 or any(a.cut is not None for _, a in samples):
            return None
        ((fate, reason),) = refusals
        return {"verdict": fate, "reason": reason}
    rows = [_added(sums, a.cut, learnt, labels=labels) for sums, a in samples if a.cut is not None]
    return rows[0] if rows and all(row == rows[0] for row in rows) and rows[0] is not None else None


def _added(sums: Sums, cut: Cut, learnt: str | None, *, labels: bool) -> dict[str, Any] | None:
    row: dict[str, Any] = {
        "total": cut.total - sums.texts - sums.pictures,
        "image": cut.image_tokens - sums.pictures,
        "wanted": cut.features_wanted - sums.features,
    }
    if not labels:
        return row
    if learnt is None:
        return None
    return row | {
        "features": cut.features - sums.features,
        "starts": cut.starts - sums.markers,
        "ends": cut.ends - sums.markers,
        "supervised": cut.supervised_before - sums.of(learnt),
        "learnt": learnt,
        "eos": cut.ends_with_eos,
        "verdict": cut.fate,
        "reason": cut.reason,
    }


def surely(limit: int | None) -> str:
    """SQL: a record `f` of a form `a` whose numbers follow from the form and that the limit does not touch."""
    room = "" if limit is None else f" AND f.texts + f.pictures + a.total <= {limit - SLACK:d}"
    return f"NOT f.open AND NOT f.unread AND (a.total IS NULL OR (true{room}))"


def rows(limit: int | None) -> str:
    """SELECT of the rows of `encoding` that follow from the tables `forms` and `frames`."""
    learnt = (
        "CASE a.learnt WHEN 'answers' THEN f.answers WHEN 'everything' THEN f.texts + f.pictures "
        "WHEN 'last_answer' THEN f.last_answer WHEN 'texts' THEN f.texts ELSE 0 END + a.supervised"
    )
    total, image = "f.texts + f.pictures + a.total", "f.pictures + a.image"
    text = f"{total} - ({image})"
    fits = f"a.learnt IS NOT NULL AND {'true' if limit is not None else 'false'}"
    return f"""SELECT f.path, f.record, {"NULL" if limit is None else f"{limit:d}"}::INTEGER AS max_length,
      {image} AS image_tokens, {text} AS text_tokens, {text} AS text_tokens_min, {text} AS text_tokens_max,
      {total} AS tokens, CASE WHEN a.learnt IS NOT NULL THEN {total} END AS kept,
      CASE WHEN {"true" if limit is not None else "false"} AND a.total IS NOT NULL THEN false END AS cut,
      CASE WHEN {fits} THEN false END AS image_cut,
      f.markers + a.starts AS starts, f.markers + a.ends AS ends, f.features + a.features AS features,
      f.features + a.wanted AS features_wanted, {learnt} AS supervised_before, {learnt} AS supervised,
      a.eos AS ends_with_eos, a.verdict, a.reason
    FROM forms f JOIN frames a ON a.form = f.form WHERE {surely(limit)}"""  # noqa: S608
