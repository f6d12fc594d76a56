"""One record as it was read, and where it stands."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class Source(Protocol):
    """What bytes are read from, to the end."""

    def read(self, size: int) -> bytes:
        """About `size` more bytes; empty at the end."""


class Item(NamedTuple):
    """A record: its value, the bytes it was read from, number from 0, line from 1, and RFC 6901 pointer.

    `offset` is the byte of the stream where it starts; None for what is no text (Parquet).
    """

    value: Any
    raw: bytes
    number: int
    line: int
    pointer: str
    offset: int | None = None


class Fault(NamedTuple):
    """Something that is wrong with a file, `offset` bytes into its UTF-8 stream."""

    text: str
    offset: int
    json: bool = True  # False: JSON is fine, the shape of the file is not
    line: int | None = None  # instead of the offset
