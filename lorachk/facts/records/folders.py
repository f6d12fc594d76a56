"""Which files of a folder, or of a glob pattern, are data."""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_PACKED = (".gz", ".zst")
_KINDS = (".json", ".jsonl", ".ndjson", ".parquet")
ENDINGS = (*_KINDS, *(kind + packed for kind in _KINDS for packed in _PACKED))
# JSON that lies beside data, checkpoints and tokenizers and is none.
_OTHER = (
    "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json",
    "config.json", "*_config.json", "ds_config*.json", "*.index.json",
    "trainer_state.json", "all_results.json", "train_results.json", "eval_results.json",
    "tokenizer.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "chat_template.json",
    "package.json", "package-lock.json", "tsconfig.json",
)  # fmt: skip
_MAGIC = re.compile(r"[*?[]")
_LISTED = 200_000  # entries of a folder that are looked through for a near miss


class Listing(NamedTuple):
    """What a folder holds: data files in order, JSON that is none, and the endings of whatever else."""

    data: list[str]
    left_out: list[str]
    others: Counter[str]


def is_data_name(name: str) -> bool:
    """Whether a file of this name holds data, by its ending."""
    return name.lower().endswith(ENDINGS)


def listing(folder: str) -> Listing:
    """The files of a folder; of its subfolders when itself has no data. Links to folders are not followed.

    Hidden files and folders are passed over. Raises OSError when a folder cannot be read.
    """
    found = _sorted(folder, next(os.walk(folder, onerror=_raise), (folder, [], []))[2])
    if found.data:
        return found

    def names() -> Iterator[str]:
        for place, folders, files in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inside = os.path.relpath(place, folder)
            yield from files if inside == "." else (os.path.join(inside, name) for name in files)  # noqa: PTH118

    return _sorted(folder, names())


def sort_names(names: Iterable[str]) -> Listing:
    """Names (with `/`) of data files, in order; JSON that is none; the endings of the others."""
    data, left_out, others = [], [], Counter[str]()
    for path in names:
        name = path.rpartition("/")[2]
        if name.startswith("."):
            continue
        if not is_data_name(name):
            others[os.path.splitext(name)[1].lower() or name] += 1  # noqa: PTH122
        elif any(fnmatch.fnmatchcase(name.lower(), other) for other in _OTHER):
            left_out.append(path)
        else:
            data.append(path)
    return Listing(sorted(data), sorted(left_out), others)


def is_pattern(name: str) -> bool:
    """Whether a name that is no file may be a glob pattern."""
    return bool(_MAGIC.search(name))


def matches(pattern: str) -> list[str]:
    """Files that a pattern stands for, in order; folders when no file does. `**` is any depth, without following links.

    Hidden files only when the pattern says so. Raises ValueError for what is no pattern.
    """
    parts = Path(pattern).expanduser().parts
    first = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    base, rest = Path(*parts[:first]), list(parts[first:])
    if rest[-1:] == ["**"]:
        rest.append("*")
    found = {
        path
        for path in base.glob("/".join(rest))
        if not any(part.startswith(".") for part in path.relative_to(base).parts)
        or any(part.startswith(".") for part in rest)
    }
    files = sorted(str(path) for path in found if not path.is_dir())
    return files or sorted(str(path) for path in found)


def near_names(path: str) -> list[str]:
    """Data files beside a missing one that were probably meant: other case, other ending, a slip of the pen."""
    from difflib import get_close_matches

    folder, wanted = os.path.split(path)
    try:
        with os.scandir(folder or ".") as entries:
            names = [e.name for _, e in zip(range(_LISTED), entries, strict=False) if not e.name.startswith(".")]
    except (OSError, ValueError):
        return []
    names = sorted(name for name in names if is_data_name(name) or name.lower() == wanted.lower())
    by_case = [name for name in names if name.lower() == wanted.lower()]
    by_stem = [name for name in names if _stem(name) == _stem(wanted)]
    close = get_close_matches(_stem(wanted), {_stem(name) for name in names}, 3, 0.75)
    by_letters = [name for stem in close for name in names if _stem(name) == stem]
    near = list(dict.fromkeys([*by_case, *by_stem, *by_letters]))[:3]
    return [os.path.join(folder, name) for name in near]  # noqa: PTH118


def _stem(name: str) -> str:
    name = name.lower()
    for ending in (*_PACKED, *_KINDS):
        name = name.removesuffix(ending)
    return name


def _sorted(folder: str, names: Iterable[str]) -> Listing:
    found = sort_names(names)
    return found._replace(
        data=[os.path.join(folder, name) for name in found.data],  # noqa: PTH118
        left_out=[os.path.join(folder, name) for name in found.left_out],  # noqa: PTH118
    )


def _raise(error: OSError) -> Callable[[], None]:
    raise error
