"""Arguments of a training script that lies beside its launch file: the user's own copy says best what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lorachk.facts.argument_classes import Argument, Sources

_DEPTH = 3  # imports that are followed: llava/train/train_mem.py only calls what train.py defines
_LARGEST = 2_000_000  # bytes of a file that is read


class Script(NamedTuple):
    """What a script's parser is made of."""

    path: str
    owners: dict[str, dict[str, Argument]]  # class -> fields, those of transformers and trl left out
    roots: set[str]  # classes of transformers and trl that they descend from
    strict: bool  # what no class names stops the run


def find(program: str | None, folder: str) -> Path | None:
    """The script a launch starts, when it is here."""
    if not program:
        return None
    name = program if program.endswith(".py") else program.replace(".", "/") + ".py"
    for base in (folder, f"{folder}/src", "."):
        path = Path(base) / name
        if path.is_file():
            return path
    return None


def read_script(path: Path, folder: str, library: Mapping[str, set[str]]) -> Script | None:
    """The arguments of a script, its imports followed; None when no parser of dataclasses was found whole.

    `library` has the class names of transformers and trl.
    """
    outside = {name for names in library.values() for name in names}
    seen: set[Path] = set()
    sources = _read(path)
    while sources is not None and not sources.parsers and len(seen) < _DEPTH:  # it only calls another file's train()
        seen.add(path)
        following = [made for _, made in _imported(sources, path, folder) if made.parsers]
        sources = following[0] if following else None
    if sources is None:
        return None
    names = [name for classes, _ in sources.parsers for name in classes]
    strict = all(strict for _, strict in sources.parsers)
    _follow(sources, path, folder, set(names) | {b for c in sources.classes.values() for b in c.bases})
    aliases = {n: m for n, (m, _) in sources.imports.items()}
    empty: dict[str, dict[str, Argument]] = {name: {} for name in outside}
    owners, roots = dict[str, dict[str, Argument]](), set[str]()
    for name in names:
        if name not in sources.classes and name not in outside:
            return None
        fields = sources.fields(name, empty)
        if fields is None:
            return None
        if name in outside and name not in sources.classes and aliases.get(name, "transformers").startswith("."):
            return None
        owners[name] = fields
        roots |= sources.roots(name) & outside
    if not owners:
        return None
    owners["add_argument"] = dict(sources.added)
    return Script(str(path), owners, roots, strict)


def _read(path: Path) -> Sources | None:
    sources = Sources()
    try:
        if path.stat().st_size > _LARGEST:
            return None
        sources.read(path.read_text("utf-8"), script=True)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    return sources


def _imported(sources: Sources, path: Path, folder: str) -> list[tuple[str, Sources]]:
    """Files of the checkout that a script imports names from."""
    found, seen = list[tuple[str, Sources]](), set[Path]()
    for name, (module, level) in sources.imports.items():
        where = _module(module, level, path, folder)
        if where is not None and where not in seen:
            seen.add(where)
            made = _read(where)
            if made is not None:
                found.append((name, made))
    return found


def _follow(sources: Sources, path: Path, folder: str, wanted: set[str]) -> None:
    """Add the classes that the parser's classes are, or descend from, when they stand in files of the checkout."""
    for _ in range(_DEPTH):
        missing = {name.removeprefix("^") for name in wanted} - sources.classes.keys()
        before = len(sources.classes)
        for name in missing:
            if name not in sources.imports:
                continue
            where = _module(*sources.imports[name], path, folder)
            made = _read(where) if where else None
            if made is None:
                continue
            for other, declared in made.classes.items():
                sources.classes.setdefault(other, declared)
            for other, place in made.imports.items():
                sources.imports.setdefault(other, place)
        wanted = {base for made in sources.classes.values() for base in made.bases}
        if len(sources.classes) == before:
            return


def _module(module: str, level: int, path: Path, folder: str) -> Path | None:
    """The file of an imported module inside the checkout: beside the script, above it, or where it is started."""
    parts = [part for part in module.split(".") if part]
    bases = [path.parents[level - 1]] if level else [Path(folder), Path(folder) / "src", *list(path.parents)[:4]]
    for base in bases:
        for file in (base.joinpath(*parts).with_suffix(".py") if parts else None, base.joinpath(*parts, "__init__.py")):
            if file is not None and file.is_file():
                return file
    return None
