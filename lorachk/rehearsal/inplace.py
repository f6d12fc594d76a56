"""The in-place tracer: every write into a leaf that requires grad, or into a view of one, with module, file and line.

Autograd forbids such writes and stops at the first ("a view of a leaf Variable that requires grad is being used in an
in-place operation"). The tracer does the write outside autograd and carries on, so that all of a model's hazards are
listed. Typical source: `enable_input_require_grads()` makes the output of a frozen embedding a leaf, and the model's
code scatters image features into it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

# Names that end in "_" but do not write values.
_HARMLESS = {"requires_grad_", "share_memory_", "rename_", "retain_grad_", "pin_memory_"}
_DUNDERS = {"__setitem__"} | {
    f"__i{op}__"
    for op in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
}
_OURS = str(Path(__file__).parent)
_TORCH = str(Path(torch.__file__).parent)


class Hazard(NamedTuple):
    """One place that writes in place into a leaf."""

    kind: str  # inplace-on-leaf, inplace-on-view-of-leaf
    operator: str
    tensor: str
    module: str
    file: str
    line: int


def is_mutating(name: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether a torch function of this name writes into its first argument or into `out`."""
    if name in _DUNDERS or kwargs.get("out") is not None or kwargs.get("inplace") is True:
        return True
    return name.endswith("_") and not name.endswith("__") and name not in _HARMLESS


class InplaceTracer(TorchFunctionMode):  # type: ignore[misc]
    """Collects hazards while it is active; `hazards` counts how often each was seen."""

    def __init__(self, model: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.hazards: Counter[Hazard] = Counter()
        self._names: dict[int, str] = {id(p): n for n, p in model.named_parameters()} if model is not None else {}
        self._outputs: dict[int, str] = {}
        self._stack: list[str] = []
        self._model = model

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record and defuse writes into leaves; everything else passes."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if is_mutating(name, kwargs) and torch.is_grad_enabled():
            target = kwargs.get("out") if kwargs.get("out") is not None else args[0] if args else None
            if isinstance(target, torch.Tensor) and (kind := _kind(target)):
                file, line = _caller()
                self.hazards[Hazard(kind, name, self._named(target), self._module(), file, line)] += 1
                with torch.no_grad():
                    return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _module(self) -> str:
        return self._stack[-1] if self._stack else ""

    def _named(self, target: torch.Tensor) -> str:
        leaf = target if target._base is None else target._base
        if id(leaf) in self._names:
            return self._names[id(leaf)]
        return self._outputs.get(id(leaf), "a tensor") + f" {list(target.shape)}"

    @contextmanager
    def watch(self) -> Iterator[InplaceTracer]:
        """Activate the tracer and follow which module runs and what each module returns."""
        handles = []
        kept: list[torch.Tensor] = []  # an id stays unique only while its tensor lives
        for name, module in self._model.named_modules() if self._model is not None else ():

            def enter(_m: Any, _a: Any, name: str = name) -> None:
                self._stack.append(name)

            def leave(_m: Any, _a: Any, output: Any, name: str = name) -> None:
                if isinstance(output, torch.Tensor) and id(output) not in self._outputs:
                    self._outputs[id(output)] = f"output of {name}"
                    kept.append(output)
                if self._stack:
                    self._stack.pop()

            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, always_call=True))
        try:
            with self:
                yield self
        finally:
            for handle in handles:
                handle.remove()


def _kind(tensor: torch.Tensor) -> str | None:
    if tensor.is_leaf and tensor.requires_grad:
        return "inplace-on-leaf"
    base = tensor._base
    if base is not None and base.is_leaf and base.requires_grad:
        return "inplace-on-view-of-leaf"
    return None


def _caller() -> tuple[str, int]:
    """File and line of the innermost frame outside torch and this package's tracer."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_TORCH, _OURS)) and not file.startswith("<"):
            return file, frame.f_lineno
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
