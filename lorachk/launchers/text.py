"""Reading a configuration file as text, with errors that say where and what to do."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from lorachk.errors import UsageError
from lorachk.run import Source

_BOMS = ((b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_LARGEST = 16 * 2**20  # bytes; a configuration file of this size is something else


def where(path: str, line: int | None = None, col: int | None = None) -> str:
    """`path:line:col`, as terminals and editors make it a link."""
    return ":".join(str(part) for part in (path, line, col) if part is not None)


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column of a character offset, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def beside(path: str, named: str) -> str:
    """A path as the file at `path` means it: relative to that file's folder."""
    return inside(str(Path(path).parent), named)


def inside(folder: str, named: str) -> str:
    """A path as it is meant in `folder`; a URL is the same everywhere."""
    if "://" in named:
        return named
    return os.path.normpath(Path(folder) / Path(named).expanduser())  # pathlib alone would keep "a/../b"


def exists(path: str) -> bool:
    """Whether there is such a path; no as well for what no file system takes, where pathlib raises."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str) -> bool:
    """Whether there is such a file; see `exists`."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str) -> bool:
    """Whether there is such a folder; see `exists`."""
    return os.path.isdir(path)  # noqa: PTH112


def is_deepspeed(path: str) -> bool:
    """Whether a file has the key that only DeepSpeed's files have; no for one that cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return b'"zero_optimization"' in file.read(1 << 16)
    except (OSError, ValueError):
        return False


def special(path: str) -> str | None:
    """What a path is when it is no file that can be read again: a pipe never ends, and neither does /dev/zero."""
    kind = stat.S_IFMT(Path(path).stat().st_mode)
    return {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}.get(
        kind
    )


_overlay: ContextVar[dict[str, str] | None] = ContextVar("overlay", default=None)


@contextmanager
def overlaid(texts: dict[str, str]) -> Iterator[None]:
    """Configuration files read as these texts, by path: what a fix would make of them, before it is written."""
    token = _overlay.set({os.path.realpath(path): text for path, text in texts.items()})
    try:
        yield
    finally:
        _overlay.reset(token)


def read_text(path: str, kind: str, named_at: str | None = None) -> tuple[str, Source]:
    """The text of a configuration file and its `source` row.

    Raises UsageError when the file is missing, is a folder, or is not UTF-8 text. `named_at` is where its path stands.
    """
    overlay = _overlay.get()
    if overlay and (text := overlay.get(os.path.realpath(path))) is not None:
        return text, Source(path, kind, len(text.encode()), "utf-8")
    try:
        if nature := special(path):
            raise UsageError(f"is {nature}, not a file", where=path, hint="write it to a file first")
        if Path(path).stat().st_size > _LARGEST:
            raise UsageError(f"a {kind} file of more than 16 MiB is not read", where=path)
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        hint = f"named at {named_at}" if named_at else None
        raise UsageError(
            f"there is no file {path!r}", where=named_at or path, hint=hint and _neighbours(path)
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"cannot be read: {reason}", where=path) from None
    for mark, name in _BOMS:
        if raw.startswith(mark):
            raise UsageError(
                f"starts with a {name} byte-order mark, which the libraries do not read",
                where=where(path, 1, 1),
                hint="save the file as UTF-8 without byte-order mark",
            )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, col = position(raw[: error.start].decode("utf-8") + "?", len(raw[: error.start].decode("utf-8")))
        raise UsageError(
            f"byte 0x{raw[error.start]:02x} is not UTF-8",
            where=where(path, line, col),
            hint="save the file as UTF-8",
        ) from None
    return text, Source(path, kind, len(raw), "utf-8")


def _neighbours(path: str) -> str | None:
    folder = Path(path).parent
    if not folder.is_dir():
        return f"the folder {str(folder)!r} does not exist either"
    from difflib import get_close_matches

    names = [entry.name for entry in folder.iterdir()]
    close = get_close_matches(Path(path).name, names, 3, 0.6)
    return f"beside it there is {', '.join(close)}" if close else None
