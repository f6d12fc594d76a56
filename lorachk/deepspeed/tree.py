"""The DeepSpeed configuration while it is being filled in: its values, who gave them, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lorachk.launchers.positions import escape
from lorachk.launchers.values import Unknown

Path = tuple[str, ...]


class Absent:
    """Stands for a value that is not there, as None is a value."""


ABSENT = Absent()


class Wanted(NamedTuple):
    """What transformers puts in for `auto`, or compares with: its name in the error text, and its value."""

    name: str  # as transformers prints it: train_batch_size (calculated)
    fields: tuple[str, ...]  # TrainingArguments it is made of; world_size too
    value: Any  # Unknown when it cannot be told


@dataclass
class Value:
    """One value of the configuration."""

    given: Any = ABSENT  # as it stands in the file
    value: Any = ABSENT  # as DeepSpeed is given it; Unknown with the reason
    by: str = "file"  # file, transformers or accelerate
    wanted: Wanted | None = None
    agrees: bool | None = None
    mismatch: str | None = None  # the line that transformers prints


class Refusal(NamedTuple):
    """An error that is raised before DeepSpeed starts."""

    path: Path
    by: str  # transformers or accelerate
    message: str  # exception and text


class Stopped(Exception):
    """The configuration cannot be processed further."""


@dataclass
class Tree:
    """A configuration that is filled in place, as the libraries do it. `file` is left as it was."""

    file: dict[str, Any]
    config: dict[str, Any] = field(init=False)
    values: dict[Path, Value] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = deepcopy(self.file)
        for path, value in leaves(self.file):
            self.values[path] = Value(value, value)

    def node(self, path: Path) -> dict[str, Any] | None:
        """The block of `path`; None when it is not there. Raises Stopped for a value where a block should be."""
        block: Any = self.config
        for depth, key in enumerate(path[:-1]):
            block = block.get(key)
            if block is None:
                return None
            if not isinstance(block, dict):
                kind = type(block).__name__
                self.refuse(
                    path[: depth + 1], "transformers", f"AttributeError: '{kind}' object has no attribute 'get'"
                )
                raise Stopped
        assert isinstance(block, dict)
        return block

    def get(self, path: Path) -> Any:
        """The value at `path`; None when it is not there, as the libraries ask for it."""
        block = self.node(path)
        return None if block is None else block.get(path[-1])

    def put(self, path: Path, value: Any, by: str) -> None:
        """Set a value whose block is there."""
        block = self.node(path)
        if block is None:
            return
        block[path[-1]] = value
        entry = self.values.setdefault(path, Value())
        entry.value, entry.by = value, by

    def fill(self, path: Path, value: Any, by: str) -> bool:
        """Put `value` in where `auto` stands; whether it stood there."""
        if self.get(path) != "auto":
            return False
        self.put(path, value, by)
        return True

    def refuse(self, path: Path, by: str, message: str) -> None:
        """Note an error."""
        self.refusals.append(Refusal(path, by, message))

    def is_auto(self, path: Path) -> bool:
        """Whether `auto` stands at `path`."""
        return bool(self.get(path) == "auto")


def leaves(block: dict[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """All values that are no objects, and empty objects, with their paths."""
    for key, value in block.items():
        path = (*above, key)
        if isinstance(value, dict) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def known(value: Any) -> bool:
    """Whether a value, or every part of a list of values, is known."""
    return not (isinstance(value, Unknown) or (isinstance(value, list) and any(isinstance(v, Unknown) for v in value)))


def dotted(path: Path) -> str:
    """A path as transformers writes it: zero_optimization.stage."""
    return ".".join(path)


def path_of(name: str) -> Path:
    """The path of a dotted name."""
    return tuple(name.split("."))


def pointer(path: Path) -> str:
    """A path as a JSON pointer (RFC 6901)."""
    return "".join(f"/{escape(key)}" for key in path)
