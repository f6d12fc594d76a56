"""Which files a folder holds, answered from its listing instead of one system call per file.

A folder is asked for a few files one by one first: listing a million to look for three would be the slower way. What
cannot be listed (no permission, too large) is asked for file by file.
"""

from __future__ import annotations

import os

_SINGLY = 32  # files that are asked for one by one before the folder is listed
_LARGEST = 1_000_000  # entries of one folder
_AT_ONCE = 3_000_000  # entries kept over all folders
_IN_ALL = 20_000_000  # entries listed over all folders and all times
_ENDINGS = {"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "jfif", "avif", "heic"}
_NONE: frozenset[str] = frozenset()


class Folder:
    """One folder. `path` ends in a slash, or is empty for the working directory."""

    __slots__ = ("_asked", "_folders", "_listed", "_lower", "_stems", "names", "path", "subfolders", "there")

    def __init__(self, path: str, folders: Folders) -> None:
        self.path = path
        self.names: frozenset[str] | set[str] | None = None  # its files, once listed and complete
        self.subfolders: list[str] = []
        self.there: bool | None = None
        self._folders = folders
        self._asked = 0
        self._listed: frozenset[str] | set[str] | None = None
        self._lower: dict[str, str] | None = None
        self._stems: dict[str, str] | None = None

    def has(self, name: str) -> bool:
        """Whether it holds a file (or a link to one) of this name."""
        names = self.names
        if names is not None:
            if name in names:
                return True
            # The file system may compose letters another way than the dataset does.
            return not name.isascii() and bool(names) and self._stat(name)
        self._asked += 1
        found = self._stat(name)
        if self._listed is None and (not found or self._asked > _SINGLY):
            self.list()
        return found

    def _stat(self, name: str) -> bool:
        return os.path.isfile(self.path + name)  # noqa: PTH113 - three times as fast as Path, and never raises

    @property
    def barren(self) -> bool:
        """Whether it is known to hold no image, or not to exist."""
        names = self.names
        return names is not None and not any(n.rpartition(".")[2].lower() in _ENDINGS for n in names)

    def near(self, low: str, stem: str) -> str | None:
        """A name it holds that is `low` in lower case, or has this stem and the ending of an image."""
        if self._lower is None or self._stems is None:
            self.list()
            self._lower = {n.lower(): n for n in self._listed or ()}
            self._stems = {
                stem: n
                for low, n in self._lower.items()
                for stem, _, ending in (low.rpartition("."),)
                if ending in _ENDINGS
            }
        return self._lower.get(low) or self._stems.get(stem)

    def list(self) -> None:
        """Read the listing; `there` tells whether the folder exists."""
        if self._listed is not None:
            return
        if not self._folders.may_list(self.path):
            self.there, self.names, self._listed = False, _NONE, _NONE
            return
        names: set[str] = set()
        self._listed, complete = names, True
        try:
            with os.scandir(self.path or ".") as entries:
                self.there = True
                for entry in entries:
                    if len(names) >= _LARGEST or self._folders.listed >= _IN_ALL:
                        complete = False
                        break
                    try:
                        if entry.is_file():
                            names.add(entry.name)
                        elif entry.is_dir():
                            self.subfolders.append(entry.name)
                    except OSError:  # a link that leads in circles, or nowhere
                        continue
        except (FileNotFoundError, NotADirectoryError, ValueError):
            self.there = False
            self._folders.missing(self.path)
        except OSError:
            # It may be open to those who know the name; it is asked for every file.
            complete = False
        self._folders.listed += len(names)
        self._folders.kept += len(names)
        if complete:
            self.names = names


class Folders:
    """All folders that were asked for; call `trim` between questions to bound memory."""

    def __init__(self) -> None:
        self.listed = 0
        self.kept = 0
        self._known: dict[str, Folder] = {}
        self._missing: dict[str, bool] = {}

    def get(self, path: str) -> Folder:
        """The folder at `path`, which ends in a slash or is empty."""
        found = self._known.get(path)
        if found is None:
            found = self._known[path] = Folder(path, self)
            if self._missing and not self.may_list(path):
                found.list()
        return found

    def trim(self) -> bool:
        """Forget all folders when there are too many; True then."""
        if self.kept <= _AT_ONCE and len(self._known) <= 100_000 and len(self._missing) <= 100_000:
            return False
        self._known.clear()
        self._missing.clear()
        self.kept = 0
        return True

    def may_list(self, path: str) -> bool:
        """False when a folder above `path` is known to be missing."""
        return not self._missing.get(_above(path), False)

    def missing(self, path: str) -> None:
        """Note that `path` does not exist, and whether it is the folders above that are missing."""
        while (path := _above(path)) and path not in self._missing:
            gone = self._missing[path] = not os.path.lexists(path)
            if not gone:
                return

    def similar(self, path: str) -> str | None:
        """An existing folder whose path differs from `path` in case only; None also when `path` itself is there."""
        parts = [p for p in path.split("/") if p]
        at, changed = "/" if path.startswith("/") else "", False
        for part in parts:
            if os.path.isdir(at + part):  # noqa: PTH112
                at += part + "/"
                continue
            above = self.get(at)
            above.list()
            low = part.strip().lower()
            found = next((s for s in above.subfolders if s.lower() == low), None)
            if found is None:
                return None
            at, changed = at + found + "/", True
        return at if changed else None


def _above(path: str) -> str:
    return path[: path.rstrip("/").rfind("/") + 1]
