"""Values between the files and the run: literals on a command line, and values that cannot be known."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from lorachk.run import Location

_INTEGER = re.compile(r"[+-]?\d+(_\d+)*$")
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
_TRUE, _FALSE = {"true", "yes", "t", "y", "1"}, {"false", "no", "f", "n", "0"}


class Unknown(NamedTuple):
    """A value that is set, but that only the shell or the cluster could tell. Never replaced by a default."""

    reason: str


class Found(NamedTuple):
    """A value and where it was read, or `why` it holds although it stands in no file."""

    value: Any
    at: Location
    why: str | None = None


def implied(value: Any, why: str) -> Found:
    """A value that stands in no file: "default of torchrun"."""
    return Found(value, Location(""), why)


def literal(text: str) -> Any:
    """A command-line word as the JSON value it most plainly is: true, 3, 1e-6, {"a": 1}, or the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _INTEGER.match(text):
        return int(text)
    if _REAL.match(text):
        return float(text)
    if text[:1] in "{[":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def as_bool(value: Any) -> bool | None:
    """A flag as HfArgumentParser reads it (yes/no/1/0 in any case); None when it is no flag."""
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    return True if text in _TRUE else False if text in _FALSE else None


def as_int(value: Any, below: int = 2**31) -> int | None:
    """A whole number; accepts 5e8 and "8", refuses booleans, fractions, and what no table or count can hold."""
    number = as_float(value)
    whole = number is not None and number == int(number) and abs(number) < below
    return int(number) if number is not None and whole else None


def as_float(value: Any) -> float | None:
    """A finite number, also when written as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None


def as_text(value: Any) -> str | None:
    """A name or path as text; None for null."""
    return None if value is None else value if isinstance(value, str) else json.dumps(value)


def as_list(value: Any) -> list[str] | None:
    """A list of names; one name is a list of one, commas or blanks separate as trainers allow."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return [str(part) for part in value]
    return [part for part in re.split(r"[,\s]+", str(value)) if part]
