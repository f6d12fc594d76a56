"""Versions out of lock files (uv, poetry, pdm, PEP 751, Pipenv), pyproject.toml and conda environments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lorachk.errors import UsageError
from lorachk.launchers.positions import Document, parse_json
from lorachk.launchers.requirements import Stated, distribution, normal, requirement
from lorachk.launchers.text import where
from lorachk.run import Location

_CONDA = re.compile(r"(?:[\w.-]+::)?([\w.-]+)\s*(?:(==?|[<>!~]=?|===)\s*([^=\s]+)(?:=\S+)?)?\s*(.*)$")


def read(text: str, path: str) -> list[Stated]:
    """What such a file states. UsageError with the place when it is none of them, or not well-formed."""
    if path.endswith((".yml", ".yaml")):
        from lorachk.launchers.yaml_positions import parse_yaml

        return [*_conda(parse_yaml(text, path), path)]
    if path.endswith(".json") or text.lstrip().startswith("{"):
        return [*_pipenv(parse_json(text, path), path)]
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        from lorachk.launchers.toml_positions import parse_toml

        value = parse_toml(text, path).value  # says where it is broken
    if isinstance(value.get("package", value.get("packages")), list):
        return [*_locked(value, text, path)]
    return [*_pyproject(value, text, path)]


def _locked(value: dict[str, Any], text: str, path: str) -> Iterator[Stated]:
    """uv.lock, poetry.lock and pdm.lock have [[package]], PEP 751 [[packages]], each with name and version.

    Places are counted in the text: such a file has thousands of tables, and only these two of their lines matter.
    """
    heads = [text.count("\n", 0, m.start()) + 1 for m in re.finditer(r"(?m)^\[\[packages?\]\]", text)]
    entries: list[Any] = value.get("package", value.get("packages")) or []
    for index, entry in enumerate(entries):
        name, version = entry.get("name"), entry.get("version")
        if not (isinstance(name, str) and isinstance(version, str)):
            continue  # a project of its own, or a source without version
        if (marker := entry.get("marker")) is not None and not _holds(str(marker)):
            continue
        line = heads[index] if index < len(heads) else None
        yield Stated(normal(name), version, f"=={version}", Location(path, line, 1 if line else None))


def _holds(marker: str) -> bool:
    from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

    try:
        return Marker(marker).evaluate({"extra": "", "extras": "", "dependency_groups": ""})
    except (InvalidMarker, UndefinedEnvironmentName, KeyError, TypeError):
        return True


def _pyproject(value: dict[str, Any], text: str, path: str) -> Iterator[Stated]:
    from lorachk.launchers.toml_positions import parse_toml

    places = parse_toml(text, path).places

    def at(pointer: str) -> Location:
        line, col = places.get(pointer, (None, None))
        return Location(path, line, col, pointer)

    project = value.get("project", {})
    poetry = value.get("tool", {}).get("poetry", {})
    if not project and not poetry and "dependency-groups" not in value:
        raise UsageError(
            "has no dependencies: neither [[package]] of a lock file nor [project] of a pyproject.toml",
            where=path,
            hint="give requirements.txt, uv.lock, poetry.lock, pylock.toml, pyproject.toml or environment.yml",
        )
    lists = [("/project/dependencies", project.get("dependencies", []))]
    lists += [(f"/project/optional-dependencies/{k}", v) for k, v in project.get("optional-dependencies", {}).items()]
    lists += [(f"/dependency-groups/{k}", v) for k, v in value.get("dependency-groups", {}).items()]
    for pointer, entries in lists:
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, str) and (made := requirement(entry, at(f"{pointer}/{index}"))):
                yield made
    for name, entry in poetry.get("dependencies", {}).items():
        wanted = entry.get("version", "") if isinstance(entry, dict) else entry
        if normal(name) != "python" and isinstance(wanted, str):
            yield _poetry(normal(name), wanted, at(f"/tool/poetry/dependencies/{name}"))


def _poetry(name: str, wanted: str, at: Location) -> Stated:
    """Poetry's ^ and ~ as what they allow; a bare number is an exact version."""
    wanted = wanted.strip()
    if re.match(r"=?=?\s*\d[\w.+!]*$", wanted):
        version = wanted.lstrip("= ")
        return Stated(name, version, f"=={version}", at)
    if wanted.startswith("^") and (number := re.match(r"\^\s*(\d+)((?:\.\d+)*)", wanted)):
        major, rest = int(number[1]), [int(part) for part in number[2].split(".") if part]
        upper = f"{major + 1}" if major else f"0.{rest[0] + 1}" if rest else "1"
        return Stated(name, None, f">={wanted[1:].strip()},<{upper}", at)
    if wanted.startswith("~") and not wanted.startswith("~="):
        bare = wanted[1:].strip()
        return Stated(name, None, f"~={bare}" if "." in bare else f"~={bare}.0", at)
    return Stated(name, None, "" if wanted == "*" else wanted.replace(" ", ""), at)


def _conda(document: Document, path: str) -> Iterator[Stated]:
    """`dependencies` of an environment.yml; `numpy=1.26` allows every 1.26, `pytorch=2.1.2=build` is exact."""
    value = document.value
    entries = value.get("dependencies") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        hint = "a conda environment has a list `dependencies`"
        raise UsageError("is no conda environment", where=where(path, 1, 1), hint=hint)
    for index, entry in enumerate(entries):
        line, col = document.places.get(f"/dependencies/{index}", (None, None))
        if isinstance(entry, dict):
            for inner, wanted in enumerate(entry.get("pip") or []):
                pointer = f"/dependencies/{index}/pip/{inner}"
                row, column = document.places.get(pointer, (None, None))
                place = Location(path, row, column, pointer)
                if isinstance(wanted, str) and not wanted.startswith("-") and (made := requirement(wanted, place)):
                    yield made
        elif isinstance(entry, str) and (match := _CONDA.match(entry)):
            yield _conda_entry(match, entry, Location(path, line, col, f"/dependencies/{index}"))


def _conda_entry(match: re.Match[str], entry: str, at: Location) -> Stated:
    name, operator, version = distribution(match[1]), match[2], match[3]
    if operator is None:
        return Stated(name, None, "", at)
    if operator == "=" and version:
        exact = entry.count("=") > 1 or version.count(".") >= 2  # a build string, or all three numbers
        if exact and "*" not in version:
            return Stated(name, version, f"=={version}", at)
        return Stated(name, None, f"=={version.rstrip('.*')}.*", at)
    if operator in ("==", "===") and "*" not in version:
        return Stated(name, version, f"=={version}", at)
    return Stated(name, None, f"{operator}{version}{match[4].replace(' ', '')}", at)


def _pipenv(document: Document, path: str) -> Iterator[Stated]:
    """Pipfile.lock: {"default": {"torch": {"version": "==2.1.2"}}}."""
    value = document.value
    packages = value.get("default") if isinstance(value, dict) else None
    if not isinstance(packages, dict):
        raise UsageError("is no lock file that is known", where=path, hint="of JSON files, Pipfile.lock is read")
    for name, entry in packages.items():
        line, col = document.places.get(f"/default/{name}", (None, None))
        wanted = entry.get("version") if isinstance(entry, dict) else None
        if isinstance(wanted, str) and wanted.startswith("=="):
            yield Stated(normal(name), wanted[2:], wanted, Location(path, line, col))
