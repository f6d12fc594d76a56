"""Judging: a rule's query is run on the facts; a row is a finding; what is not known is skipped with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from lorachk.engine.finding import Finding, Report, Skipped, spelled
from lorachk.engine.page import Page
from lorachk.engine.places import look_up, places
from lorachk.engine.select import Selection
from lorachk.engine.store import Result, Store
from lorachk.stopping import received

_COUNTED = 100  # rows up to which offenders are counted here, not by a second query
_SHOWN = 10  # places kept per finding; the count says how many there are


class _Found(NamedTuple):
    """A finding without its places, and the rows they come from."""

    finding: Finding
    rows: list[dict[str, Any]]


def judge(store: Store, pages: Sequence[Page], selection: Selection, report: Report) -> None:
    """Run `pages` on `store` (which is locked here) and write the outcome of each into `report`."""
    store.lock()
    unknown = {row["fact"]: row for row in store.rows("unknown")}
    store.count_all(column for page in pages if selection.selects(page) for column in page.brief.needs)
    found: list[_Found] = []
    for page in pages:
        report.names[page.code] = page.name
        if not selection.selects(page):
            continue
        if (why := selection.ignores(page)) is not None:
            report.ignored.append(Skipped(page.code, page.name, why))
        elif (why := _missing(store, page, unknown)) is not None:
            report.skipped.append(Skipped(page.code, page.name, why))
        else:
            found += _judge_one(store, page, unknown, report)
    report.findings += _placed(store, found, report)
    report.findings.sort(key=lambda f: (-f.severity, f.rule))


def _missing(store: Store, page: Page, unknown: dict[str, dict[str, Any]]) -> str | None:
    """Why `page` cannot be judged at all, or None."""
    for table in sorted(page.reads):
        if table not in store.collected:
            return unknown[table]["reason"] if table in unknown else f"{table} was not looked at"
    for column in page.brief.needs:
        table, _, name = column.partition(".")
        if store.count(table) and not store.count(table, name):
            return unknown[column]["reason"] if column in unknown else f"{_words(column)} is not known"
    return None


def _words(column: str) -> str:
    table, _, name = column.partition(".")
    return name.replace("_", " ") if table == "run" else f"{table} {name.replace('_', ' ')}"


def _judge_one(store: Store, page: Page, unknown: dict[str, dict[str, Any]], report: Report) -> list[_Found]:
    try:
        found = _grouped(store, page) if page.brief.of else _each(store, page)
    except Exception as error:  # DuckDB's own errors: a bad cast, no memory; the rule is broken, not the run
        report.broken.append(_broken(page.code, page.name, error))
        return []
    if found:
        return found
    partly = next((unknown[f] for f in (*page.brief.needs, *sorted(page.reads)) if f in unknown), None)
    if partly:
        report.skipped.append(Skipped(page.code, page.name, partly["reason"]))
    else:
        report.passed.append(page.code)
    return []


def _broken(rule: str, name: str, error: Exception) -> Skipped:
    if received():
        raise error
    return Skipped(rule, name, str(error).partition("\n")[0])


def _placed(store: Store, found: Sequence[_Found], report: Report) -> list[Finding]:
    """Findings at their places, which are looked up together: asking for each takes longer than the rule did."""
    try:
        spots = look_up(store, (row for one in found for row in one.rows))
    except Exception:  # a rule whose record is no number: which one it is shows below
        if received():
            raise
        spots = None
    placed = []
    for finding, rows in found:
        try:
            mine = look_up(store, rows) if spots is None else spots
            placed.append(replace(finding, places=places(rows, mine, notes=finding.of is not None)))
        except Exception as error:  # noqa: PERF203
            report.broken.append(_broken(finding.rule, finding.name, error))
    return placed


def _each(store: Store, page: Page) -> list[_Found]:
    """Every row is a finding."""
    found = []
    for row in store.query(page.sql).dicts():
        finding = Finding(page.code, page.name, page.severity, str(row["message"]), page.fix)
        if page.brief.fix is not None and row.get("fix") is not None:
            from lorachk.engine.edits import edits_of

            finding = replace(finding, edits=edits_of(row["fix"]), safe=page.brief.fix == "safe")
        found.append(_Found(finding, [row]))
    return found


def _grouped(store: Store, page: Page) -> list[_Found]:
    """All rows are one finding with count, share and the first places."""
    of = page.brief.of
    assert of
    assert page.brief.message
    # Most rules find nothing or little: one plain query tells. It is ordered because DuckDB 2.0.0 hangs when a bare
    # LIMIT is full before a common table expression that is read twice.
    first = store.query(f"SELECT * FROM ({page.sql}\n) ORDER BY 1 LIMIT {_COUNTED + 1}")  # noqa: S608
    if not first.rows:
        return []
    order = [c for c in ("path", "record", "turn", "position") if c in first.columns]
    # A record can offend in several turns; it still is one record.
    by_record = of == "record" and {"path", "record"} <= set(first.columns)
    rows, count = _few(first, order, by_record) or _many(store, page, order, by_record)
    total = store.count(of)
    values = {**rows[0], **spelled(count, total)}
    message = re.sub(r"{(\w+)}", lambda m: str(values[m.group(1)]), page.brief.message)
    return [_Found(Finding(page.code, page.name, page.severity, message, page.fix, (), count, total, of), rows)]


def _few(first: Result, order: Sequence[str], by_record: bool) -> tuple[list[dict[str, Any]], int] | None:
    """The first rows and the number of offenders, when `first` holds all rows and they are of one file."""
    rows = first.dicts()
    if len(rows) > _COUNTED or len({row.get("path") for row in rows}) > 1:  # files are in the order of the command
        return None
    rows.sort(key=lambda row: [(row[c] is None, row[c] or 0) for c in order if c != "path"])
    return rows[:_SHOWN], len({row["record"] for row in rows}) if by_record else len(rows)


def _many(store: Store, page: Page, order: Sequence[str], by_record: bool) -> tuple[list[dict[str, Any]], int]:
    """The first rows and the number of offenders, worked out by one more query."""
    offenders = "(SELECT DISTINCT path, record FROM lorachk_found)" if by_record else "lorachk_found"
    sql = (
        f"WITH lorachk_found AS MATERIALIZED ({page.sql}\n) "  # noqa: S608
        f"SELECT *, (SELECT count(*) FROM {offenders}) AS lorachk_count FROM lorachk_found "
    )
    rows = store.query(f"{sql} ORDER BY {', '.join(order) or '1'} LIMIT {_SHOWN}").dicts()
    return rows, int(rows[0]["lorachk_count"])


def plain_rows(store: Store, table: str) -> list[dict[str, Any]]:
    """Rows of a table with values that JSON can hold."""
    return [json.loads(json.dumps(row, default=str)) for row in store.rows(table)]
