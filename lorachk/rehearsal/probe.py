"""What is measured while the Trainer runs: losses, gradient norms, first gradients, values before and after."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers import Trainer, TrainerCallback

from lorachk.rehearsal.build import is_adapter
from lorachk.rehearsal.plan import Plan
from lorachk.rehearsal.rows import Rows, number


class Value(NamedTuple):
    """A parameter at one moment: its values if trained, else sums that change when it does."""

    requires_grad: bool
    values: torch.Tensor | None  # as the model uses it, on the CPU
    master: torch.Tensor | None  # float32 master copy where the optimizer keeps one
    sums: tuple[float, float]


def clean(name: str) -> str:
    """Parameter name without DistributedDataParallel's prefix."""
    return name.removeprefix("module.")


@contextmanager
def gathered(parameters: list[Any]) -> Iterator[None]:
    """Whole parameters under ZeRO-3 (a collective); nothing elsewhere."""
    if any(hasattr(p, "ds_id") for p in parameters):
        import deepspeed

        with deepspeed.zero.GatheredParameters(parameters):
            yield
    else:
        yield


def snapshot(trainer: Any) -> dict[str, Value]:
    """Every parameter's value; all ranks must call it together."""
    taken = {}
    for name, parameter in trainer.model.named_parameters():
        master = _master(parameter) if trainer.is_deepspeed_enabled and parameter.requires_grad else None
        with gathered([parameter]), torch.no_grad():
            data = parameter.detach()
            taken[clean(name)] = Value(
                parameter.requires_grad,
                data.to("cpu", copy=True) if parameter.requires_grad else None,
                master,
                _sums(data),
            )
    return taken


def _sums(data: torch.Tensor) -> tuple[float, float]:
    """Sum and norm in float64 without a float64 copy of the tensor: real embeddings have gigabytes."""
    norm = torch.linalg.vector_norm(data, dtype=torch.float64) if data.is_floating_point() else 0.0
    return float(data.sum(dtype=torch.float64)), float(norm)


def _master(parameter: Any) -> torch.Tensor | None:
    """The optimizer's float32 copy: small updates show there before they show in bf16."""
    from deepspeed.utils import safe_get_full_fp32_param

    try:
        whole = safe_get_full_fp32_param(parameter)
    # Engines without a master copy (fp32, stage 0) say so in different ways.
    except (AttributeError, AssertionError, KeyError, ValueError, RuntimeError):
        return None
    return None if whole is None else whole.detach().to("cpu", torch.float32, copy=True)


def write_updates(rows: Rows, before: dict[str, Value], after: dict[str, Value]) -> None:
    """Rows of `update`: trained parameters by largest change, frozen ones by their sums."""
    for name, old in before.items():
        new = after[name]
        largest = None
        if old.values is not None and new.values is not None:
            pair = (
                (old.master, new.master)
                if old.master is not None and new.master is not None
                else (old.values, new.values)
            )
            difference = (pair[1].float() - pair[0].float()).abs()
            largest = number(difference.max()) if difference.numel() else 0.0
            changed = largest != 0.0
        else:
            changed = old.sums != new.sums and not math.isnan(old.sums[0])
        rows.add(
            "update",
            name=name,
            requires_grad=old.requires_grad,
            adapter=is_adapter(name),
            changed=changed,
            largest=largest,
        )


class FirstGradients:
    """Gradients of the first backward, seen by tensor hooks: ZeRO takes `.grad` away before anyone can look."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._seen: dict[str, tuple[float, bool]] = {}
        self._handles = []
        self._names = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self._names.append(clean(name))
                self._handles.append(parameter.register_hook(self._hook(clean(name))))

    def _hook(self, name: str) -> Any:
        def look(gradient: torch.Tensor | None) -> None:
            if gradient is not None:
                norm = float(gradient.detach().float().norm())
                total, finite = self._seen.get(name, (0.0, True))
                # A parameter used twice gets two parts; the root of their squares is of the right size.
                self._seen[name] = (
                    (total**2 + norm**2) ** 0.5,
                    finite and bool(torch.isfinite(gradient).all()),
                )

        return look

    def write(self, rows: Rows, rank: int) -> None:
        """Rows of `gradient`, and the hooks go."""
        for handle in self._handles:
            handle.remove()
        for name in self._names:
            norm, finite = self._seen.get(name, (None, True))
            status = "none" if norm is None else "nonfinite" if not finite else "zero" if norm == 0 else "finite"
            rows.add("gradient", rank=rank, name=name, adapter=is_adapter(name), status=status, norm=norm)


class RehearsalTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer that reports; batches come ready made, everything else is the library's."""

    def __init__(
        self, model: Any, args: Any, batches: list[Any], plan: Plan, rank: int, rows: Rows, progress: dict[str, str]
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=batches, callbacks=[_Steps(self)])
        self.before: dict[str, Value] = {}
        self._batches, self._plan, self._rank, self._rows, self._progress = batches, plan, rank, rows, progress
        self._gradients: FirstGradients | None = None
        self._clear()

    def _clear(self) -> None:
        self._loss: float | None = None
        self._supervised = self._tokens = 0
        self._began = time.perf_counter()

    def get_train_dataloader(self) -> list[Any]:
        """This rank's micro batches of all steps; neighbouring ranks start at different ones."""
        count = self._plan.steps * self.args.gradient_accumulation_steps
        return [self._batches[(i * self._plan.ranks + self._rank) % len(self._batches)] for i in range(count)]

    def begin(self) -> None:
        """The engine stands, nothing was trained: values and hooks; DeepSpeed's step is a phase of its own."""
        self.before = snapshot(self)
        self._gradients = FirstGradients(self.model)
        backward, engine = self.accelerator.backward, self.model_wrapped

        def in_backward(*args: Any, **kwargs: Any) -> Any:
            self._progress["phase"] = "backward"
            return backward(*args, **kwargs)

        self.accelerator.backward = in_backward
        if self.is_deepspeed_enabled:
            step = engine.step

            def in_step(*args: Any, **kwargs: Any) -> Any:
                self._progress["phase"] = "optimizer"
                return step(*args, **kwargs)

            engine.step = in_step
        self._clear()

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """One micro batch; after the first one the gradients are written."""
        self._progress["phase"] = "forward"
        labels = inputs["labels"]
        self._supervised += int((labels != -100).sum())
        self._tokens += int(labels.numel())
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._loss = (self._loss or 0.0) + float(loss)
        if self._gradients is not None:
            self._gradients.write(self._rows, self._rank)
            self._gradients = None
        self._progress["phase"] = "optimizer"
        return loss

    def end_step(self, step: int, grad_norm: Any) -> None:
        """One row of `step`."""
        cuda = self._plan.device == "cuda"
        self._rows.add(
            "step",
            rank=self._rank,
            step=step,
            loss=self._loss,
            grad_norm=number(grad_norm),
            supervised=self._supervised,
            tokens=self._tokens,
            seconds=time.perf_counter() - self._began,
            peak_bytes=torch.cuda.max_memory_allocated() if cuda else None,
        )
        self._clear()


class _Steps(TrainerCallback):  # type: ignore[misc]
    """Tells the trainer when steps begin and end; the gradient norm comes with the log."""

    def __init__(self, trainer: RehearsalTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, *_args: Any, **_kwargs: Any) -> None:
        self._trainer.begin()

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_kwargs: Any) -> None:
        if logs and "loss" in logs:
            self._trainer.end_step(state.global_step, logs.get("grad_norm"))
