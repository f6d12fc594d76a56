"""Recording the birth and death of every tensor storage while a model runs on fake tensors."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from lorachk.memory.allocator import ROUND, Event

_INDEXING = {
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._unsafe_index.Tensor,
}
GRADIENT_DONE = 2  # event: the optimizer's hook has seen this gradient; ZeRO-2 and 3 free it here


class Recorder(TorchDispatchMode):  # type: ignore[misc]
    """Events of all storages seen; sizes are rounded up to 512 bytes as the CUDA allocator does.

    Float tensors are fake and take no memory; integer control tensors are real, so that .item() and masks work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.marks: list[tuple[int, str]] = []
        self.gradients: set[int] = set()
        self._live: dict[int, tuple[int, Any]] = {}
        self._next = 0

    def mark(self, phase: str) -> None:
        """What follows belongs to `phase`."""
        self.marks.append((len(self.events), phase))

    def track(self, tensor: Any) -> int | None:
        """Record the tensor's storage if it is new; returns its identifier."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        known = self._live.get(key)
        if known is not None and known[1]() is not None:
            return known[0]
        size = -(-storage.nbytes() // ROUND) * ROUND
        if size == 0:
            return None
        identifier, self._next = self._next, self._next + 1
        self.events.append((1, identifier, size))

        def died(_: Any) -> None:
            self._live.pop(key, None)
            self.events.append((-1, identifier, size))

        self._live[key] = (identifier, weakref.ref(storage, died))
        return identifier

    def gradient(self, parameter: Any) -> None:
        """Hook of a parameter whose gradient is complete."""
        identifier = self.track(parameter.grad)
        if identifier is not None:
            self.gradients.add(identifier)
            self.events.append((GRADIENT_DONE, identifier, 0))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _INDEXING and isinstance(args[0], FakeTensor):
            # fake[real mask]: the number of rows is known from the real mask, but not to FakeTensor
            index: list[Any] = []
            for part in args[1]:
                if isinstance(part, torch.Tensor) and part.dtype == torch.bool and not isinstance(part, FakeTensor):
                    index.extend(part.nonzero().unbind(1))
                else:
                    index.append(part)
            args = (args[0], index, *args[2:])
        out = func(*args, **(kwargs or {}))
        for tensor in (out,) if isinstance(out, torch.Tensor) else out if isinstance(out, (list, tuple)) else ():
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                self.track(tensor)
        return out

    def sequence(self, *, keep_gradients: bool) -> list[Event]:
        """Events to replay. Without `keep_gradients` a gradient dies when it is complete (ZeRO-2 and 3)."""
        freed: set[int] = set()
        sizes: dict[int, int] = {}
        out: list[Event] = []
        for sign, key, size in self.events:
            if sign == GRADIENT_DONE:
                if not keep_gradients and key not in freed:
                    freed.add(key)
                    out.append((-1, key, sizes[key]))
            elif sign > 0 or key not in freed:
                sizes[key] = size
                out.append((sign, key, size))
        return out

    def peaks(self, *, keep_gradients: bool, base: int) -> dict[str, int]:
        """Peak bytes above `base` in each phase."""
        freed: set[int] = set()
        sizes: dict[int, int] = {}
        found: dict[str, int] = {}
        marks = [*self.marks, (len(self.events), "")]
        phase, upcoming, now = "start", 0, 0
        for position, (sign, key, size) in enumerate(self.events):
            while marks[upcoming][0] <= position:
                phase = marks[upcoming][1]
                found[phase] = max(found.get(phase, 0), now - base)
                upcoming += 1
            if sign == GRADIENT_DONE:
                if not keep_gradients and key not in freed:
                    freed.add(key)
                    now -= sizes[key]
            elif sign > 0 or key not in freed:
                sizes[key] = size
                now += sign * size
            found[phase] = max(found.get(phase, 0), now - base)
        return found
