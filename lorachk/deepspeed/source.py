"""Which keys DeepSpeed reads from its file, told from its source by `ast`.

`DeepSpeedConfig` hands the file as a dictionary from function to function. This follows it: what is asked of the
dictionary by a name that is a constant is a key, what is found there is the dictionary of a block, and a pydantic model
that is made of a block declares its keys. DeepSpeed is not imported: that takes seconds and may compile.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

_GETTERS = {"get_scalar_param", "get_dict_param", "get_list_param"}
_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string", "Path": "string"}
_TYPES |= {"list": "array", "List": "array", "tuple": "array", "dict": "object", "Dict": "object", "dtype": "string"}


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


def read_keys(root: Path) -> Keys:
    """The keys that the DeepSpeed in this folder reads; no blocks when it is laid out in another way."""
    keys = Keys()
    module = Module(root, root / "runtime/config.py", {})
    config = module.definitions.get("DeepSpeedConfig")
    if not isinstance(config, ast.ClassDef):
        return keys
    for method in config.body:
        if isinstance(method, ast.FunctionDef):
            names = {a.arg: Block("") for a in method.args.args if a.arg in ("param_dict", "config")}
            _Follower(module, keys, names, [(module, config)]).body(method.body)
    _pipeline(module, keys)
    _removed(module, keys)
    _constructors(root, keys)
    return keys


# The optimizers that DeepSpeed makes itself, and the classes that `optimizer.params` goes to.
_OPTIMIZERS = {
    "adam": ("ops/adam/fused_adam.py", "ops/adam/cpu_adam.py"),
    "adamw": ("ops/adam/fused_adam.py", "ops/adam/cpu_adam.py"),
    "adagrad": ("ops/adagrad/cpu_adagrad.py",),
    "lamb": ("ops/lamb/fused_lamb.py",),
    "lion": ("ops/lion/fused_lion.py", "ops/lion/cpu_lion.py"),
}
# `torch_adam` makes torch.optim.Adam or AdamW of the parameters.
_TORCH_ADAM = (
    "lr",
    "betas",
    "eps",
    "weight_decay",
    "amsgrad",
    "foreach",
    "maximize",
    "capturable",
    "differentiable",
    "fused",
)
_TORCH_ADAGRAD = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps", "foreach", "maximize")


def _constructors(root: Path, keys: Keys) -> None:
    """`optimizer.params` and `scheduler.params` are keyword arguments: a block per type, /optimizer/params:adamw."""
    for name, paths in _OPTIMIZERS.items():
        block = f"/optimizer/params:{name}"
        for path in paths:
            for definition in Module(root, root / path, {}).definitions.values():
                _signature(definition, block, keys)
        more = _popped(root) + _TORCH_ADAM if name.startswith("adam") else _TORCH_ADAGRAD if name == "adagrad" else ()
        for key in more if block in keys.blocks else ():
            keys.add(block, key)
    for definition in Module(root, root / "runtime/lr_schedules.py", {}).definitions.values():
        _signature(definition, f"/scheduler/params:{definition.name}", keys)


def _signature(definition: ast.AST, block: str, keys: Keys) -> None:
    for method in definition.body if isinstance(definition, ast.ClassDef) else ():
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            defaults = [None] * (len(method.args.args) - len(method.args.defaults)) + list(method.args.defaults)
            for argument, default in list(zip(method.args.args, defaults, strict=True))[2:]:  # self, and what it is for
                kind = type(default.value).__name__ if isinstance(default, ast.Constant) else ""
                annotated = argument.annotation.id if isinstance(argument.annotation, ast.Name) else ""
                keys.add(block, argument.arg, Key(_TYPES.get(annotated, _TYPES.get(kind))))
                keys.strict.add(block)


def _popped(root: Path) -> tuple[str, ...]:
    """What the engine takes out of Adam's parameters before it makes the optimizer."""
    engine = Module(root, root / "runtime/engine.py", {})
    config = Module(root, root / "runtime/config.py", {})
    found = []
    for node in ast.walk(engine.tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("optimizer_parameters"), attr="pop"), args=[key, *_]):
                name = (engine.constant(key.id) or config.constant(key.id)) if isinstance(key, ast.Name) else key
                if isinstance(name, ast.Constant):
                    found.append(str(name.value))
    return tuple(found)


def _pipeline(module: Module, keys: Keys) -> None:
    """`pipeline` overlays a dictionary of defaults, which has all its keys."""
    function = module.definitions.get("get_pipeline_config")
    for node in ast.walk(function) if function else ():
        if isinstance(node, ast.Dict):
            for name in node.keys:
                if isinstance(name, ast.Constant):
                    keys.add("/pipeline", str(name.value))


def _removed(module: Module, keys: Keys) -> None:
    """Keys that DeepSpeed refuses since it dropped what they were for."""
    for block, name in (("", "_REMOVED_TOP_LEVEL_CONFIG_KEYS"), ("/zero_optimization", "_REMOVED_ZERO_CONFIG_KEYS")):
        table = module.constant(name)
        for key, text in zip(table.keys, table.values, strict=True) if isinstance(table, ast.Dict) else ():
            if isinstance(key, ast.Constant):
                keys.removed[block, str(key.value)] = _words(text, module)


def _words(node: ast.expr, module: Module) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part, module) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _words(node.value, module)
    if isinstance(node, ast.Name):
        return _words(module.constant(node.id) or ast.Constant(""), module)
    return str(node.value) if isinstance(node, ast.Constant) else ""


class _Follower:
    """Follows the dictionary through one function; `names` are its local names that stand for a block."""

    def __init__(
        self,
        module: Module,
        keys: Keys,
        names: dict[str, Block],
        stack: list[tuple[Module, ast.AST]],
        constants: dict[str, str] | None = None,
    ) -> None:
        self.module, self.keys, self.names, self.stack = module, keys, names, stack
        self.local = constants or {}
        self.returned: Block | None = None

    def body(self, statements: list[ast.stmt]) -> None:
        """Follow statements in the order in which they stand."""
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if (block := self.value(node.value)) is not None:
                before = self.names.get(name)
                if before is not None and before != block:  # bf16, and bfloat16 when that is not there
                    block.also = (before, *before.also)
                self.names[name] = block
        elif isinstance(node, ast.Return) and node.value is not None:
            self.returned = self.value(node.value) or self.returned
        elif isinstance(node, ast.For) and isinstance(node.iter, (ast.List, ast.Tuple)):
            for option in node.iter.elts:
                if isinstance(node.target, ast.Name) and (text := self.constant(option)) is not None:
                    self.local[node.target.id] = text
                    self.body(node.body)
        elif isinstance(node, (ast.If, ast.For, ast.While, ast.With, ast.Try)):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.value(child)
            for part in ("body", "orelse", "finalbody"):
                self.body(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                self.body(handler.body)
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.value(child)

    def value(self, node: ast.expr) -> Block | None:
        """The block that an expression stands for, noting what it asks of blocks; None for anything else."""
        match node:
            case ast.Name():
                return self.names.get(node.id)
            case ast.Attribute(attr="_param_dict"):
                return Block("")
            case ast.Subscript():
                block, key = self.value(node.value), self.constant(node.slice)
                return self.read(block, key) if block is not None and key is not None else None
            case ast.Compare(ops=[ast.In() | ast.NotIn()]):
                block, key = self.value(node.comparators[0]), self.constant(node.left)
                if block is not None and key is not None:
                    self.read(block, key)
                return None
            case ast.Call():
                return self.call(node)
            case ast.DictComp() | ast.ListComp() | ast.GeneratorExp():
                self.comprehension(node)
                return None
            case ast.IfExp():
                self.value(node.test)
                first, second = self.value(node.body), self.value(node.orelse)
                return first if first is not None else second
        found = [self.value(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        return next((b for b in found if b is not None), None) if isinstance(node, ast.BoolOp) else None

    def comprehension(self, node: ast.DictComp | ast.ListComp | ast.GeneratorExp) -> None:
        """`{key: param_dict.get(key, {}) for key in ("tensorboard", ...)}`."""
        loop = node.generators[0]
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        options = loop.iter.elts if isinstance(loop.iter, (ast.Tuple, ast.List)) else []
        for option in options:
            if isinstance(option, ast.Constant) and isinstance(loop.target, ast.Name):
                self.local[loop.target.id] = str(option.value)
                for part in parts:
                    self.value(part)

    def call(self, node: ast.Call) -> Block | None:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if isinstance(node.func, ast.Attribute):
            owner = self.value(node.func.value)
            if node.func.attr == "get" and owner is not None and node.args:
                key = self.constant(node.args[0])
                return self.read(owner, key) if key is not None else None
            if node.func.attr in ("keys", "items", "copy"):
                return owner
            if node.func.attr == "deepcopy" and node.args:
                return self.value(node.args[0])
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "self":
                return self.method(node)
            self.through(node)
            return None
        if name in _GETTERS and len(node.args) > 1:
            block, key = self.value(node.args[0]), self.constant(node.args[1])
            default = node.args[2] if len(node.args) > 2 else None
            return self.read(block, key, default) if block is not None and key is not None else None
        found = self.module.find(name) if name else None
        if found is None:
            self.through(node)
            return None
        module, definition = found
        if isinstance(definition, ast.ClassDef):
            self.made(node, module, definition)
            return None
        return self.entered(node, module, definition)

    def through(self, node: ast.Call) -> None:
        """Ask the arguments alone."""
        for argument in [*node.args, *(k.value for k in node.keywords)]:
            self.value(argument)

    def method(self, node: ast.Call) -> Block | None:
        """`self._initialize(block)` in a class that is followed."""
        owner = next((d for _, d in reversed(self.stack) if isinstance(d, ast.ClassDef)), None)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        for method in owner.body if owner else ():
            if isinstance(method, ast.FunctionDef) and method.name == name and name != "_initialize_params":
                return self.entered(node, self.module, method, skip=1)
        return None

    def made(self, node: ast.Call, module: Module, definition: ast.ClassDef) -> None:
        """A class that is made of a block: a pydantic model (`**block`), or one whose __init__ is followed."""
        for keyword in node.keywords:
            if keyword.arg is None and (block := self.value(keyword.value)) is not None:
                for each in (block, *block.also):
                    model(module, definition, each, self.keys)
            elif keyword.arg is None and isinstance(keyword.value, ast.Name):  # a dictionary put together of blocks
                model(module, definition, Block(""), self.keys)
        for method in definition.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                self.entered(node, module, method, skip=1, owner=definition)

    def entered(
        self, node: ast.Call, module: Module, definition: ast.FunctionDef, skip: int = 0, owner: ast.AST | None = None
    ) -> Block | None:
        """Follow a function that is given a block."""
        if any(entry is definition for _, entry in self.stack) or len(self.stack) > 12:
            return None
        parameters = [a.arg for a in definition.args.args][skip:]
        constants = self._defaults(definition, module)
        names = {}
        pairs = [*zip(parameters, node.args, strict=False), *((k.arg, k.value) for k in node.keywords if k.arg)]
        for parameter, argument in pairs:
            if (block := self.value(argument)) is not None:
                names[str(parameter)] = block
            elif (text := self.constant(argument)) is not None:
                constants[str(parameter)] = text
        if not names:
            return None
        stack = [*self.stack, *([(module, owner)] if owner else []), (module, definition)]
        inner = _Follower(module, self.keys, names, stack, constants)
        inner.body(definition.body)
        return inner.returned

    def _defaults(self, definition: ast.FunctionDef, module: Module) -> dict[str, str]:
        found = {}
        reader = _Follower(module, self.keys, {}, [])
        for argument, default in zip(reversed(definition.args.args), reversed(definition.args.defaults), strict=False):
            if (text := reader.constant(default)) is not None:
                found[argument.arg] = text
        return found

    def read(self, block: Block, key: str, default: ast.expr | None = None) -> Block:
        """Note that `key` is asked of a block; the default tells its type."""
        if isinstance(default, ast.Name):
            default = self.module.constant(default.id)
        kind = type(default.value).__name__ if isinstance(default, ast.Constant) else ""
        self.keys.add(block, key, Key(_TYPES[kind]) if kind in _TYPES else None)
        return Block(f"{block}/{key}")

    def constant(self, node: ast.expr) -> str | None:
        """A text that the source tells."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.Name):
            if node.id in self.local:
                return self.local[node.id]
            value = self.module.constant(node.id)
            return str(value.value) if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
        return None


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
    if name in _TYPES:
        return _TYPES[name]
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
