"""What one Python file says of a training, read off its syntax tree: nothing of it is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lorachk.facts.settings import text

# Keyword arguments and attributes whose literal values rules ask for.
ARGUMENTS = frozenset(
    {
        "attn_implementation",
        "ddp_find_unused_parameters",
        "device_map",
        "find_unused_parameters",
        "gradient_checkpointing",
        "gradient_checkpointing_kwargs",
        "init_audio",
        "init_tts",
        "is_trainable",
        "load_best_model_at_end",
        "low_cpu_mem_usage",
        "padding_side",
        "remove_unused_columns",
        "requires_grad",
        "save_safetensors",
        "use_cache",
        "use_gradient_checkpointing",
        "use_reentrant",
    }
)
# Functions and methods whose calls rules ask for, by the last part of the name.
CALLS = frozenset(
    {
        "GatheredParameters",
        "HfDeepSpeedConfig",
        "HfTrainerDeepSpeedConfig",
        "_zero3_consolidated_16bit_state_dict",
        "activation_checkpointing_enable",
        "compute_loss",
        "enable_input_require_grads",
        "from_pretrained",
        "get_peft_model",
        "get_peft_model_state_dict",
        "get_peft_state_maybe_zero_3",
        "get_state_dict",
        "gradient_checkpointing_enable",
        "load_adapter",
        "merge_adapter",
        "merge_and_unload",
        "prepare_model_for_int8_training",
        "prepare_model_for_kbit_training",
        "register_forward_hook",
        "requires_grad_",
        "save_checkpoint",
        "save_model",
        "save_pretrained",
        "train",
        "training_step",
    }
)
# Methods of a Trainer whose overriding changes what the library does.
METHODS = frozenset({"_save", "_save_checkpoint", "compute_loss", "prediction_step", "save_model", "training_step"})
# What stands between `self.model` and the brackets when compute_loss goes round the wrapped model.
_INNER = frozenset({"base_model", "forward", "model", "module"})
_CHECKPOINT = ("torch.utils.checkpoint.checkpoint", "utils.checkpoint.checkpoint", "checkpoint.checkpoint")
_LONGEST = 200  # characters of a value that are kept

Row = dict[str, Any]


class Scanned(NamedTuple):
    """What was found in a file, and the modules it imports: dotted names, with dots in front when relative."""

    rows: list[Row]
    imports: list[str]


class _Place(NamedTuple):
    """A node, and the class and function it stands in."""

    node: ast.AST
    owner: str = ""
    trainer: str = ""  # the Trainer subclass around it
    method: str = ""  # and the method of it


def scan(tree: ast.Module) -> Scanned:
    """The rows (kind, owner, subject, name, value, keywords, positional, line, col) of one parsed file."""
    names, modules = imported(tree)
    scanner = _Scanner(names)
    # An explicit stack: a long chain of operators would exhaust Python's own.
    stack = [_Place(tree)]
    while stack:
        place = stack.pop()
        inside = scanner.enter(place)
        children = [inside._replace(node=child) for child in ast.iter_child_nodes(place.node)]
        stack += reversed(children)
    return Scanned(scanner.rows, modules)


def imported(tree: ast.Module) -> tuple[dict[str, str], list[str]]:
    """Local name to what it means, and the modules that are imported."""
    names: dict[str, str] = {}
    modules: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules.append(alias.name)
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            modules.append(module)
            modules += [f"{module}{'' if module.endswith('.') else '.'}{a.name}" for a in node.names if a.name != "*"]
            for alias in node.names:
                if alias.name == "*" and module.startswith("transformers"):
                    names.setdefault("Trainer", "transformers.Trainer")
                elif alias.name != "*":
                    names[alias.asname or alias.name] = f"{module.lstrip('.')}.{alias.name}".lstrip(".")
    return names, modules


class _Scanner:
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        self.rows: list[Row] = []
        self.made: dict[str, str] = {}  # local name to what was called for it

    def enter(self, place: _Place) -> _Place:
        """Add the rows of a node; gives the place that its children stand in."""
        node = place.node
        match node:
            case ast.ClassDef():
                return self._class(node, place)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._function(node, place)
            case ast.Call():
                self._call(node, place)
            case ast.Assign() | ast.AugAssign() | ast.AnnAssign():
                self._assignment(node, place)
            case ast.Try():
                self._try(node, place)
        return place

    def _add(self, kind: str, node: ast.AST, place: _Place, **columns: Any) -> None:
        line, col = getattr(node, "lineno", None), getattr(node, "col_offset", None)
        self.rows.append(
            {"kind": kind, "owner": place.owner or None, "line": line, "col": None if col is None else col + 1}
            | columns
        )

    def _class(self, node: ast.ClassDef, place: _Place) -> _Place:
        owner = f"{place.owner}.{node.name}".lstrip(".")
        bases = [self.dotted(base) for base in node.bases]
        trainer = next((base for base in bases if base.rpartition(".")[2].endswith("Trainer")), "")
        inside = place._replace(owner=owner, trainer=node.name if trainer else "", method="")
        if trainer:
            self._add("class", node, place, name=node.name, subject=trainer)
        elif "torch.nn.Module" in bases:
            self._add("torch-module", node, place, name=node.name, subject="torch.nn.Module")
        return inside

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, place: _Place) -> _Place:
        owner = f"{place.owner}.{node.name}".lstrip(".")
        method = node.name if place.trainer and not place.method else place.method
        if place.trainer and not place.method and node.name in METHODS:
            self._add("method", node, place, name=node.name, subject=place.trainer, keywords=_parameters(node.args))
        return place._replace(owner=owner, method=method)

    def _call(self, node: ast.Call, place: _Place) -> None:
        called = self.dotted(node.func)
        last = called.rpartition(".")[2]
        keywords = [keyword.arg or "**" for keyword in node.keywords]
        shape = {"subject": called, "name": last, "keywords": keywords, "positional": len(node.args)}
        if called == "deepspeed.initialize" or (last == "prepare" and "accelerator" in called.lower() and node.args):
            self._add("loop", node, place, **shape)
        elif called.endswith(_CHECKPOINT):
            self._add("checkpoint", node, place, **shape)
        elif last.endswith("Trainer"):
            self._add("trainer", node, place, value=self._model(node), **shape)
        elif last in CALLS:
            self._add("call", node, place, **shape)
        if place.method == "compute_loss" and _goes_round(called):
            self._add("bypass", node, place, **shape)
        for keyword in node.keywords:
            if keyword.arg in ARGUMENTS:
                self._add(
                    "argument", keyword.value, place, subject=called, name=keyword.arg, value=literal(keyword.value)
                )

    def _model(self, node: ast.Call) -> str | None:
        """What the model that a Trainer is given was made by: Wrapper, AutoModel.from_pretrained."""
        given = [keyword.value for keyword in node.keywords if keyword.arg == "model"] or node.args[:1]
        match given:
            case [ast.Name(id=name)]:
                return self.made.get(name)
            case [ast.Call(func=func)]:
                return self.dotted(func)
        return None

    def _assignment(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign, place: _Place) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                self.made.pop(target.id, None)
                if isinstance(node.value, ast.Call):
                    self.made[target.id] = self.dotted(node.value.func)
            elif isinstance(target, ast.Attribute) and target.attr in ARGUMENTS:
                value = literal(node.value) if node.value else None
                self._add("assignment", target, place, subject=self.dotted(target), name=target.attr, value=value)
            elif isinstance(target, ast.Attribute) and target.attr == "state_dict" and node.value is not None:
                if any(_named(child, "get_peft_model_state_dict") for child in ast.walk(node.value)):
                    self._add("state-dict", target, place, subject=self.dotted(target), name="state_dict")
            elif (
                isinstance(target, ast.Subscript)
                and isinstance(target.value, ast.Attribute)
                and target.value.attr == "data"
            ):
                self._add("data-write", target, place, subject=self.dotted(target.value), name="data")

    def _try(self, node: ast.Try, place: _Place) -> None:
        """A loader that takes another record when one cannot be read, whatever the reason."""
        if not place.owner.endswith("__getitem__"):
            return
        for handler in node.handlers:
            caught = self.dotted(handler.type) if handler.type else ""
            if caught not in ("", "Exception", "BaseException") or not _redraws(handler):
                continue
            self._add("redraw", handler, place, name="except", value=caught or None)

    def dotted(self, node: ast.AST) -> str:
        """The full name of what is called or assigned to."""
        return dotted_name(node, self.names)


def dotted_name(node: ast.AST, names: Mapping[str, str]) -> str:
    """`a.b(...).c[...]` as `a.b().c[]`, with the first name as it was imported; empty for anything else."""
    parts: list[str] = []
    while True:
        match node:
            case ast.Attribute(value=value, attr=attr):
                parts.append(f".{attr}")
                node = value
            case ast.Call(func=func):
                parts.append("()")
                node = func
            case ast.Subscript(value=value):
                parts.append("[]")
                node = value
            case ast.Name(id=name):
                parts.append(names.get(name, name))
                return "".join(reversed(parts))
            case _:
                return "".join(reversed(parts)).lstrip(".")


def literal(node: ast.AST) -> str | None:
    """A literal as text (strings as they are, the rest as JSON); None for what only running would tell."""
    try:
        return text(ast.literal_eval(node))[:_LONGEST]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _parameters(arguments: ast.arguments) -> list[str]:
    """Names of a function's parameters, `*` and `**` for the catch-alls."""
    named = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    return [*named, *(["*"] if arguments.vararg else []), *(a.arg for a in arguments.kwonlyargs)] + (
        ["**"] if arguments.kwarg else []
    )


def _goes_round(called: str) -> bool:
    """Whether a call runs `self.model` itself, not the model that was wrapped for several GPUs."""
    first, model, *inner = [*called.split("."), ""]
    return (first, model) == ("self", "model") and all(part in _INNER for part in inner if part)


def _named(node: ast.AST, name: str) -> bool:
    return (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.Attribute) and node.attr == name)


def _redraws(handler: ast.ExceptHandler) -> bool:
    return any(_gets_another(node) for node in ast.walk(handler))


def _gets_another(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="__getitem__")):
            return True
        case ast.Subscript(value=ast.Name(id="self")):
            return True
    return False


def subclasses(rows: list[Row]) -> Iterator[tuple[str, str]]:
    """Name and base of every Trainer subclass."""
    for row in rows:
        if row["kind"] == "class":
            yield row["name"], row["subject"]
