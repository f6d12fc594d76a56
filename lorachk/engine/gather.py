"""Gathering facts: collectors run only when a rule reads one of their tables, and none takes the others down."""

from __future__ import annotations

import traceback
from collections.abc import Iterable

from lorachk.engine.finding import Report
from lorachk.engine.store import Store
from lorachk.errors import UsageError
from lorachk.facts.collector import COLLECTORS, Collector, Context, NotCollected
from lorachk.stopping import received


def gather(context: Context, store: Store, wanted: Iterable[str], report: Report) -> None:
    """Fill the tables in `wanted` and those their collectors need first.

    A collector that cannot look (NotCollected) or crashes leaves its tables unknown with the reason; UsageError ends
    the command. Tables that are already in the store are left alone.
    """
    for collector in needed(set(wanted) - store.collected):
        before = set(store.collected)
        try:
            collector.run(context)
        except NotCollected as reason:
            _unknown(store, collector, str(reason))
        except UsageError:
            raise
        except Exception as error:
            if received():
                raise
            text = _described(collector, error)
            report.internal_errors.append(text)
            for table in set(collector.tables) - before:  # half a table must not pass for the whole
                store.forget(table)
            _unknown(store, collector, f"internal error in lorachk: {text}")
        else:
            # A table that was looked at and has no rows is known to be empty, unless the collector said otherwise.
            stated = _stated(store)
            for table in collector.tables:
                if table not in stated:
                    store.add(table, [])


def needed(tables: set[str]) -> list[Collector]:
    """Collectors of `tables` and of what they build on, in the order in which they run."""
    grown = True
    while grown:
        grown = False
        for collector in COLLECTORS:
            if tables & set(collector.tables) and not set(collector.after) <= tables:
                tables = tables | set(collector.after)
                grown = True
    return [c for c in COLLECTORS if tables & set(c.tables)]


def _stated(store: Store) -> set[str]:
    return {row["fact"] for row in store.rows("unknown")}


def _unknown(store: Store, collector: Collector, reason: str) -> None:
    stated = _stated(store) | store.collected
    for table in collector.tables:
        if table not in stated:
            store.unknown(table, reason)


def _described(collector: Collector, error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rpartition('lorachk/')[2]}:{frame.lineno}"
    return f"{collector.function}: {type(error).__name__}: {error} ({where})".replace("\n", " ")
