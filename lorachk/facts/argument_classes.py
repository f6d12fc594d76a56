"""Dataclasses that trainers parse their arguments into, read from source; nothing is imported.

What HfArgumentParser makes of a field is decided by its annotation and default, so the two are read off the syntax tree
as far as they are literal. A value that only running the code could tell is left open (None), never guessed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_PLAIN = {"bool": "boolean", "int": "integer", "float": "number", "str": "string", "Path": "string"}
_OTHER = {"list": "array", "List": "array", "Sequence": "array", "dict": "object", "Dict": "object"}


class Argument(NamedTuple):
    """One field of such a class; `default` is its JSON text, None when it has none that is literal."""

    name: str
    type: str | None  # boolean, integer, number, string, array, object; None when several or another class
    choices: tuple[str, ...] = ()  # values of a Literal
    enum: str | None = None  # name of the Enum whose values are the choices
    default: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass
class Class:
    """A class as written: its bases by their last name, its fields in order."""

    name: str
    bases: tuple[str, ...]
    fields: dict[str, Argument]


@dataclass
class Sources:
    """Every class and string enum of some source files, by name; of equal names the first one read counts."""

    classes: dict[str, Class] = field(default_factory=dict)
    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)  # "IntervalStrategy.NO" -> "no"
    parsers: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)  # see _parser
    added: dict[str, Argument] = field(default_factory=dict)  # parser.add_argument
    imports: dict[str, tuple[str, int]] = field(default_factory=dict)  # name -> module, level

    def read(self, text: str, *, models: bool = False, script: bool = False) -> None:
        """Add a file. With `models`, annotated fields count in every class (pydantic), not in dataclasses alone.

        With `script`, calls are looked at too: which classes a parser is made of, and what it does with the rest.
        Raises SyntaxError for what is no Python of this version or older.
        """
        tree = ast.parse(text)
        nodes = list(_toplevel(tree.body))
        outside: dict[str, str] = {}  # names that this file has from transformers or trl
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                for name in node.names:
                    self.imports.setdefault(name.asname or name.name, (node.module or "", node.level))
                    if not node.level and (node.module or "").partition(".")[0] in ("transformers", "trl"):
                        outside[name.asname or name.name] = name.name
            elif isinstance(node, ast.ClassDef):
                self._enum(node)
        for node in nodes:
            if isinstance(node, ast.ClassDef) and (
                models or any("dataclass" in ast.unparse(d) for d in node.decorator_list)
            ):
                bases = tuple(_base(base, outside) for base in node.bases)
                made = Class(node.name, bases, {a.name: a for a in self._fields(node)})
                self.classes.setdefault(node.name, made)
        for call in ast.walk(tree) if script else ():
            if isinstance(call, ast.Call):
                self._call(call)

    def fields(self, name: str, outside: Mapping[str, Mapping[str, Argument]]) -> dict[str, Argument] | None:
        """A class's fields with those it inherits; `outside` has those of transformers' and trl's classes, by name.

        None when the class or one of its bases is in neither.
        """
        made = self.classes.get(name)
        if made is None:
            bare = name.removeprefix("^")
            if bare in outside:
                return dict(outside[bare])
            return self.fields(bare, outside) if bare != name else None
        found: dict[str, Argument] = {}
        for base in reversed(made.bases):
            inherited = self.fields(base, outside) if base != name else None
            if inherited is None:
                return None
            found.update(inherited)
        return {**found, **made.fields}

    def roots(self, name: str) -> set[str]:
        """Classes of transformers, trl or elsewhere that `name` descends from, without mark."""
        made = self.classes.get(name)
        if made is None:
            return {name.removeprefix("^")}
        return set().union(*(self.roots(base) for base in made.bases)) if made.bases else set()

    def _enum(self, node: ast.ClassDef) -> None:
        if not any(_last(base) in ("Enum", "ExplicitEnum", "StrEnum", "str") for base in node.bases):
            return
        values = [
            (target.id, line.value.value)
            for line in node.body
            if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant)
            for target in line.targets
            if isinstance(target, ast.Name) and isinstance(line.value.value, str)
        ]
        if values:
            self.enums.setdefault(node.name, tuple(value for _, value in values))
            self.members.update({f"{node.name}.{name}": value for name, value in values})

    def _fields(self, node: ast.ClassDef) -> Iterator[Argument]:
        constants = {
            target.id: line.value
            for line in node.body
            if isinstance(line, ast.Assign)
            for target in line.targets
            if isinstance(target, ast.Name)
        }
        moved = {
            n.id
            for line in node.body
            if isinstance(line, ast.If)
            for n in ast.walk(line)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        for line in node.body:
            if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)):
                continue
            name, value = line.target.id, line.value
            if name.startswith("_") or "ClassVar" in ast.unparse(line.annotation):
                continue
            keywords = _keywords(value)
            if (init := keywords.get("init")) is not None and _constant(init) is False:
                continue
            kind, choices, enum = self._type(line.annotation)
            given = keywords.get("default", value if not isinstance(value, ast.Call) else None)
            if isinstance(given, ast.Name):  # left open when an `if` of the class body assigns it again
                given = constants.get(given.id, given) if given.id not in moved else given
            yield Argument(name, kind, choices, enum, self._default(given, keywords), _aliases(keywords))

    def _default(self, given: ast.expr | None, keywords: dict[str, ast.expr]) -> str | None:
        import json

        if isinstance(factory := keywords.get("default_factory"), ast.Lambda):
            given = factory.body
        if given is None:
            return None
        text = ast.unparse(given).removesuffix(".value")
        if text in self.members:
            return json.dumps(self.members[text])
        try:
            return json.dumps(ast.literal_eval(given))
        except (ValueError, TypeError, SyntaxError):
            return None

    def _type(self, annotation: ast.expr) -> tuple[str | None, tuple[str, ...], str | None]:
        """Type, choices and enum of an annotation, as HfArgumentParser would parse a word for it."""
        parts = [part for part in _union(annotation) if part != "None"]
        literals = [part for part in parts if isinstance(part, tuple)]
        if literals:
            values = tuple(value for part in literals for value in part)
            return ("string", values, None) if len(literals) == len(parts) else (None, (), None)
        names = [part for part in parts if isinstance(part, str)]
        enums = [name for name in names if name in self.enums or name.endswith(("Strategy", "Type", "Names"))]
        if enums and set(names) <= {*enums, "str"}:
            return "string", (), enums[0]
        if len(names) == 1:
            return _PLAIN.get(names[0], _OTHER.get(names[0])), (), None
        return None, (), None

    def _call(self, node: ast.Call) -> None:
        called = _last(node.func)
        if called in ("HfArgumentParser", "TrlParser", "H4ArgumentParser") and node.args:
            first = node.args[0]
            entries = first.elts if isinstance(first, (ast.Tuple, ast.List)) else [first]
            self.parsers.append((tuple(_last(entry) for entry in entries), self._strict))
        elif called == "add_argument" and node.args:
            words = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            for word in words:
                if word.startswith("--"):
                    name = word[2:].replace("-", "_")
                    self.added.setdefault(name, Argument(name, None))
        elif called in ("parse_args_into_dataclasses", "parse_known_args", "parse_args_and_config"):
            loose = any(k.arg == "return_remaining_strings" and _constant(k.value) is True for k in node.keywords)
            if loose or called == "parse_known_args":
                self._strict = False
                self.parsers = [(classes, False) for classes, _ in self.parsers]

    _strict: bool = True


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _toplevel(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those under if and try included."""
    for node in body:
        yield node
        for name in ("body", "orelse", "finalbody"):
            if isinstance(node, (ast.If, ast.Try)):
                yield from _toplevel(getattr(node, name, []))


def _base(node: ast.expr, outside: Mapping[str, str]) -> str:
    """A base class by name; marked ^ when it is the library's, which may be the name of a class here as well."""
    if isinstance(node, ast.Attribute) and ast.unparse(node.value).partition(".")[0] in ("transformers", "trl"):
        return f"^{node.attr}"
    name = _last(node)
    return f"^{outside[name]}" if name in outside else name


def _union(node: ast.expr) -> Iterator[str | tuple[str, ...]]:
    """Members of an annotation by name; a Literal as the tuple of its values."""
    if isinstance(node, ast.Constant):
        if node.value is None:
            yield "None"
        elif isinstance(node.value, str):
            try:
                yield from _union(ast.parse(node.value, mode="eval").body)
            except SyntaxError:
                yield node.value
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _union(node.left)
        yield from _union(node.right)
    elif isinstance(node, ast.Subscript):
        name = _last(node.value)
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name in ("Optional", "Union"):
            for part in inner:
                yield from _union(part)
            if name == "Optional":
                yield "None"
        elif name == "Literal":
            yield tuple(str(_constant(part)) for part in inner)
        elif name in ("Annotated", "Required", "NotRequired"):
            yield from _union(inner[0])
        else:
            yield name
    else:
        yield _last(node)


def _keywords(value: ast.expr | None) -> dict[str, ast.expr]:
    if not isinstance(value, ast.Call):
        return {}
    return {keyword.arg: keyword.value for keyword in value.keywords if keyword.arg}


def _aliases(keywords: dict[str, ast.expr]) -> tuple[str, ...]:
    """Other spellings: `metadata={"aliases": ...}`, HfArg's own argument, or pydantic's `alias`."""
    stated: list[ast.expr] = [keywords[name] for name in ("aliases", "alias") if name in keywords]
    metadata = keywords.get("metadata")
    if isinstance(metadata, ast.Dict):
        stated += [v for k, v in zip(metadata.keys, metadata.values, strict=True) if k and _constant(k) == "aliases"]
    words = [node.value for entry in stated for node in ast.walk(entry) if isinstance(node, ast.Constant)]
    return tuple(word.lstrip("-").replace("-", "_") for word in words if isinstance(word, str))


def _constant(node: ast.expr) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def _last(node: ast.expr) -> str:
    """The last name of `a.b.C`, `C[...]`, or a call of it."""
    while isinstance(node, (ast.Subscript, ast.Call)):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def read_all(texts: Iterable[str], *, models: bool = False, script: bool = False) -> Sources:
    """The classes of several files; a file that does not parse is passed over."""
    import contextlib

    sources = Sources()
    for text in texts:
        with contextlib.suppress(SyntaxError, ValueError):
            sources.read(text, models=models, script=script)
    return sources
