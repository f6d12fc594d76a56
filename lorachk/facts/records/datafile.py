"""One dataset file on this machine: how the user named it, and how its bytes are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from lorachk.facts.records.compression import compression_of, open_file

if TYPE_CHECKING:
    from lorachk.facts.records.datasetinfo import Mapping_

_HEAD = 64
_PARQUET = (b"PAR1", b"PARE")  # PARE: with an encrypted footer


class DataFile(NamedTuple):
    """A dataset file. It can be pickled, so that worker processes open it themselves."""

    path: str  # as the user named it, `<stdin>`, or the URL without secrets: what reports show
    split: str  # train or eval
    local: str  # file on this machine: itself, or the copy of what came from elsewhere
    bytes: int  # size of that file
    compression: str | None = None  # gzip, zstd; by its first bytes
    container: str | None = None  # parquet; None for whatever else, which only reading tells
    spooled: bool = False  # the local file is a temporary copy
    image_root: str | None = None  # folder of its images, when it has its own
    mapping: Mapping_ | None = None  # LLaMA-Factory's columns and tags

    @property
    def seekable(self) -> bool:
        """Whether `open` gives a plain file, so that one can go to a byte offset."""
        return self.compression is None

    def open(self) -> BinaryIO:
        """Its decompressed bytes. Raises OSError, and UsageError when a package for the format is missing."""
        return open_file(self.local, self.compression)


def data_file(local: str | Path, split: str = "train", *, shown: str | None = None, spooled: bool = False) -> DataFile:
    """The DataFile of a regular file, by its first bytes. Raises OSError when it cannot be read."""
    path = str(local)
    with Path(path).open("rb") as file:
        head = file.read(_HEAD)
        size = file.seek(0, 2)
    compression = compression_of(head)
    if compression:
        with open_file(path, compression) as inside:
            head = inside.read(_HEAD)
    container = "parquet" if head.startswith(_PARQUET) else None
    return DataFile(shown or path, split, path, size, compression, container, spooled)
