"""YAML with the line and column of every value.

PyYAML's safe loader decides what is valid. Numbers such as 1e-4 are numbers, as in YAML 1.2 and in OmegaConf, which
LLaMA-Factory reads with; trainers on plain PyYAML get text and turn it into a number themselves.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from lorachk.errors import UsageError
from lorachk.launchers.positions import Document, Leaf, escape, leaves_of
from lorachk.launchers.text import where

_LARGEST = 20_000  # nodes, aliases expanded; a training configuration has a few hundred
_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?(?:[0-9][0-9_]*)[eE][-+]?[0-9]+"
    r"|\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


def parse_yaml(text: str, path: str) -> Document:
    """Parse a YAML file of one document; UsageError with `path:line:col` when it is not valid or beyond all measure."""
    import yaml

    try:
        root = yaml.compose(text, Loader=_loader())
        if root is None:
            return Document(None, [], {"": (1, 1)}, [])
        walk = _Walk(path)
        walk.node(root, "")
        loader = _loader()("")
        try:
            value = loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _refused(text, path, error) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise UsageError(f"is no YAML: {str(error).splitlines()[0]}", where=path) from None
    except (ValueError, TypeError) as error:  # a date that is none, a key that cannot be one
        raise UsageError(f"is no YAML that can be read: {error}", where=path) from None
    except RecursionError:
        raise UsageError("is nested too deeply to be a configuration file", where=path) from None
    leaves = [Leaf(pointer, leaf, *walk.near(pointer)) for pointer, leaf in leaves_of(value)]
    return Document(value, leaves, walk.places, walk.duplicates)


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """The safe loader with YAML 1.2's numbers."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:float"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    return Loader


class _Walk:
    """Places of all values of a composed document, and keys that stand twice."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.places: dict[str, tuple[int, int]] = {}
        self.duplicates: list[Leaf] = []
        self._open: set[int] = set()

    def node(self, node: Any, pointer: str) -> None:
        import yaml

        mark = node.start_mark
        if len(self.places) >= _LARGEST:
            raise UsageError(f"holds more than {_LARGEST:,} values", where=self.path, hint="is it a configuration?")
        if id(node) in self._open:
            raise UsageError("a value holds itself", where=where(self.path, mark.line + 1, mark.column + 1))
        self.places[pointer] = (mark.line + 1, mark.column + 1)
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            self._mapping(node, pointer)
        elif isinstance(node, yaml.SequenceNode):
            for index, child in enumerate(node.value):
                self.node(child, f"{pointer}/{index}")
        self._open.discard(id(node))

    def _mapping(self, node: Any, pointer: str) -> None:
        import yaml

        seen: set[str] = set()
        for key, child in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for merged in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    if isinstance(merged, yaml.MappingNode):
                        self.node(merged, pointer)
                continue
            name = str(key.value)
            below = f"{pointer}/{escape(name)}"
            if name in seen:
                self.duplicates.append(Leaf(below, name, key.start_mark.line + 1, key.start_mark.column + 1))
            seen.add(name)
            self.node(child, below)

    def near(self, pointer: str) -> tuple[int, int]:
        """The place of a value, or of what holds it: a key that YAML reads as a number has another spelling."""
        while pointer not in self.places and pointer:
            pointer = pointer.rpartition("/")[0]
        return self.places.get(pointer, (1, 1))


def _refused(text: str, path: str, error: Any) -> UsageError:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "cannot be read"
    at = where(path, mark.line + 1, mark.column + 1) if mark else path
    line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
    hint = None
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in problem:
        problem, hint = "a tab indents this line", "YAML is indented by blanks only"
    elif "mapping values are not allowed" in problem:
        hint = "a value that holds ': ' needs quotes; or the line above is indented otherwise"
    elif "found another document" in problem:
        problem = "a second document begins here"
        hint = "one file holds one configuration"
    return UsageError(f"is no YAML: {problem}", where=at, hint=hint)
