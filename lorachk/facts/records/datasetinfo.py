"""LLaMA-Factory's registry of datasets, `dataset_info.json`: which file holds each, and under which columns and tags.

After data/parser.py (`DatasetAttr.join`, `get_dataset_list`) and data/loader.py of hiyouga/LLaMA-Factory ff6d4d1. The
trap in it: where `columns` is given, every column that it does not name is None, not its default; the same for `tags`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from lorachk.errors import UsageError
from lorachk.launchers.positions import Document, escape, parse_json
from lorachk.launchers.text import inside, is_file, is_folder, read_text
from lorachk.run import Location, Setting

FILE_NAME = "dataset_info.json"
FORMATTINGS = ("alpaca", "sharegpt", "openai")
# extras/constants.py::FILEEXT2TYPE: the loader goes by the first file's ending, and wants the same for all.
FILE_TYPES = {"arrow": "arrow", "csv": "csv", "json": "json", "jsonl": "json", "parquet": "parquet", "txt": "text"}
# Where a dataset comes from; the first that is named wins (the hubs among them by an environment variable).
_ELSEWHERE = {
    "hf_hub_url": "on the Hugging Face hub",
    "ms_hub_url": "on the ModelScope hub",
    "om_hub_url": "on the OpenMind hub",
    "script_url": "made by a script, which is not run",
    "cloud_file_name": "in cloud storage",
}
_READ = ("json", "parquet")  # of those types, what is read here
_COLUMNS = (
    *("prompt", "query", "response", "history", "messages", "system", "tools"),
    *("images", "videos", "audios", "chosen", "rejected", "kto_tag"),
)
_TAGS = ("role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag")
_KEYS = {*_ELSEWHERE, "file_name", "formatting", "ranking", "subset", "split", "folder", "num_samples"} | {
    *("columns", "tags")
}


class Mapping_(NamedTuple):
    """How a registered dataset is read: `DatasetAttr` with its defaults. A column or tag that is None is not read."""

    name: str = ""
    formatting: str = "alpaca"
    ranking: bool = False
    split: str = "train"
    num_samples: int | None = None
    prompt: str | None = "instruction"
    query: str | None = "input"
    response: str | None = "output"
    history: str | None = None
    messages: str | None = "conversations"
    system: str | None = None
    tools: str | None = None
    images: str | None = None
    videos: str | None = None
    audios: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    kto_tag: str | None = None
    role_tag: str | None = "from"
    content_tag: str | None = "value"
    user_tag: str | None = "human"
    assistant_tag: str | None = "gpt"
    observation_tag: str | None = "observation"
    function_tag: str | None = "function_call"
    system_tag: str | None = "system"

    @property
    def columns(self) -> dict[str, str]:
        """Columns that the converter of this formatting looks up in every record: role to name."""
        if self.formatting == "alpaca":
            wanted = ["prompt", "query", "response", "history", "system", "tools", *_MEDIA, "kto_tag"]
        else:
            wanted = ["messages", "system", "tools", *_MEDIA, "kto_tag"]
        if self.ranking:
            wanted += ["chosen", "rejected"]
        return {column: name for column in wanted if (name := getattr(self, column)) is not None}


_MEDIA = ("images", "videos", "audios")


class Fault(NamedTuple):
    """Something wrong in a registry, and where."""

    name: str  # the dataset
    text: str
    at: Location
    fatal: bool = True  # the trainer stops on it; else it is only not read


class Entry(NamedTuple):
    """One dataset of a registry. `files` are there; `elsewhere` says where it is when it is not local."""

    name: str
    mapping: Mapping_
    files: tuple[str, ...]
    elsewhere: str | None
    settings: tuple[Setting, ...]


class Registry(NamedTuple):
    """A dataset_info.json that was read."""

    path: str
    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...]


def is_registry(path: str) -> bool:
    """Whether a path names a registry: the trainer knows it by its name alone."""
    return Path(path).name == FILE_NAME


def mapping_of(name: str, entry: Mapping[str, Any]) -> Mapping_:
    """What `DatasetAttr.join` makes of an entry. Names that are no text count as not given; `faults` speaks of them."""
    known: dict[str, Any] = {
        "formatting": entry.get("formatting", "alpaca"),
        "ranking": bool(entry.get("ranking", False)),
        "split": entry.get("split", "train"),
    }
    for key in ("formatting", "split"):
        known[key] = known[key] if isinstance(known[key], str) else json.dumps(known[key])
    samples = entry.get("num_samples")
    known["num_samples"] = samples if isinstance(samples, int) and not isinstance(samples, bool) else None
    for block, names in (("columns", _COLUMNS), ("tags", _TAGS)):
        if block in entry:
            given = entry[block] if isinstance(entry[block], dict) else {}
            known |= {n: given[n] if isinstance(given.get(n), str) else None for n in names}
    return Mapping_(name, **known)


def read(path: str) -> Registry:
    """Read a registry. UsageError with path:line:col when it is missing or no JSON object."""
    text, _ = read_text(path, "dataset_info")
    document = parse_json(text, path)
    if not isinstance(document.value, dict):
        raise UsageError("is a list, not an object of datasets", where=path, hint=_EXAMPLE)
    entries: list[Entry] = []
    faults: list[Fault] = [
        Fault(leaf.pointer.split("/")[1], f"{leaf.value!r} stands twice; the last one counts", _at(path, leaf), False)
        for leaf in document.duplicates
    ]
    for name, value in document.value.items():
        pointer = f"/{escape(name)}"
        at = Location(path, *document.places[pointer], pointer)
        if not isinstance(value, dict):
            faults.append(Fault(name, "a dataset is described by an object", at))
            continue
        mapping = mapping_of(name, value)
        files, elsewhere, fault = _files(path, value)
        if fault:
            faults.append(Fault(name, fault, _place(document, path, f"{pointer}/file_name", at)))
        faults += _faults(document, path, pointer, name, value)
        settings = tuple(
            Setting("dataset_info", leaf.pointer, leaf.value, _at(path, leaf))
            for leaf in document.leaves
            if leaf.pointer == pointer or leaf.pointer.startswith(f"{pointer}/")
        )
        entries.append(Entry(name, mapping, files, elsewhere, settings))
    return Registry(path, tuple(entries), tuple(faults))


_EXAMPLE = 'it maps names to files: {"mydocs": {"file_name": "mydocs.json"}}'


def _at(path: str, leaf: Any) -> Location:
    return Location(path, leaf.line, leaf.col, leaf.pointer)


def _place(document: Document, path: str, pointer: str, otherwise: Location) -> Location:
    return Location(path, *document.places[pointer], pointer) if pointer in document.places else otherwise


def _files(path: str, entry: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None, str | None]:
    """The dataset's local files, where else it is, and what is wrong with them."""
    other = next((key for key in _ELSEWHERE if key in entry), None)
    if other:
        return (), f"{entry[other]} is {_ELSEWHERE[other]}", None
    named = entry.get("file_name")
    if not isinstance(named, str) or not named:
        return (), None, "names no file: file_name is missing" if named is None else "file_name is no path"
    local = inside(str(Path(path).parent), named)
    if is_folder(local):
        try:
            files = tuple(str(p) for p in sorted(Path(local).iterdir()))
        except OSError as error:
            return (), None, f"{named} cannot be read: {error.strerror}"
    elif is_file(local):
        files = (local,)
    else:
        return (), None, f"File {local} not found"
    kinds = {FILE_TYPES.get(Path(file).suffix[1:]) for file in files}
    if not files:
        return (), None, f"{named} is an empty folder"
    if None in kinds:
        odd = next(f for f in files if Path(f).suffix[1:] not in FILE_TYPES)
        return (), None, f"{Path(odd).name} is of a type that is not read; allowed are {', '.join(FILE_TYPES)}"
    if len(kinds) > 1:
        return files, None, f"File types should be identical: {', '.join(sorted(str(k) for k in kinds))} in {named}"
    (kind,) = kinds
    return (files, None, None) if kind in _READ else ((), f"{named} holds {kind}, which is not read here", None)


def _faults(document: Document, path: str, pointer: str, name: str, entry: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with one entry's own keys."""
    found: list[Fault] = []

    def say(below: str, text: str, fatal: bool = True) -> None:
        found.append(Fault(name, text, _place(document, path, f"{pointer}{below}", Location(path)), fatal))

    formatting = entry.get("formatting", "alpaca")
    if formatting not in FORMATTINGS:
        say("/formatting", f"Dataset converter {formatting} not found: formatting is {', '.join(FORMATTINGS)}")
    for key in entry:
        if key not in _KEYS:
            say(f"/{escape(key)}", f"{key!r} is no key of a dataset; it is not read", False)
    for block, names in (("columns", _COLUMNS), ("tags", _TAGS)):
        given = entry.get(block)
        if given is None:
            if block in entry:
                say(f"/{block}", f"{block} is null; it has to be an object")
        elif not isinstance(given, dict):
            say(f"/{block}", f"{block} has to be an object")
        else:
            for key, value in given.items():
                below = f"/{block}/{escape(key)}"
                if key not in names:
                    say(below, f"{key!r} is none of the {block} {', '.join(names)}; it is not read", False)
                elif value is not None and not isinstance(value, str):
                    say(below, f"{key} has to be the name of a {block[:-1]}")
    return found + _unnamed(document, path, pointer, name, entry)


def _unnamed(document: Document, path: str, pointer: str, name: str, entry: Mapping[str, Any]) -> list[Fault]:
    """Columns and tags without which no record can be read: what is not named has no default any more."""
    mapping = mapping_of(name, entry)
    at = Location(path, *document.places[pointer], pointer)
    found = []
    if isinstance(entry.get("columns"), dict):
        where = _place(document, path, f"{pointer}/columns", at)
        if mapping.formatting in ("sharegpt", "openai") and mapping.messages is None:
            text = "columns do not name messages, so no conversation is read: what columns leave out has no default"
            found.append(Fault(name, text, where))
        if mapping.formatting == "alpaca" and mapping.prompt is None and mapping.query is None:
            found.append(Fault(name, "columns name neither prompt nor query: every question is empty", where))
    if isinstance(entry.get("tags"), dict) and mapping.formatting in ("sharegpt", "openai"):
        where = _place(document, path, f"{pointer}/tags", at)
        missing = [t for t in ("role_tag", "content_tag", "user_tag", "assistant_tag") if getattr(mapping, t) is None]
        if missing:
            text = f"tags do not name {', '.join(missing)}: what tags leave out has no default"
            found.append(Fault(name, text, where))
    return found


def registered(path: str) -> list[tuple[str, str, Mapping_]]:
    """Name, file and map of every dataset of the registry at `path` that is here. UsageError as `read`."""
    return [(entry.name, file, entry.mapping) for entry in read(path).entries for file in entry.files]


def entry_for(data_path: str) -> tuple[Registry, Entry] | None:
    """The entry of a registry in the same folder (or the one above, for a folder of files) that names this file."""
    own = Path(inside(str(Path.cwd()), data_path))
    for folder in (own.parent, own.parent.parent):
        registry = _beside(str(folder / FILE_NAME))
        for entry in registry.entries if registry else ():
            if any(Path(inside(str(Path.cwd()), file)) == own for file in entry.files):
                assert registry is not None
                return registry, entry
    return None


def mapping_for(data_path: str) -> Mapping_ | None:
    """The map of the registered dataset that this file is; None when no registry beside it names it."""
    found = entry_for(data_path)
    return found[1].mapping if found else None


def _beside(path: str) -> Registry | None:
    """A registry that nobody asked for: one that cannot be read is as good as none."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return _unchanged(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _unchanged(path: str, _modified: int, _size: int) -> Registry | None:
    try:
        return read(path)
    except UsageError:
        return None
