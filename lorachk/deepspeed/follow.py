"""Following DeepSpeed's configuration, a dictionary, from function to function."""

from __future__ import annotations

import ast

from lorachk.deepspeed.models import model
from lorachk.deepspeed.source import TYPES, Block, Key, Keys, Module

_GETTERS = {"get_scalar_param", "get_dict_param", "get_list_param"}


class Follower:
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
        """Follow one statement."""
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
        """What a call gives, and what it asks on the way."""
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
        inner = Follower(module, self.keys, names, stack, constants)
        inner.body(definition.body)
        return inner.returned

    def _defaults(self, definition: ast.FunctionDef, module: Module) -> dict[str, str]:
        found = {}
        reader = Follower(module, self.keys, {}, [])
        for argument, default in zip(reversed(definition.args.args), reversed(definition.args.defaults), strict=False):
            if (text := reader.constant(default)) is not None:
                found[argument.arg] = text
        return found

    def read(self, block: Block, key: str, default: ast.expr | None = None) -> Block:
        """Note that `key` is asked of a block; the default tells its type."""
        if isinstance(default, ast.Name):
            default = self.module.constant(default.id)
        kind = type(default.value).__name__ if isinstance(default, ast.Constant) else ""
        self.keys.add(block, key, Key(TYPES[kind]) if kind in TYPES else None)
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
