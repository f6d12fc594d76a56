"""PEFT's rule for which modules an adapter goes on, without PEFT: names in, verdict out.

The same as `peft.tuners.tuners_utils.check_target_module_exists` (0.21.2); tests hold both against each other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """The part of a LoraConfig that says where the adapter goes. A string is one regular expression."""

    targets: str | Sequence[str]
    exclude: str | Sequence[str] = ()
    saved_whole: Sequence[str] = ()  # modules_to_save
    layers: int | Sequence[int] | None = None  # layers_to_transform
    layers_pattern: str | Sequence[str] | None = None

    def matches(self, name: str) -> bool:
        """Whether the module called `name` gets an adapter. Raises re.error for a bad regular expression."""
        if self.exclude and _named(self.exclude, name):
            return False
        if any(re.match(rf"(^|.*\.){entry}($|\..*)", name) for entry in self.saved_whole):
            return False
        if isinstance(self.targets, str):
            return re.fullmatch(self.targets, name) is not None
        if name in self.targets:  # PEFT does not look at the layer number of a whole name
            return True
        return _named(self.targets, name) and self._in_layers(name)

    def _in_layers(self, name: str) -> bool:
        wanted = self.layers
        if wanted is None or (isinstance(wanted, list) and not wanted):
            return True
        patterns = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern
        if not patterns or patterns == [""]:
            expressions = [r".*?\.[^.]*\.(?P<idx>\d+)\."]
        else:
            expressions = [rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\." for pattern in patterns]
        found = next((match for text in expressions if (match := re.match(text, name))), None)
        if found is None:
            return False
        index = int(found["idx"])
        return index == wanted if isinstance(wanted, int) else index in wanted


def _named(entries: str | Sequence[str], name: str) -> bool:
    """A string: the whole name as a regular expression. A list: this name, or a name that ends in one."""
    if isinstance(entries, str):
        return re.fullmatch(entries, name) is not None
    return name in entries or any(name.endswith(f".{entry}") for entry in entries)
