"""Gathering facts: collectors run only when a rule reads one of their tables, and none takes the others down."""

from __future__ import annotations

import traceback
from collections.abc import Iterable

from lorachk.engine.finding import Report
from lorachk.engine.store import Store
from lorachk.errors import UsageError
from lorachk.facts.collector import COLLECTORS, Collector, Context, NotCollected


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
            _unknown(store, collector, before, str(reason))
        except UsageError:
            raise
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.filename.rpartition('lorachk/')[2]}:{frame.lineno}"
            text = f"{collector.function}: {type(error).__name__}: {error} ({where})".replace("\n", " ")
            report.internal_errors.append(text)
            _unknown(store, collector, before, f"internal error in lorachk: {text}")
        else:
            # A table that was looked at and has no rows is known to be empty, unless the collector said otherwise.
            stated = {row["fact"] for row in store.rows("unknown")}
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


def _unknown(store: Store, collector: Collector, before: set[str], reason: str) -> None:
    stated = {row["fact"] for row in store.rows("unknown")}
    for table in collector.tables:
        if table not in stated and (table not in store.collected or table in before):
            store.unknown(table, reason)
