"""From result rows to places in files: a rule names path and record, the engine adds line, column and pointer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from lorachk.engine.finding import Place
from lorachk.engine.page import place_columns
from lorachk.engine.store import Store

if TYPE_CHECKING:
    from lorachk.facts.records.locate import Spot

_Key = tuple[Any, ...]  # path, record, turn, position
Spots = dict[_Key, "Spot"]
_TOGETHER = 200  # places that one query looks up
# The scan goes by a dataset_info.json when LLaMA-Factory is the trainer, or when that file was named as the data.
_SQL = """
WITH wanted(path, record, turn, position) AS (VALUES {values})
SELECT w.path, w.record, w.turn, w.position, r."offset", r.line, r.pointer, i.pointer,
  EXISTS (SELECT 1 FROM run WHERE trainer = 'llamafactory') OR w.path IN (SELECT file FROM registry)
FROM wanted w JOIN record r ON r.path = w.path AND r.record = w.record
LEFT JOIN image i ON i.path = w.path AND i.record = w.record AND i.position = w.position AND w.turn IS NULL
"""


def places(rows: Sequence[dict[str, Any]], spots: Spots, *, notes: bool = False) -> tuple[Place, ...]:
    """Locations of rows, each from `at` (a location or a list of them) or from single columns.

    `spots` is what `look_up` found for these rows, among others; with `notes`, a row's message goes with its places.
    """
    return tuple(place for row in rows for place in _of_row(row, spots, str(row["message"]) if notes else None))


def _of_row(row: dict[str, Any], spots: Spots, note: str | None) -> tuple[Place, ...]:
    at = row.get("at")
    if at is not None:
        several = at if isinstance(at, list) else [at]
        made = [Place(a["path"], a["line"], a["col"], a["pointer"], note=note) for a in several if a and a["path"]]
        return tuple(dict.fromkeys(made))
    if not place_columns(list(row)):
        return ()
    line, col, pointer = spots.get(_key(row)) or (row.get("line"), row.get("col"), row.get("pointer"))
    return (Place(row.get("path"), line, col, pointer, row.get("record"), row.get("turn"), note),)


def _key(row: dict[str, Any]) -> _Key:
    return tuple(row.get(name) for name in ("path", "record", "turn", "position"))


def look_up(store: Store, rows: Iterable[dict[str, Any]]) -> Spots:
    """Where the records, turns and images stand that rows name without a line; one query for many."""
    open_ = (r for r in rows if r.get("path") is not None and r.get("record") is not None and r.get("line") is None)
    remaining = iter(dict.fromkeys(_key(row) for row in open_ if row.get("at") is None))
    found: Spots = {}
    while keys := list(islice(remaining, _TOGETHER)):
        from lorachk.facts.records.locate import Start, locate

        values = ", ".join(["(?::VARCHAR, ?::BIGINT, ?::BIGINT, ?::BIGINT)"] * len(keys))
        looked = store.look(_SQL.format(values=values), [value for key in keys for value in key])
        for *key, offset, line, pointer, inner, mapped in looked.rows:
            path, _, turn, _ = key
            found[tuple(key)] = locate(Start(path, offset, line, pointer, bool(mapped)), turn=turn, inner=inner)
    return found
