"""Where an image reference leads, and what was probably meant when nothing is there."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

_URL = re.compile(r"^(https?|s3|gs|oss|hdfs|ftp)://", re.IGNORECASE)
_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jfif", ".avif", ".heic"}
_LISTED = 200_000  # entries of a folder that are looked through for a near miss


class Resolved(NamedTuple):
    """Kind (file, url, data), the file it leads to, whether that exists, and a near miss when it does not."""

    kind: str
    path: str | None
    exists: bool | None
    near_miss: str | None = None


class Resolver:
    """Resolves references as the trainer would.

    Absolute paths and file:// are taken as they stand. A relative path is joined to `image_root` when there is one.
    Else it is looked for in each of `folders`, in order: the folder of the launch file (where the trainer is
    started), of the dataset file, and the working directory.
    """

    def __init__(self, image_root: str | None, folders: Sequence[str]) -> None:
        self._folders = [image_root] if image_root else list(dict.fromkeys(folders))
        self._listings: dict[str, tuple[dict[str, str], dict[str, str]]] = {}

    def resolve(self, reference: str) -> Resolved:
        """Look for one reference. URLs are not fetched."""
        if reference.startswith("data:"):
            return Resolved("data", None, True)
        if _URL.match(reference):
            return Resolved("url", None, None)
        path = reference
        if reference.startswith("file://"):
            path = unquote(urlsplit(reference).path)
        if "\0" in path or not path:
            return Resolved("file", None, False)
        candidates = [os.path.join(folder, path) for folder in self._folders]  # noqa: PTH118
        for candidate in candidates:
            if os.path.isfile(candidate):  # noqa: PTH113 - three times as fast as Path, on every record
                return Resolved("file", candidate, True)
        return Resolved("file", candidates[0], False, self._near(path, candidates))

    def _near(self, path: str, candidates: Sequence[str]) -> str | None:
        """A file that is there: ~ or $VARIABLE expanded, slashes turned, other case, other ending."""
        plain = "~" not in path and "$" not in path
        expanded = path if plain else os.path.expandvars(os.path.expanduser(path))  # noqa: PTH111
        turned = path.replace("\\", "/")
        guesses = [expanded] if expanded != path else []
        if turned != path:
            guesses += [os.path.join(folder, turned) for folder in self._folders]  # noqa: PTH118
        for guess in guesses:
            if os.path.isfile(guess):  # noqa: PTH113
                return guess
        for candidate in candidates:
            folder, name = os.path.split(candidate)
            names, stems = self._listing(folder)
            if not names:
                continue
            found = names.get(name.lower()) or stems.get(os.path.splitext(name)[0].lower())  # noqa: PTH122
            if found:
                return os.path.normpath(os.path.join(folder, found))  # noqa: PTH118
        return None

    def _listing(self, folder: str) -> tuple[dict[str, str], dict[str, str]]:
        if folder not in self._listings:
            names: dict[str, str] = {}
            stems: dict[str, str] = {}
            try:
                with os.scandir(folder or ".") as entries:
                    for number, entry in enumerate(entries):
                        if number >= _LISTED:
                            break
                        names[entry.name.lower()] = entry.name
                        stem, ending = os.path.splitext(entry.name)  # noqa: PTH122
                        if ending.lower() in _ENDINGS:
                            stems[stem.lower()] = entry.name
            except (OSError, ValueError):
                pass
            if len(self._listings) > 1000:  # folders per image would otherwise fill the memory
                self._listings.clear()
            self._listings[folder] = names, stems
        return self._listings[folder]
