"""Data files behind URLs: fetched through fsspec, only when the user named one and has the packages for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit, urlunsplit

from lorachk.errors import UsageError
from lorachk.facts.records.folders import is_pattern, sort_names
from lorachk.facts.records.spool import spool

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub", "http": "aiohttp",
    "https": "aiohttp", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "oss": "ossfs", "hdfs": "pyarrow",
    "ssh": "paramiko", "sftp": "paramiko", "smb": "smbprotocol", "dropbox": "dropboxdrivefs",
}  # fmt: skip


def is_url(name: str) -> bool:
    """Whether a name is a URL and no path."""
    return _URL.match(name) is not None


def shown(url: str) -> str:
    """A URL for reports: without user, password and the query, which may be a signature."""
    parts = urlsplit(url)
    query = "..." if parts.query and parts.scheme.lower() in ("http", "https") else parts.query
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def fetch(url: str, where: str | None, say: Callable[[str], None]) -> list[tuple[str, str]]:
    """Fetch a URL, the data files of a remote folder, or what a remote pattern stands for.

    Gives (how it is shown, temporary file) for each. Raises UsageError for whatever goes wrong.
    """
    scheme = url.partition("://")[0].lower()
    files, path = _file_system(url, scheme, where)
    try:
        found = [path] if scheme in ("http", "https") else _expanded(files, path)
        fetched = []
        for name in found:
            label = shown(url) if name == path else f"{scheme}://{name.lstrip('/') if scheme != 'file' else name}"
            say(f"fetching {label}")
            with files.open(name, "rb") as source:
                fetched.append((label, spool(cast(BinaryIO, source), label, say)))
    except UsageError:
        raise
    except FileNotFoundError as error:  # over HTTP also for a server that does not answer
        cause = _first_line(error.__cause__).replace(url, shown(url)) if error.__cause__ else None
        raise UsageError(f"no such data file: {shown(url)}", where=where, hint=cause) from None
    except Exception as error:  # every kind of storage has its own
        reason = _first_line(error).replace(url, shown(url))
        raise UsageError(f"{shown(url)} cannot be read: {reason}", where=where, hint=_hint(error, scheme)) from None
    if not fetched:
        raise UsageError(f"no such data file: {shown(url)}", where=where)
    return fetched


def _file_system(url: str, scheme: str, where: str | None) -> tuple[Any, str]:
    package = _PACKAGES.get(scheme)
    try:
        import fsspec
    except ImportError:
        wanted = f"fsspec {package}" if package else "fsspec"
        hint = f"pip install {wanted}, or download it first"
        raise UsageError(f"{shown(url)} needs the package fsspec", where=where, hint=hint) from None
    try:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(url))
    except ImportError as error:
        missing = package or getattr(error, "name", None)
        hint = f"pip install {missing}, or download it first" if missing else _first_line(error)
        raise UsageError(f"{scheme}:// needs {missing or 'another package'}", where=where, hint=hint) from None
    except Exception as error:
        known = _first_line(error).replace(url, shown(url))
        raise UsageError(f"{shown(url)} cannot be read: {known}", where=where) from None


def _expanded(files: Any, path: str) -> list[str]:
    if files.exists(path) and not files.isdir(path):
        return [path]
    if is_pattern(path):
        return sorted(name for name in files.glob(path) if not files.isdir(name))
    return sort_names(files.find(path, maxdepth=1)).data or sort_names(files.find(path)).data


def _first_line(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _hint(error: Exception, scheme: str) -> str | None:
    if "credential" in str(error).lower() or "credential" in type(error).__name__.lower():
        return f"the credentials for {scheme}:// are taken from your environment"
    return None
