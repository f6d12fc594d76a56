"""Every fact table, declared once: name, what a row is, columns with types, units and meaning.

This is the contract between collectors (which write rows), rules (which query them) and people (`lorachk sql`). A rule
page is prepared against this schema when it is loaded. Facts hold lengths, counts and hashes rather than dataset text.
"""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import Union, get_args, get_origin

from lorachk.facts import tables_dataset, tables_machine, tables_model, tables_run
from lorachk.facts.schema import BIG, FLAG, LIST, LOCATION, REAL, TEXT, Column, Table, table

__all__ = ["LOCATION", "Column", "Table", "tables"]

_UNKNOWN = (
    table(
        "unknown",
        "one fact that could not be collected, and why",
        fact=(TEXT, "table, or table.column"),
        reason=(TEXT, "why"),
        count=(BIG, "rows concerned; NULL for all"),
    ),
)

_SCALARS = {str: TEXT, int: BIG, float: REAL, bool: FLAG}


def _duck(annotation: object) -> str | None:
    """DuckDB type of a Run field; None for fields that are not columns (dictionaries)."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
    if get_origin(annotation) is list:
        return LIST
    return _SCALARS.get(annotation) if isinstance(annotation, type) else None


def _run_table() -> Table:
    from lorachk.run import FIELDS

    columns = []
    for name, field in FIELDS.items():
        if (kind := _duck(field.type)) is None:
            continue
        columns += [
            Column(name, kind, field.metadata["description"]),
            Column(f"{name}_at", LOCATION, f"where {name} was read; NULL for a default"),
        ]
    return Table("run", "the run (one row)", tuple(columns))


@cache
def tables() -> dict[str, Table]:
    """All tables by name."""
    declared = {
        t.name: t
        for t in (*tables_dataset.TABLES, *tables_run.TABLES, *tables_machine.TABLES, *tables_model.TABLES, *_UNKNOWN)
    }
    return {"run": _run_table(), **declared}
