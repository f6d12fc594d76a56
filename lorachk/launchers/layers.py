"""Layers of answers: what the options, files and defaults say about each field of the Run, in order of precedence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lorachk.launchers.values import Found, Unknown, as_bool, as_float, as_int, as_list, as_text
from lorachk.run import FIELDS, Location


def _kinds() -> dict[str, str]:
    """Run field -> str, int, float, bool or list, read off the model itself."""
    kinds = {}
    for name, info in FIELDS.items():
        text = str(info.type)
        kinds[name] = next((k for k in ("list", "dict", "bool", "int", "float", "str") if k in text), "str")
    return kinds


_KIND = _kinds()
_CONVERT: dict[str, Callable[[Any], Any]] = {
    "bool": as_bool,
    "int": as_int,
    "float": as_float,
    "str": as_text,
    "list": as_list,
}


def convert(name: str, value: Any) -> Any:
    """A value as the type of its Run field; None when it is no such thing."""
    if name in ("data", "eval_data", "target_modules") and isinstance(value, str):
        return [value]  # one path or one regex, whatever commas it holds
    return _CONVERT[_KIND[name]](value)


@dataclass
class Layers:
    """Answers per field; the first layer that knows a field wins, and an unknown in it is not filled from below."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Location] = field(default_factory=dict)
    because: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, Unknown] = field(default_factory=dict)

    def knows(self, name: str) -> bool:
        """Whether a layer said something about the field, be it only that it cannot be known."""
        return name in self.values or name in self.unknown

    def add(self, found: dict[str, Found]) -> None:
        """Add a layer below the ones there. Values that do not convert to the field's type become unknown."""
        for name, entry in found.items():
            if self.knows(name) or entry.value is None:
                continue
            if entry.why:
                self.because[name] = entry.why
            else:
                self.origins[name] = entry.at
            if isinstance(entry.value, Unknown):
                self.unknown[name] = entry.value
                continue
            if name == "target_modules":  # PEFT matches a list by name ends, a string as a whole regex
                self.values["target_regex"] = isinstance(entry.value, str) and entry.value != "all-linear"
                if entry.why:
                    self.because["target_regex"] = entry.why
                else:
                    self.origins["target_regex"] = entry.at
            value = convert(name, entry.value)
            if value is None:
                self.unknown[name] = Unknown(f"{entry.value!r} is not what {name} takes")
            else:
                self.values[name] = value

    def derive(self, name: str, value: Any, at: Location | None = None, why: str | None = None) -> None:
        """Set a field that follows from others, unless something said it already.

        `at`: the place of what it follows from. `why`: "default of transformers 5.24.0", where there is no such place.
        """
        if value is None or self.knows(name):
            return
        self.values[name] = value
        if at:
            self.origins[name] = at
        elif why:
            self.because[name] = why

    def get(self, name: str) -> Any:
        """The value of a field; None when it is unknown."""
        return self.values.get(name)
