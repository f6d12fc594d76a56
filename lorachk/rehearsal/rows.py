"""How the processes of a rehearsal report: JSON lines, one file per process, readable after a crash."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Rows:
    """Appends rows to `<folder>/rows-<name>.jsonl`; every row is on disk before `add` returns."""

    def __init__(self, folder: str, name: str) -> None:
        self._file = (Path(folder) / f"rows-{name}.jsonl").open("a", encoding="utf-8")

    def add(self, table: str, /, **values: Any) -> None:
        """Write one row; NaN and infinity are kept."""
        self._file.write(json.dumps({"row": table, "at": time.time(), **values}, default=str) + "\n")
        self._file.flush()


def read_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """All rows of all processes; a last line that a killed process did not finish is left out."""
    for path in sorted(folder.glob("rows-*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict):
                yield row


def number(value: Any) -> float | None:
    """A tensor, number or None as float; NaN and infinity stay."""
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
