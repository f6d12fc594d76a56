"""What is known of lorachk.toml before it is read: where it stands, and how linting goes without it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

NAME = "lorachk.toml"


@dataclass(frozen=True)
class Lint:
    """The section [lint]: which rules, what is ignored and why, and what fails the command."""

    select: list[str] = field(default_factory=list)
    ignore: dict[str, str] = field(default_factory=dict)  # code -> reason
    rules: list[str] = field(default_factory=list)  # folders, relative to where lorachk runs
    fail_on: str | None = None


def find_project(folder: str = ".") -> str | None:
    """The lorachk.toml of a folder."""
    return NAME if os.path.isfile(os.path.join(folder, NAME)) else None  # noqa: PTH113, PTH118


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
