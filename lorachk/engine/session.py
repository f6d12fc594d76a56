"""One command from resolved run to report: gather what the rules read, keep it if asked, judge."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from lorachk.engine.finding import Report, Severity, Skipped
from lorachk.engine.gather import gather
from lorachk.engine.judge import judge
from lorachk.engine.rules import load_rules
from lorachk.engine.select import MODEL, REHEARSAL, Selection, serves, validated
from lorachk.engine.shown import show_tokens
from lorachk.engine.store import Limits, Store
from lorachk.facts.collector import Context, Options
from lorachk.launchers.resolve import Resolved

# What a command shows beside its findings, whether a rule asked for it or not.
_SHOWS = {
    "data": ("dataset", "record", "image"),
    "model": ("gpu", "fit", "memory"),
    "smoke-train": ("rehearsal", "step", "saved"),
    "check": ("dataset", "record", "image", "gpu", "fit", "memory", "rehearsal", "step", "saved"),
}
# What of these is not known is told by the rules that are skipped for it.
_TOLD_BY_RULES = frozenset({"run", "package", "host", "gpu", "tool", "environment", "script", "model_code"})
_ROWS_SHOWN = ("dataset", "gpu", "fit", "memory", "rehearsal", "step", "saved", "run")


def run_command(
    command: str,
    resolved: Resolved,
    *,
    options: Options,
    selection: Selection,
    rules: Sequence[Path],
    facts: Path | None = None,
    save: Path | None = None,
    rehearse: bool = True,
    build: bool = True,
    worst: int | None = None,
    draw: bool = False,
    limits: Limits | None = None,
) -> Report:
    """Gather and judge. With `facts`, judge what another run saved and look at nothing here.

    Without `build` no model is built, and torch is not imported. `worst` heaviest records, and with `draw` the numbers
    of a picture, come with the report.
    Raises UsageError when lorachk cannot run with what it was given.
    """
    started = time.monotonic()
    report = Report(command)
    named = resolved.run.at("data")  # with a line: by a file; such a dataset is looked at by data and check
    data = facts is not None or (bool(resolved.run.data) and (named is None or named.line is None))
    loaded = load_rules(rules, lambda page: serves(command, page, data=data))
    selection = validated(selection, [*loaded.pages, *(page for page, _ in loaded.broken)])
    pages = [page for page in loaded.pages if serves(command, page, data=data)]
    report.broken = [Skipped(page.code, page.name, why) for page, why in loaded.broken if selection.selects(page)]
    with Store(limits) as store:
        wanted = {
            table for page in pages if selection.selects(page) and not selection.ignores(page) for table in page.reads
        }
        wanted |= set(_SHOWS[command]) if not selection.select else set()
        wanted |= {"dataset", "record", "image", "encoding"} if worst or draw else set()
        if facts:
            store.load(facts)
            pages = [page for page in pages if serves(command, page, data=store.count("record") > 0)]
        else:
            if not rehearse:
                for table in sorted(REHEARSAL):
                    store.unknown(table, "not rehearsed: --no-train was given")
                wanted -= REHEARSAL
            if not build:
                for table in sorted(MODEL):
                    store.unknown(table, "the model is not built: --no-build was given")
                wanted -= MODEL
            context = Context(resolved.run, store, list(resolved.settings), list(resolved.sources), options)
            gather(context, store, wanted, report)
        if save:
            store.save(save)
        judge(store, pages, selection, report)
        report.facts = {t: store.count(t) for t in sorted(store.collected - {"unknown"})}
        report.tables = {t: store.rows(t) for t in _ROWS_SHOWN if t in store.collected}
        report.notes = _notes(store)
        if command in ("data", "check"):
            show_tokens(store, report, worst=worst, draw=draw)
    report.seconds = time.monotonic() - started
    return report


def _notes(store: Store) -> list[str]:
    """Columns that are unknown in some rows: what was looked at only in part. One line per reason."""
    columns: dict[tuple[str, str, int | None], list[str]] = {}
    for row in store.rows("unknown"):
        table, _, column = row["fact"].partition(".")
        if column and table not in _TOLD_BY_RULES:
            columns.setdefault((table, row["reason"], row["count"]), []).append(column)
    return [
        f"{table}.{', '.join(dict.fromkeys(names))}: {reason}" + (f" ({count:,} rows)" if count else "")
        for (table, reason, count), names in columns.items()
    ]


def exit_code(report: Report, *, fail_on: str, no_skips: bool) -> int:
    """0 clean, 1 findings at or above `fail_on` (error, warning, info, never), 3 skipped rules with `no_skips`.

    A rule that broke or a collector that crashed is no clean run: 2, unless findings already made it 1.
    """
    worst = report.worst()
    if fail_on != "never" and worst is not None and worst >= Severity[fail_on]:
        return 1
    if report.broken or report.internal_errors:
        return 2
    return 3 if no_skips and report.skipped else 0
