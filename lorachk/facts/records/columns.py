"""Rows as columns: what the scan of a dataset hands to the store, some ten thousand records at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


class Columns:
    """Columns of one table that grow row by row or list by list."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.lists: dict[str, list[Any]] = {name: [] for name in names}

    def __len__(self) -> int:
        return len(self.lists[self.names[0]])

    def write(self, file: Path) -> int:
        """Write the columns to `file`; the bytes written. Lone surrogates are escaped."""
        try:
            data = _encode(self.lists)
        except UnicodeEncodeError:  # from "\ud800" in someone's JSON
            data = _encode(_escaped(self.lists))
        file.write_bytes(data)
        return len(data)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [_escaped(v) for v in value]
    if isinstance(value, dict):
        return {k: _escaped(v) for k, v in value.items()}
    return value
