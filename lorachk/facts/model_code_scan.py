"""What one Python file of a model folder says of its model, read off its syntax tree: nothing of it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple

from lorachk.facts.script_scan import dotted_name, imported, literal

# Calls that rules ask for, by the last part of the name: random initialisation and loading of weights.
CALLS = frozenset({"GatheredParameters", "erfinv_", "from_pretrained", "load_state_dict", "trunc_normal_"})
Row = dict[str, Any]


class Class(NamedTuple):
    """A class, as far as what it inherits matters."""

    name: str
    bases: tuple[str, ...]  # by their full names
    methods: frozenset[str]
    attributes: frozenset[str]  # set on self anywhere in it
    prefix: str | None  # base_model_prefix, when a literal in the class
    line: int
    col: int


class ModelFile(NamedTuple):
    """What was found in a file."""

    rows: list[Row]
    imports: list[str]
    classes: list[Class]


def scan(tree: ast.Module) -> ModelFile:
    """The rows (kind, owner, subject, name, keywords, initial, plain, line, col) and classes of one parsed file."""
    names, modules = imported(tree)
    functions = {node.name: node for node in tree.body if isinstance(node, _FUNCTIONS)}
    rows: list[Row] = []
    classes: list[Class] = []
    reached: set[str] = set()  # functions of the file that an __init__ calls
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            classes.append(_class(node, names))
            methods = {item.name: item for item in node.body if isinstance(item, _FUNCTIONS)}
            initial = _closure("__init__", methods)
            reached |= {n for name in initial for n in _plain_names(methods[name]) if n in functions}
            for name, method in methods.items():
                rows += _rows(method, f"{node.name}.{name}", names, initial=name in initial)
    while more := {n for name in reached for n in _plain_names(functions[name]) if n in functions} - reached:
        reached |= more
    for name, function in functions.items():
        rows += _rows(function, name, names, initial=name in reached)
    return ModelFile(sorted(rows, key=lambda row: (row["line"], row["col"])), modules, classes)


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _class(node: ast.ClassDef, names: dict[str, str]) -> Class:
    methods = {item.name for item in node.body if isinstance(item, _FUNCTIONS)}
    prefix = None
    for item in node.body:
        if isinstance(item, ast.Assign):
            for target in item.targets:
                if isinstance(target, ast.Name):
                    methods.add(target.id)  # get_input_embeddings = other
                    if target.id == "base_model_prefix":
                        prefix = literal(item.value)
    attributes = {
        child.attr
        for child in ast.walk(node)
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store) and _is_self(child.value)
    }
    bases = tuple(dotted_name(base, names) for base in node.bases)
    return Class(node.name, bases, frozenset(methods), frozenset(attributes), prefix, node.lineno, node.col_offset + 1)


def _closure(first: str, methods: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]) -> set[str]:
    """The method, if there is one, and those that it names by self.x, directly or through each other."""
    found: set[str] = set()
    waiting = [first] if first in methods else []
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [
                child.attr
                for child in ast.walk(methods[name])
                if isinstance(child, ast.Attribute) and _is_self(child.value) and child.attr in methods
            ]
    return found


def _plain_names(node: ast.AST) -> Iterator[str]:
    return (child.id for child in ast.walk(node) if isinstance(child, ast.Name))


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _rows(function: ast.AST, owner: str, names: dict[str, str], *, initial: bool) -> Iterator[Row]:
    """Calls and writes of one function; `plain`: called by a bare name."""
    for node in ast.walk(function):
        row: Row | None = None
        if isinstance(node, ast.Call):
            called = dotted_name(node.func, names)
            last = called.rpartition(".")[2]
            if last in CALLS:
                plain = isinstance(node.func, ast.Name)
                keywords = [keyword.arg or "**" for keyword in node.keywords]
                row = {"kind": "call", "subject": called, "name": last, "plain": plain, "keywords": keywords}
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            written = node.value
            if isinstance(written, ast.Attribute) and written.attr == "data":
                row = {"kind": "data-write", "subject": dotted_name(written, names), "name": "data"}
        if row:
            place = {"line": getattr(node, "lineno", 0), "col": getattr(node, "col_offset", 0) + 1}
            yield {**row, "owner": owner, "initial": initial, **place}
