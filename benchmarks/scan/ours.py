"""The dataset collector alone (`collect`), or with the fact store and all D rules (`judge`). Prints its answers."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable

from lorachk.facts.collector import Context, Row
from lorachk.facts.dataset import collect
from lorachk.run import Run


class Counting:
    """A sink that keeps counts only."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()

    def add(self, table: str, rows: Iterable[Row]) -> None:
        self.rows[table] += sum(1 for _ in rows)

    def unknown(self, fact: str, reason: str, count: int | None = None) -> None:
        """Nothing to keep."""


def main(what: str, path: str) -> None:
    if what == "judge":
        from lorachk.cli import main as command

        raise SystemExit(
            command(["data", path, "--isolated", "--select", "D", "--format", "json", "--output", "/dev/null"])
        )
    sink = Counting()
    collect(Context(Run(data=[path]), sink))
    print(json.dumps(sink.rows))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
