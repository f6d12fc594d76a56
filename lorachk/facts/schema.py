"""What a fact table is made of."""

from __future__ import annotations

from typing import NamedTuple

LOCATION = "STRUCT(path VARCHAR, line INTEGER, col INTEGER, pointer VARCHAR)"


class Column(NamedTuple):
    """A column: DuckDB type and meaning, with the unit where there is one."""

    name: str
    type: str
    doc: str


class Table(NamedTuple):
    """A fact table; `row` says what one row is."""

    name: str
    row: str
    columns: tuple[Column, ...]

    @property
    def ddl(self) -> str:
        """CREATE TABLE statement."""
        return f'CREATE TABLE "{self.name}" ({", ".join(f"{_quoted(c.name)} {c.type}" for c in self.columns)})'


def _quoted(name: str) -> str:
    return f'"{name}"'


def table(name: str, row: str, /, **columns: tuple[str, str] | str) -> Table:
    """A table; each keyword is a column with its DuckDB type and meaning."""
    made = []
    for column, spec in columns.items():
        kind, doc = spec if isinstance(spec, tuple) else (spec, "")
        made.append(Column(column, kind, doc))
    return Table(name, row, tuple(made))


TEXT, INT, BIG, REAL, FLAG, LIST = "VARCHAR", "INTEGER", "BIGINT", "DOUBLE", "BOOLEAN", "VARCHAR[]"
