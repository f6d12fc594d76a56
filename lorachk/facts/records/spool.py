"""Temporary copies of data that comes from elsewhere (standard input, URLs), so that it can be read more than once."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lorachk.errors import UsageError

_STEP = 1 << 20
_SPARE = 1 << 29  # bytes that must stay free in the temporary folder: whoever else runs here needs some too
_CHECKED = 64  # steps between two looks at it


class _Place(NamedTuple):
    folder: str
    owner: int


_places: list[_Place] = []  # at most one


def folder() -> Path:
    """The folder of this process's copies; it goes when the process ends, also on Ctrl-C."""
    if not _places:
        _places.append(_Place(tempfile.mkdtemp(prefix="lorachk-input-"), os.getpid()))
        atexit.register(forget)
    return Path(_places[0].folder)


def forget() -> None:
    """Remove all copies. A forked worker leaves those of its parent alone."""
    while _places:
        place = _places.pop()
        if place.owner == os.getpid():
            shutil.rmtree(place.folder, ignore_errors=True)


def _look_for_room(path: str) -> None:
    if shutil.disk_usage(path).free < _SPARE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def spool(source: BinaryIO, shown: str, say: Callable[[str], None]) -> str:
    """Copy `source` to its end into a temporary file; the path of that. Raises UsageError when the disk gets full."""
    try:
        descriptor, path = tempfile.mkstemp(dir=folder())
        total = step = 0
        with os.fdopen(descriptor, "wb") as file:
            while data := source.read(_STEP):
                total += file.write(data)
                if step % _CHECKED == 0:
                    say(f"reading {shown}: {total >> 20:,} MiB")
                    _look_for_room(path)
                step += 1
    except OSError as error:
        forget()
        hint = f"it is copied to {tempfile.gettempdir()!r}: set TMPDIR to a folder with room for it"
        raise UsageError(f"{shown} cannot be read: {error.strerror or error}", hint=hint) from None
    return path
