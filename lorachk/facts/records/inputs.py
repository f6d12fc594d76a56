"""From what the user named (files, folders, patterns, `-`, URLs) to the dataset files that are read."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from lorachk.errors import UsageError
from lorachk.facts.records.datafile import DataFile, data_file
from lorachk.facts.records.datasetinfo import is_registry, mapping_for, read
from lorachk.facts.records.folders import Listing, is_pattern, listing, matches, near_names
from lorachk.facts.records.remote import fetch, is_url
from lorachk.facts.records.spool import spool
from lorachk.launchers.text import exists, special
from lorachk.run import Location

__all__ = ["STDIN", "DataFile", "data_file", "expand"]

STDIN = "<stdin>"
_HUB = {"trl", "hf", "axolotl", "ms-swift", "llamafactory"}  # trainers whose data may be a name on the hub
_DESCRIPTOR = re.compile(r"/dev/(stdin|fd/\d+)|/proc/self/fd/\d+")  # also what the shell makes of <(command)
_ENDING = re.compile(r"\.[A-Za-z][^./]*$")  # of a file; org/data-v2.5 is a name on the hub
_SAMPLED = re.compile(r"#\d+$")  # ms-swift: train.jsonl#500 takes 500 records of it


def expand(
    names: Sequence[str],
    split: str,
    *,
    at: Location | None = None,
    trainer: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    unread: Callable[[str], None] = lambda _: None,
) -> list[DataFile]:
    """The files that `names` stand for, each once, in the order of the names and by name inside a folder or pattern.

    `at` is the setting that names them. `unread` is told each name of a dataset on the hub, which is not fetched; `say`
    hears of JSON in a folder that is no data. Raises UsageError for what is missing, cannot be read or is no file.
    """
    inputs = _Inputs(split, at, trainer, say, unread)
    for name in names:
        inputs.add(name)
    return list(inputs.files.values())


class _Inputs:
    def __init__(
        self,
        split: str,
        at: Location | None,
        trainer: str | None,
        say: Callable[[str], None],
        unread: Callable[[str], None],
    ) -> None:
        self._split, self._trainer, self._say, self._unread = split, trainer, say, unread
        self._where = (f"{at.path}:{at.line}" if at.line else at.path) if at else None
        self._named_in_file = bool(at and at.line)
        self.files: dict[tuple[int, int], DataFile] = {}

    def add(self, name: str) -> None:
        """One name, whatever it is."""
        if name == "-":
            self._copied(STDIN, _standard_input(self._where))
        elif name.lower().startswith("file://"):
            local = re.sub(r"^//(localhost)?(?=/)", "", name.partition(":")[2], flags=re.IGNORECASE)
            self.add(local if exists(local) else unquote(local))
        elif is_url(name):
            for shown, copy in fetch(name, self._where, self._say):
                self._keep(data_file(copy, self._split, shown=shown, spooled=True))
        elif not name or "\0" in name:
            raise self._error(f"no such data file: {name!r}")
        else:
            self._local(name)

    def _local(self, name: str) -> None:
        try:
            mode = Path(name).stat().st_mode
        except FileNotFoundError:
            self._missing(name)
            return
        except OSError as error:
            raise self._error(f"{name} cannot be read: {error.strerror}") from None
        if stat.S_ISFIFO(mode) and _DESCRIPTOR.fullmatch(name):
            with Path(name).open("rb") as source:
                self._copied(name, source)
        elif stat.S_ISDIR(mode):
            self._folder(name)
        else:
            self._file(name)

    def _registered(self, name: str) -> None:
        """The datasets of LLaMA-Factory's registry that are here; the others are told."""
        registry = read(name)
        for entry in registry.entries:
            if entry.elsewhere:
                self._say(f"{name}: {entry.name} left out: {entry.elsewhere}")
            for file in entry.files:
                self._keep(data_file(file, self._split)._replace(mapping=entry.mapping))
        if not any(entry.files for entry in registry.entries):
            faults = [f"{fault.name}: {fault.text}" for fault in registry.faults if fault.fatal]
            others = [f"{entry.name}: {entry.elsewhere}" for entry in registry.entries if entry.elsewhere]
            hint = "; ".join([*faults, *others][:3]) or None
            raise self._error(f"{name} registers no dataset that can be read here", hint)

    def _file(self, name: str) -> None:
        if is_registry(name):
            self._registered(name)
            return
        mapping = mapping_for(name) if self._trainer == "llamafactory" else None
        try:
            if kind := special(name):
                hint = "write it to a file first, or pipe it in: ... | lorachk data -"
                raise self._error(f"{name} is {kind}, not a data file", hint)
            self._keep(data_file(name, self._split)._replace(mapping=mapping))
        except FileNotFoundError:
            raise self._error(f"{name} is a link to a file that is not there") from None
        except OSError as error:
            raise self._error(f"{name} cannot be read: {error.strerror or error}") from None

    def _folder(self, name: str) -> None:
        try:
            found = listing(name)
        except OSError as error:
            raise self._error(f"{error.filename or name} cannot be read: {error.strerror}") from None
        if not found.data:
            raise self._error(f"{name!r} is a folder without a data file", _instead(found))
        if found.left_out:
            names = ", ".join(os.path.relpath(path, name) for path in found.left_out[:5])
            more = f" and {len(found.left_out) - 5} more" if len(found.left_out) > 5 else ""
            self._say(f"{name}: {names}{more} left out: by name no data")
        for path in found.data:
            self._file(path)

    def _missing(self, name: str) -> None:
        if os.path.islink(name):  # noqa: PTH114
            raise self._error(f"{name} is a link to {os.readlink(name)!r}, which is not there")  # noqa: PTH115
        if is_pattern(name):
            try:
                found = matches(name)
            except (OSError, ValueError) as error:
                raise self._error(f"{name!r} is no pattern: {error}") from None
            if not found:
                raise self._error(f"no such data file: nothing matches {name!r}", self._relative())
            for path in found:
                self._local(path)
            return
        if self._trainer == "ms-swift" and (whole := _SAMPLED.sub("", name)) != name and exists(whole):
            self._local(whole)
            return
        if self._trainer in _HUB and not _ENDING.search(name):
            self._unread(name)
            return
        raise self._error(f"no such data file: {name}", self._nearby(name))

    def _nearby(self, name: str) -> str:
        home = os.path.expanduser(name)  # noqa: PTH111 - pathlib raises for an unknown user
        near = [home] if home != name and exists(home) else near_names(name)
        if near:
            return f"did you mean {' or '.join(repr(path) for path in near)}?"
        folder = os.path.dirname(name)  # noqa: PTH120
        if folder and not exists(folder):
            return f"there is no folder {folder!r}; {self._relative()}"
        return self._relative()

    def _relative(self) -> str:
        if self._named_in_file:
            return "paths are relative to the file naming them"
        return "paths are relative to this folder"

    def _copied(self, shown: str, source: BinaryIO) -> None:
        self._keep(data_file(spool(source, shown, self._say), self._split, shown=shown, spooled=True))

    def _keep(self, file: DataFile) -> None:
        status = Path(file.local).stat()
        self.files.setdefault((status.st_dev, status.st_ino), file)

    def _error(self, message: str, hint: str | None = None) -> UsageError:
        return UsageError(message, where=self._where, hint=hint)


def _standard_input(where: str | None) -> BinaryIO:
    """Standard input as bytes; UsageError when nothing ends it: a terminal, a device."""
    try:
        source = sys.stdin.buffer
        mode = os.fstat(source.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        raise UsageError("standard input is closed", where=where) from None
    if source.isatty():
        hint = "pipe the data in: zcat train.json.gz | lorachk data -"
        raise UsageError("standard input is a terminal, no data", where=where, hint=hint)
    if stat.S_ISCHR(mode) and os.fstat(source.fileno()).st_rdev != Path(os.devnull).stat().st_rdev:
        raise UsageError("standard input is a device, which never ends", where=where)
    return source


def _instead(found: Listing) -> str:
    if found.left_out:
        return f"by name no data: {', '.join(os.path.basename(p) for p in found.left_out[:5])}; name the file itself"  # noqa: PTH119
    wanted = "*.json, *.jsonl, *.ndjson and *.parquet are read, also with .gz or .zst"
    if found.others:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.others.most_common(3))
        return f"it holds {kinds}; {wanted}"
    return f"it is empty; {wanted}"
