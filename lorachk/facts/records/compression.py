"""Reads gzip and zstd files as a stream, and says where the compressed data breaks off instead of losing what is read.

Memory stays small whatever a file claims to hold: a bomb is read block by block like any long file.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from lorachk.errors import UsageError

_STEP = 1 << 20
# A zstd block of 4 bytes can hold 128 KiB, so 2 KiB of input give at most 64 MiB. More at once is hardly faster.
_ZSTD_STEP = 2 << 10
_SKIPPABLE = tuple(bytes((n, 0x2A, 0x4D, 0x18)) for n in range(0x50, 0x60))  # pzstd starts with such a frame


def compression_of(head: bytes) -> str | None:
    """`gzip`, `zstd` or None, by the first bytes of a file; its name may lie."""
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith((b"\x28\xb5\x2f\xfd", *_SKIPPABLE)):
        return "zstd"
    return None


def open_file(path: str, compression: str | None) -> BinaryIO:
    """The decompressed bytes of a local file. Raises OSError, and UsageError when zstandard is not installed."""
    file = Path(path).open("rb")  # noqa: SIM115 - the caller closes it
    match compression:
        case "gzip":
            return cast(BinaryIO, Decompressed(file, "gzip", _gzip(file)))
        case "zstd":
            return cast(BinaryIO, Decompressed(file, "zstd", _zstd(file)))
        case _:
            return file


class Decompressed(io.RawIOBase):
    """Decompressed bytes. Where the compressed data is cut off or broken the stream ends and `fault` says so."""

    def __init__(self, file: BinaryIO, kind: str, blocks: Iterator[bytes]) -> None:
        self.fault: str | None = None
        self._file, self._kind, self._blocks = file, kind, blocks
        self._block, self._at = b"", 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes, fewer only at the end; all for a negative size."""
        wanted = -1 if size is None or size < 0 else size
        parts = []
        while wanted:
            if self._at >= len(self._block):
                self._block, self._at = self._next(), 0
                if not self._block:
                    break
            part = self._block if wanted < 0 or not self._at else self._block[self._at : self._at + wanted]
            if 0 < wanted < len(part):
                part = part[:wanted]
            self._at += len(part)
            parts.append(part)
            wanted -= len(part) if wanted > 0 else 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer`; the number of bytes, 0 at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _next(self) -> bytes:
        if self.fault:
            return b""
        try:
            return next(self._blocks, b"")
        except EOFError:
            what = "is cut off: it ends before its end mark (an incomplete download or copy?)"
        except (gzip.BadGzipFile, zlib.error) as error:
            what = f"is broken: {error}"
        except Exception as error:
            if type(error).__name__ != "ZstdError":  # its class is known only where the package is imported
                raise
            reason = str(error).removeprefix("zstd decompressor error: ").removeprefix("zstd decompress error: ")
            what = f"is broken: {reason}"
            if "too much memory" in reason:
                what = "was written with a window of more than 128 MiB: decompress it with zstd -d --long=31"
        self.fault = f"the {self._kind} data {what}; {self._file.tell():,} compressed bytes were read"
        return b""


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as unpacked:
        # read1 hands over what it has before it raises; read would lose it.
        while block := unpacked.read1(_STEP):
            yield block


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        file.close()
        hint = "pip install zstandard, or decompress the file: zstd -d FILE"
        raise UsageError("zstd files need the package zstandard", hint=hint) from None
    # zstandard's own stream_reader takes a file that is cut off for a whole one; the frames' `eof` tells.
    # Like the zstd command it refuses windows over 128 MiB, which a file can demand to fill the memory.
    decompressor = zstandard.ZstdDecompressor()
    frame = decompressor.decompressobj()
    rest = b""
    while data := rest or file.read(_ZSTD_STEP):
        if frame.eof:
            frame = decompressor.decompressobj()
        if block := frame.decompress(data):
            yield block
        rest = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError
