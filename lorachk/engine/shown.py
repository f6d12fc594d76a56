"""What a report shows of tokens beside its findings: a histogram, the heaviest records, the numbers of a picture."""

from __future__ import annotations

from typing import Any

from lorachk.engine.finding import Report
from lorachk.engine.store import RuleTimeout, Store

_SECONDS = 120.0  # one query of 6 million records takes one or two
_NO_LENGTHS = "no record's tokens are known"


def show_tokens(store: Store, report: Report, *, worst: int | None = None, draw: bool = False) -> None:
    """Put into `report` what the tables `encoding` and `image` tell; nothing that grows with the records."""

    def select(sql: str) -> list[tuple[Any, ...]]:
        return store.query(sql, seconds=_SECONDS).rows

    try:
        if store.count("encoding"):
            from lorachk.facts.encoding.histogram import lengths
            from lorachk.facts.encoding.imagesizes import sizes

            report.lengths = lengths(select, 10)
            report.sizes = sizes(select) if report.lengths else None
        if worst:
            from lorachk.facts.encoding.worst import heaviest

            report.heaviest = heaviest(select, worst)
            if not report.heaviest:
                report.notes.append(f"--worst: {_why(store)}")
        if draw:
            from lorachk.facts.encoding.drawing import drawing

            report.drawing = drawing(select)
    except RuleTimeout as error:
        report.notes.append(f"the lengths of the records are not shown: the query was {error}")


def _why(store: Store) -> str:
    reasons = [row["reason"] for row in store.rows("unknown") if row["fact"] == "encoding"]
    return reasons[0] if reasons else _NO_LENGTHS
