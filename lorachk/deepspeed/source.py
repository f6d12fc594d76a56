"""Source files of DeepSpeed: their definitions, constants and imports by `ast`, and the keys that are found in them.

DeepSpeed is not imported: that takes seconds and may compile.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string", "Path": "string"}
TYPES |= {"list": "array", "List": "array", "tuple": "array", "dict": "object", "Dict": "object", "dtype": "string"}


class Key(NamedTuple):
    """A key of a block."""

    type: str | None = None  # JSON type; None when the source does not tell
    replaced: str | None = None  # deprecated: what it has been replaced by


@dataclass
class Keys:
    """Blocks by pointer with their keys. `strict` blocks are pydantic models that refuse other names."""

    blocks: dict[str, dict[str, Key]] = field(default_factory=dict)
    strict: set[str] = field(default_factory=set)
    removed: dict[tuple[str, str], str] = field(default_factory=dict)  # block and key to the text of the error

    def add(self, block: str, name: str, key: Key | None = None) -> None:
        """Note a key; what is known of it already is kept."""
        known = self.blocks.setdefault(block, {})
        if name not in known or (known[name].type is None and key is not None):
            known[name] = key or Key()


class Block(str):
    """The pointer of the dictionary that an expression stands for; `also`: of others that it may stand for as well."""

    also: tuple[Block, ...] = ()


@dataclass
class Module:
    """A source file of DeepSpeed."""

    root: Path  # the folder `deepspeed`
    path: Path
    others: dict[Path, Module]

    @cached_property
    def tree(self) -> ast.Module:
        """Its statements; none when it cannot be read."""
        try:
            return ast.parse(self.path.read_text("utf-8"))
        except (OSError, SyntaxError, ValueError):
            return ast.Module([], [])

    @cached_property
    def definitions(self) -> dict[str, ast.FunctionDef | ast.ClassDef]:
        """Functions and classes of the file itself."""
        return {n.name: n for n in self.tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}

    @cached_property
    def assigned(self) -> dict[str, ast.expr]:
        """What the file itself assigns to names."""
        lines = [n for n in self.tree.body if isinstance(n, ast.Assign)]
        return {n.targets[0].id: n.value for n in lines if isinstance(n.targets[0], ast.Name)}

    @cached_property
    def imports(self) -> list[ast.ImportFrom]:
        """Its imports, those inside functions too."""
        return [n for n in ast.walk(self.tree) if isinstance(n, ast.ImportFrom)]

    def constant(self, name: str, depth: int = 0) -> ast.expr | None:
        """What a name is assigned, here or in the module it is imported from."""
        if name in self.assigned or depth > 5:
            return self.assigned.get(name)
        for node in self.imports:
            for alias in node.names:
                if alias.name == "*" or (alias.asname or alias.name) == name:
                    found = self.imported(node).constant(name if alias.name == "*" else alias.name, depth + 1)
                    if found is not None:
                        return found
        return None

    def imported(self, node: ast.ImportFrom) -> Module:
        """The module that an import names."""
        parts = (node.module or "").split(".") if node.module else []
        if node.level:
            folder = self.path.parent
            for _ in range(node.level - 1):
                folder = folder.parent
        else:
            folder, parts = (self.root, parts[1:]) if parts[:1] == ["deepspeed"] else (Path("/nowhere"), parts)
        path = folder.joinpath(*parts)
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        return self.others.setdefault(path, Module(self.root, path, self.others))

    def find(self, name: str, depth: int = 0) -> tuple[Module, ast.FunctionDef | ast.ClassDef] | None:
        """A function or class by the name it has in this file, and the file it is defined in."""
        if name in self.definitions:
            return self, self.definitions[name]
        for node in self.imports if depth < 6 else ():
            for alias in node.names:
                if alias.name == "*" or (alias.asname or alias.name) == name:
                    found = self.imported(node).find(name if alias.name == "*" else alias.name, depth + 1)
                    if found:
                        return found
        return None
