"""The keys that a pydantic model of DeepSpeed declares."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from lorachk.deepspeed.source import TYPES, Key, Keys, Module


def model(module: Module, definition: ast.ClassDef, block: str, keys: Keys) -> None:
    """The keys that a pydantic model declares, with those of the models in it."""
    if block:
        keys.strict.add(block)
        keys.blocks.setdefault(block, {})
    for line in definition.body:
        if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)):
            continue
        names = [line.target.id, *([alias] if (alias := _alias(line.value)) else [])]
        inner = next(_models(module, line.annotation), None)
        kind = "object" if inner else _type(line.annotation, module)
        for name in names:
            keys.add(block, name, Key(kind, _replaced(line.value)))
            if inner and inner[1] is not definition:
                model(*inner, f"{block}/{name}", keys)
    for base in definition.bases:
        found = module.find(base.id) if isinstance(base, ast.Name) and base.id != "DeepSpeedConfigModel" else None
        if found and isinstance(found[1], ast.ClassDef):
            model(found[0], found[1], block, keys)


def _models(module: Module, annotation: ast.expr) -> Iterator[tuple[Module, ast.ClassDef]]:
    for node in ast.walk(annotation):
        found = module.find(node.id) if isinstance(node, ast.Name) and node.id.endswith("Config") else None
        if found and isinstance(found[1], ast.ClassDef):
            yield found[0], found[1]


def _type(annotation: ast.expr, module: Module) -> str | None:
    names = {n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)} - {"Optional", "Union", "torch", "Any"}
    names |= {n.attr for n in ast.walk(annotation) if isinstance(n, ast.Attribute)}
    if "List" in names or "Dict" in names:
        names &= {"List", "Dict"}
    if len(names) != 1:
        return None
    name = names.pop()
    if name in TYPES:
        return TYPES[name]
    found = module.find(name)
    if found and isinstance(found[1], ast.ClassDef):
        bases = {b.id for b in found[1].bases if isinstance(b, ast.Name)}
        return "integer" if "int" in bases else "string" if "Enum" in bases else None
    return "string" if name.endswith("Enum") else None


def _alias(value: ast.expr | None) -> str | None:
    for keyword in value.keywords if isinstance(value, ast.Call) else ():
        if keyword.arg == "alias" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return None


def _replaced(value: ast.expr | None) -> str | None:
    """What takes the place of a deprecated key; in Field(...) itself, or in its json_schema_extra."""
    for node in ast.walk(value) if value else ():
        pairs: list[tuple[object, ast.expr]] = []
        if isinstance(node, ast.Dict):
            pairs = [(k.value, v) for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant)]
        elif isinstance(node, ast.Call):
            pairs = [(k.arg, k.value) for k in node.keywords]
        for name, text in pairs:
            if name == "new_param" and isinstance(text, ast.Constant):
                return str(text.value)
    return None
