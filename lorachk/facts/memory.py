"""How much memory the run needs on each GPU, for every ZeRO stage, and whether it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lorachk.facts.collector import Context, NotCollected
from lorachk.families import is_vision
from lorachk.memory import formula, plan, skeleton, states
from lorachk.memory.trace import trace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lorachk.facts.collector import Row
    from lorachk.facts.model import Model
    from lorachk.run import Run

_SEQUENCE = 2048  # tokens per record when the run does not say


def collect(context: Context) -> None:
    """Rows of `memory` (per stage and component) and `fit` (per stage). Without a known GPU `fits` is NULL."""
    model: Model | None = context.shared.get("model")
    if model is None:
        raise NotCollected(context.shared.get("no_model", "the model could not be built"))
    if model.problem:
        raise NotCollected(model.problem)
    if model.adapted is None:
        raise NotCollected("the run does not say whether an adapter is trained")
    if not any(row["requires_grad"] for row in model.parameters):
        raise NotCollected("no parameter is trained")
    run = context.run
    sequence = run.max_length or _SEQUENCE
    variants = {stage: _variant(run, stage) for stage in range(4)}
    configured = run.zero_stage or 0
    order = sorted(range(4), key=lambda stage: stage != configured)
    peaks, method = _activations(context, model, list(dict.fromkeys(variants[s] for s in order)), sequence)
    if is_vision(model.family) and not any(found.get("image_tokens") for found in peaks.values()):
        context.sink.unknown(
            "fit.fits", f"activations were traced without images: the image inputs of {model.family} are not known here"
        )
    gpu = _smallest_gpu(context)
    offload = run.offload_optimizer or "none", run.offload_param or "none"
    hidden = getattr(skeleton.text_config(model.config), "hidden_size", 0)
    for stage in range(4):
        found = peaks[variants[stage]]
        if "error" in found:
            context.sink.unknown("fit", f"ZeRO stage {stage}: {found['error']}", 1)
            continue
        settings = states.plan(run, stage, hidden=hidden, offload=offload)
        made = plan.estimate(
            states.parts(model.parameters, settings),
            found,
            settings,
            method=method,
            capability=gpu.get("compute_capability") if gpu else None,
        )
        key = {
            "zero_stage": stage,
            "offload_optimizer": settings.offload_optimizer,
            "offload_param": settings.offload_param,
        }
        context.sink.add(
            "memory",
            [
                {**key, "component": p.component, "detail": p.detail, "bytes": p.bytes, "host_bytes": p.host_bytes,
                 "method": p.method}
                for p in made.parts
            ],
        )  # fmt: skip
        context.sink.add("fit", [{**key, "ranks": settings.world, **_fit(run, stage, made, gpu, sequence)}])


def _fit(run: Run, stage: int, made: plan.Estimate, gpu: Row | None, sequence: int) -> dict[str, Any]:
    available = (gpu.get("memory_free") or gpu.get("memory_total")) if gpu else None
    return {
        "configured": stage == (run.zero_stage or 0),
        "gpu": gpu.get("name") if gpu else None,
        "peak_allocated": made.allocated,
        "needed": made.needed,
        "available": available,
        "fits": made.needed <= available if available else None,
        "host_needed": made.host * (run.num_gpus or 1),
        "moment": made.moment,
        "sequence": sequence,
        "micro_batch": run.per_device_train_batch_size or 1,
    }


def _variant(run: Run, stage: int) -> str:
    """Which model the stage trains: dtypes and kernels differ, see step.run_step."""
    if stage == 3:
        return "zero3"
    return "engine" if stage or run.deepspeed or run.deepspeed_config else "plain"


def _activations(
    context: Context, model: Model, variants: list[str], sequence: int
) -> tuple[dict[str, dict[str, Any]], str]:
    """Peaks per variant and the method: traced, else by formula for text models."""
    run = context.run
    if context.options.trace:
        context.say(f"tracing a training step of {sequence} tokens")
        found = trace(run, variants, sequence, trust=context.options.trust_remote_code)
        if all("error" not in answer for answer in found.values()):
            return found, "trace"
        reason = next(answer["error"] for answer in found.values() if "error" in answer)
        if any("error" not in answer for answer in found.values()):
            return found, "trace"
    else:
        reason = "the trace is switched off"
    if model.family not in (None, "text"):
        raise NotCollected(f"{reason}; there is no formula for a vision-language model")
    config = skeleton.text_config(model.config)
    tokens = sequence * (run.per_device_train_batch_size or 1)
    try:
        phases = formula.peaks(config, _adapted(model), tokens, checkpointing=bool(run.gradient_checkpointing))
    except (AttributeError, TypeError):
        raise NotCollected(f"{reason}; the formulas do not know this architecture") from None
    return {variant: {"partition": phases} for variant in variants}, "formula"


def _adapted(model: Model) -> dict[str, int]:
    """Adapted linears of a layer by last name part, with their rank."""
    found = {}
    for row in model.parameters:
        left, marker, _ = row["name"].partition(".lora_A.")
        if marker:
            found[left.rsplit(".", 1)[-1]] = int(row["shape"][0])
    return found


class _Caught:
    """A sink that keeps the GPUs."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, table: str, rows: Iterable[Row]) -> None:
        if table == "gpu":
            self.rows += rows

    def unknown(self, fact: str, reason: str, count: int | None = None) -> None:
        """What is not known here is stated by the collector of the GPUs itself."""


def _smallest_gpu(context: Context) -> Row | None:
    """The GPU that decides: the one with the least memory that the run is judged for; None when none is known."""
    from lorachk.facts.machine import collect_gpus

    caught = _Caught()
    try:
        collect_gpus(Context(context.run, caught, context.settings, context.sources, context.options))
    except NotCollected:
        return None
    known = [row for row in caught.rows if row.get("memory_free") or row.get("memory_total")]
    return min(known, key=lambda row: row.get("memory_free") or row["memory_total"], default=None)
