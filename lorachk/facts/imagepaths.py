"""Where an image reference leads, and what was probably meant when nothing is there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from lorachk.facts.imagefolders import Folder, Folders

_URL = re.compile(r"^(https?|s3|gs|gcs|az|abfss?|oss|obs|cos|hdfs|hf|ftp)://", re.IGNORECASE)
_ODD = re.compile(r"[\\%~$\0]").search  # what may be spelled another way
_GUESSED = 2000  # folders in vain for which other folders are tried
_DEEPEST = 8  # leading parts of a path that are left out in turn


class Resolved(NamedTuple):
    """Kind (file, url, data), the file it leads to, whether that exists, and a near miss when it does not.

    `path` is the URL itself for those that are to be fetched.
    """

    kind: str
    path: str | None
    exists: bool | None
    near_miss: str | None = None


class _Place:
    """What the references share that differ only behind their last slash."""

    __slots__ = ("barren", "folders", "guesses", "kind", "missing")

    def __init__(self, kind: str, folders: list[Folder]) -> None:
        self.kind = kind
        self.folders = folders
        self.guesses: list[Folder] | None = None
        self.missing = folders[0].path if folders else ""  # what a missing file is called by
        self.barren = False  # no file is near whatever name


class Resolver:
    """Resolves references as the trainer would.

    Absolute paths and file:// are taken as they stand. A relative path is joined to `image_root` when there is one.
    Else it is looked for in each of `folders`, in order: the folder of the launch file (where the trainer is
    started), of the dataset file, and the working directory. With `urls`, an http(s) URL resolves to itself.
    """

    def __init__(self, image_root: str | None, folders: Sequence[str], *, urls: bool = False) -> None:
        self._all = list(dict.fromkeys([*([image_root] if image_root else []), *folders])) or ["."]
        self._roots = self._all[:1] if image_root else self._all
        self._urls = urls
        self._folders = Folders()
        self._places: dict[str, _Place] = {}
        self._vain = 0

    def resolve(self, reference: str) -> Resolved:
        """Look for one reference. URLs are not fetched."""
        if reference.startswith("data:"):
            return Resolved("data", None, True)
        if not reference or "\0" in reference:
            return Resolved("file", None, False)
        cut = reference.rfind("/") + 1
        head, name = reference[:cut], reference[cut:]
        place = self._places.get(head)
        if place is None:
            place = self._place(head)
        if place.kind != "file":
            return self._elsewhere(place.kind, reference)
        if place.barren and not _ODD(reference):
            return Resolved("file", place.missing + name, False)
        for folder in place.folders:
            names = folder.names
            if (name in names) if names and name.isascii() else folder.has(name):
                return Resolved("file", folder.path + name, True)
        missing = place.missing + name
        near = self._near(place, reference, head, name)
        if near is not None and near.lower() == missing.lower() and os.path.isfile(missing):  # noqa: PTH113
            return Resolved("file", missing, True)  # this file system does not tell cases apart
        return Resolved("file", missing, False, near)

    def _place(self, head: str) -> _Place:
        if self._folders.trim() or len(self._places) > 100_000:
            self._places.clear()
        if _URL.match(head):
            place = _Place("url", [])
        elif head.startswith("file://"):
            place = _Place("uri", [])
        else:
            place = _Place("file", [self._folders.get(os.path.join(root, head)) for root in self._roots])  # noqa: PTH118
        self._places[head] = place
        return place

    def _elsewhere(self, kind: str, reference: str) -> Resolved:
        if kind == "url":
            web = self._urls and reference[:5].lower() in ("http:", "https")
            return Resolved("url", reference if web else None, None)
        # Loaders cut file:// off and open the rest as it stands.
        found = self.resolve(reference[7:]) if reference[7:].startswith("/") else Resolved("file", None, False)
        if not found.exists and "%" in reference:
            meant = self.resolve(unquote(reference[7:]))
            if meant.kind == "file" and meant.exists:
                return found._replace(near_miss=meant.path)
        return found

    def _near(self, place: _Place, reference: str, head: str, name: str) -> str | None:
        """A file that is there: another case or ending, spelled another way, or in a folder that was probably meant."""
        low = name.strip().lower()
        stem = low.rpartition(".")[0] or low
        for folder in place.folders:
            if found := folder.near(low, stem):
                return os.path.normpath(folder.path + found)
        if _ODD(reference):
            for meant in _spelled(reference):
                if (other := self.resolve(meant)).exists and other.kind == "file":
                    return other.path
        new = place.guesses is None
        if place.guesses is None:
            place.guesses = self._guesses(place, head)
            place.barren = not place.guesses and all(folder.barren for folder in place.folders)
        for folder in place.guesses:
            if found := folder.near(low, stem):
                self._vain = 0
                return os.path.normpath(folder.path + found)
        self._vain += new
        return None

    def _guesses(self, place: _Place, head: str) -> list[Folder]:
        """Other folders: in another case, without leading parts (a doubled root, another machine's), other roots."""
        if self._vain >= _GUESSED:
            return []
        paths = [p for folder in place.folders if (p := self._folders.similar(folder.path))]
        parts = [p for p in head.split("/") if p not in ("", ".")]
        for without in range(min(len(parts), _DEEPEST) + 1):
            rest = "/".join(parts[without:])
            paths += [os.path.join(root, rest, "") for root in self._all]  # noqa: PTH118
        known = {folder.path for folder in place.folders}
        found = [self._folders.get(p) for p in dict.fromkeys(paths) if p not in known and os.path.isdir(p)]  # noqa: PTH112
        for folder in found:
            folder.list()
        return [folder for folder in found if not folder.barren]


def _spelled(reference: str) -> Iterator[str]:
    """The reference with ~ and $VARIABLE expanded, slashes turned, %20 decoded."""
    if "~" in reference or "$" in reference:
        expanded = os.path.expandvars(os.path.expanduser(reference))  # noqa: PTH111
        if expanded != reference:
            yield expanded
    if "\\" in reference:
        yield reference.replace("\\", "/")
    if "%" in reference and (decoded := unquote(reference)) != reference:
        yield decoded
