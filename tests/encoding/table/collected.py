"""Rows of `encoding` as the collector fills them, at several limits from one scan of the records."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from lorachk.engine.store import Store
from lorachk.facts.collector import Context, Options
from lorachk.facts.dataset import collect
from lorachk.facts.encoding import collect as module
from lorachk.facts.encoding.collect import Encoding
from lorachk.launchers.resolve import ResolveOptions, resolve

MODELS = Path(__file__).parents[3] / "fixtures/models"
COUNTS = (
    *("tokens", "text_tokens", "image_tokens", "kept", "features", "features_wanted", "starts", "ends"),
    *("supervised_before", "supervised", "ends_with_eos", "cut"),
)
_COLUMNS = ("record", *COUNTS, "image_cut", "verdict", "reason")
Row = dict[str, Any]


@dataclasses.dataclass
class Rows:
    """Rows by record, by limit; `tokenised`: how many records were encoded one by one, by limit (samples of
    forms are encoded without one)."""

    rows: dict[int | None, dict[int, Row]]
    tokenised: dict[int | None, int]
    unknown: list[tuple[str, str]]


def collected(data: Path, trainer: str, model: str, limits: Sequence[int | None], *, forms: bool, **given: Any) -> Rows:
    """The rows at each limit; with `forms` by what a few records of each form tell, else record by record."""
    found = Rows({}, {}, [])
    tokenised: list[int] = []

    class Several(Encoding):
        """In the place of the collector's own: at one limit after the other."""

        def __init__(self, context: Any, recipe: Any, used: Any, files: Any) -> None:
            self._all = (context, recipe, used, files)

        def fill(self) -> None:
            context, recipe, used, files = self._all
            store = context.sink
            for limit in limits:
                store._db.execute("DROP TABLE IF EXISTS frames")
                store._db.execute("DELETE FROM encoding")
                run = dataclasses.replace(recipe.run, max_length=limit)
                tokenised.clear()
                Encoding(context, dataclasses.replace(recipe, run=run), used, files).fill()
                rows = store.select(f"SELECT {', '.join(_COLUMNS)} FROM encoding")
                found.rows[limit] = {row[0]: dict(zip(_COLUMNS[1:], row[1:], strict=True)) for row in rows}
                found.tokenised[limit] = len(tokenised)

    def bar(done: int, total: int | None, what: str) -> None:
        if what == "records tokenised":
            tokenised.append(done)

    options = ResolveOptions(isolated=True, data=[str(data)], trainer=trainer, model=str(MODELS / model))
    run = dataclasses.replace(resolve(options).run, **given)
    with (
        mock.patch.object(module, "Encoding", Several),
        mock.patch.object(module, "_ALONE", 0 if forms else 10**9),
        mock.patch.object(module, "_PARALLEL", 10**9),
        Store() as store,
    ):
        collect(Context(run, store, options=Options(bar=bar)))
        found.unknown = [(row["fact"], row["reason"]) for row in store.rows("unknown")]
    return found
