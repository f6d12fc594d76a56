"""The datasets a LLaMA-Factory run names: files of the entries in dataset_info.json (data/parser.py)."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from lorachk.errors import UsageError
from lorachk.launchers.positions import escape, parse_json
from lorachk.launchers.text import exists, inside, read_text, where
from lorachk.launchers.values import Found, Unknown

MEDIA = "dataset_dir"  # where the registry, the files, and the media unless media_dir says otherwise, are
_REGISTRY = "dataset_info.json"
_ELSEWHERE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")


def names(value: Any) -> list[str]:
    """`a,b` as LLaMA-Factory splits it; a list stays one."""
    parts = value if isinstance(value, list) else str(value).split(",")
    return [str(part).strip() for part in parts]


def datasets(named: Found, folder_given: Found | None, folder: str) -> Found:
    """The files of the named datasets; what is not here stays a name, and an Unknown says why nothing is.

    UsageError for a dataset that the registry does not have, and for a registry that is no JSON object.
    """
    if isinstance(named.value, Unknown):
        return named
    wanted = names(named.value)
    if folder_given is not None and isinstance(folder_given.value, Unknown):
        return named._replace(value=folder_given.value)
    directory = "data" if folder_given is None or folder_given.value is None else folder_given.value
    if isinstance(directory, dict):
        return _not_here(named, "the datasets are described among the arguments, not in a file")
    if directory == "ONLINE" or str(directory).startswith("REMOTE:"):
        return _not_here(named, f"{', '.join(wanted)}: on the hub, by dataset_dir {directory}; it is not fetched")
    path = inside(folder, f"{directory}/{_REGISTRY}")
    if not exists(path):
        return _not_here(named, f"there is no {path}, in which LLaMA-Factory looks up {', '.join(wanted)}")
    at = where(*named.at[:3])
    text, _ = read_text(path, "dataset_info", at)
    document = parse_json(text, path)
    if not isinstance(document.value, dict):
        raise UsageError("is no object of datasets", where=where(path, 1, 1))
    found: list[str] = []
    local = False
    for name in wanted:
        if name not in document.value:
            near = get_close_matches(name, list(document.value), 2, 0.6)
            hint = f"did you mean {' or '.join(near)}?" if near else "add it to that file, or set dataset_dir"
            raise UsageError(f"the dataset {name!r} is not in {path}", where=at, hint=hint)
        entry = document.value[name]
        place = where(path, *document.places.get(f"/{escape(name)}", (1, 1)))
        if not isinstance(entry, dict):
            raise UsageError(f"the dataset {name!r} is described by no object", where=place)
        if any(key in entry for key in _ELSEWHERE):
            found.append(name)
            continue
        if not isinstance(entry.get("file_name"), str):
            raise UsageError(f"the dataset {name!r} names no file: file_name is missing", where=place)
        found.append(inside(inside(folder, str(directory)), entry["file_name"]))
        local = True
    if not local:
        return _not_here(named, f"{', '.join(wanted)}: on the hub, by {path}; it is not fetched")
    return named._replace(value=found)


def _not_here(named: Found, reason: str) -> Found:
    return Found(Unknown(reason), named.at, reason)
