"""Which keys DeepSpeed reads from its file, told from its source.

`DeepSpeedConfig` hands the file as a dictionary from function to function. This follows it: what is asked of the
dictionary by a name that is a constant is a key, what is found there is the dictionary of a block, and a pydantic model
that is made of a block declares its keys.
"""

from __future__ import annotations

import ast
from pathlib import Path

from lorachk.deepspeed.follow import Follower
from lorachk.deepspeed.source import TYPES, Block, Key, Keys, Module


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
            Follower(module, keys, names, [(module, config)]).body(method.body)
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
                keys.add(block, argument.arg, Key(TYPES.get(annotated, TYPES.get(kind))))
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
