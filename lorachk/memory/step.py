"""One training step of the user's own model on fake tensors, recorded. Runs in a process of its own (see trace.py)."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lorachk.families import family_of
from lorachk.memory import adapter, allocator, batch, kernels, precision, skeleton
from lorachk.memory.record import Recorder

if TYPE_CHECKING:
    from lorachk.run import Run

_TOWERS = ("visual", "vision_tower")


class Size(NamedTuple):
    """A shortened model: decoder layers of each kind, layers of the vision tower (None: all), small images."""

    layers: dict[str | None, int]
    vision: int | None
    images: int


def run_step(
    run: Run,
    variant: str,
    sequence: int,
    size: Size | None = None,
    *,
    trust: bool,
    capacity: bool,
    keep_outputs: bool = False,
) -> dict[str, Any]:
    """Trace forward and backward. Returns peaks in bytes above the model's own tensors, per phase.

    variant: "plain" (no DeepSpeed: dtypes as loaded, autocast), "engine" (DeepSpeed 0 to 2: everything in half
    precision), "zero3" (base in half precision, adapter as PEFT made it, ZeRO-3's linear). `size` shortens the model;
    `capacity` replays the events through the allocator (slower). `keep_outputs`: logits and key-value cache live until
    the end of backward, as in a loop written by hand; the Trainer drops them.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model, static = _model(run, variant, size, trust, mode)
    model.config.use_cache = keep_outputs
    shown = batch.images(model.config, run, sequence)
    if shown is not None and size is not None:
        shown = batch.unit(model.config, size.images)
    inputs = batch.make(model.config, run, sequence, shown, mode)
    recorder = Recorder()
    for tensor in static:
        recorder.track(tensor)
    base = allocator.peak(recorder.events)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(recorder.gradient)
    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1] in _TOWERS:
            module.register_forward_pre_hook(lambda *_: recorder.mark("vision"))
            module.register_forward_hook(lambda *_: recorder.mark("forward"))
    last = _last_layer(model)
    if last is not None:
        last.register_forward_hook(_marks_backward(recorder))
    half = torch.float16 if run.fp16 else torch.bfloat16
    cast: Any = torch.autocast("cpu", dtype=half) if variant == "plain" and _mixed(run) else contextlib.nullcontext()
    gc.collect()
    gc.disable()
    try:
        with kernels.cuda_like(zero3=variant == "zero3"), recorder:
            recorder.mark("forward")
            with cast:
                out = model(**inputs)
            loss = out.loss
            if not keep_outputs:
                del out
            recorder.mark("loss")
            loss.backward()
            recorder.mark("end")
            out = loss = None
    finally:
        gc.enable()
    result: dict[str, Any] = {
        "base": base,
        "keep": recorder.peaks(keep_gradients=True, base=base),
        "partition": recorder.peaks(keep_gradients=False, base=base),
    }
    if capacity:
        events = recorder.sequence(keep_gradients=variant == "plain")
        result["allocated"] = allocator.peak(events)
        result["reserved"] = allocator.Allocator().replay(events)
        result["capacity"] = allocator.minimum_capacity(events)
    return result


def _mixed(run: Run) -> bool:
    return bool(run.bf16 or run.fp16)


def _model(run: Run, variant: str, size: Size | None, trust: bool, mode: Any) -> tuple[Any, list[Any]]:
    model = skeleton.build(run, trust_remote_code=trust, layers=size and size.layers, vision=size and size.vision)
    family = run.family or family_of(getattr(model.config, "model_type", None), type(model).__name__, run.model)
    packed = precision.pack(model, run)
    precision.prepare_kbit(model, run, packed)
    if adapter.wanted(run):
        model = adapter.apply(run, model, family)
    else:
        adapter.freeze_without_adapter(run, model, family)
    half = torch.float16 if run.fp16 else torch.bfloat16
    if variant != "plain" and _mixed(run):
        for parameter in model.parameters():
            if parameter.is_floating_point() and (variant == "engine" or not parameter.requires_grad):
                parameter.data = parameter.data.to(half)
    _to_fake(model, mode, packed)
    if run.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": bool(run.use_reentrant)})
        if adapter.wanted(run):
            model.enable_input_require_grads()
    model.train()
    return model, [*model.parameters(), *model.buffers()]


def _to_fake(model: Any, mode: Any, packed: dict[int, precision.Packed]) -> None:
    """Meta tensors to fake CPU tensors, in place; Module.to() does not work on fake parameters."""
    done: dict[int, Any] = {}
    with mode:
        for module in model.modules():
            size = packed.get(id(getattr(module, "weight", None)))
            for tensors in (module._parameters, module._buffers):
                for name, old in tensors.items():
                    if old is None:
                        continue
                    if id(old) not in done:
                        new = torch.empty_like(old, device="cpu", requires_grad=False)
                        is_parameter = isinstance(old, nn.Parameter)
                        done[id(old)] = nn.Parameter(new, requires_grad=old.requires_grad) if is_parameter else new
                    tensors[name] = done[id(old)]
            if size is not None and isinstance(module, nn.Linear):
                kernels.pack(module, size.bytes)


def _last_layer(model: Any) -> Any:
    """Last decoder layer of the language model."""
    text = skeleton.text_config(model.config)
    stacks = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == text.num_hidden_layers and "vision" not in name
    ]
    return stacks[-1][-1] if stacks else None


def _marks_backward(recorder: Recorder) -> Any:
    """Forward hook that marks the moment at which backward enters the decoder layers."""
    seen: list[bool] = []

    def entered(_: Any) -> None:
        if not seen:
            seen.append(True)
            recorder.mark("layers")

    def hook(_module: Any, _inputs: Any, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        if tensor.requires_grad and not seen:
            tensor.register_hook(entered)

    return hook
