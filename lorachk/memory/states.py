"""Weights, gradients, optimizer states, DeepSpeed's buffers from the parameter table; exact but for ZeRO-3's gathers.

After deepspeed 0.19.8: engine.py (dtypes), zero/stage_1_and_2.py, zero/stage3.py. Symbols: T trained elements, N ranks,
part = ceil(T/N) padded to 2N elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from lorachk.run import Run

# Bytes of optimizer state per trained element when the master copy is fp32, by prefix of TrainingArguments.optim.
_STATES = (
    (("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit"), 2),
    (("lion_8bit", "paged_lion_8bit"), 1),
    (("lion", "paged_lion"), 4),
    (("sgd", "adafactor"), 0),
)
_ADAM = 8
# DeepSpeed's own defaults, for keys that are absent from its file (transformers resolves "auto" from the hidden size).
GATHERED = "gathered parameters, up to stage3_max_live_parameters"
_BUCKET, _PERSIST, _LIVE = 500_000_000, 100_000, 1_000_000_000


class Part(NamedTuple):
    """One component of the estimate; bytes per GPU and per rank on the host."""

    component: str
    detail: str
    bytes: int
    host_bytes: int = 0
    method: str = "exact"
    phase: str | None = None  # lives only in this phase of the step: forward, loss, layers, step; None: always


class Plan(NamedTuple):
    """What decides the states besides the model."""

    stage: int
    engine: bool  # DeepSpeed runs it; else the plain Trainer (DDP)
    half: bool  # the engine casts to bf16 or fp16
    world: int
    offload_optimizer: str
    offload_param: str
    state_bytes: int
    foreach: bool
    bucket: int
    overlap: bool
    persist: int
    live: int
    accumulates: bool  # more than one micro batch per optimizer step: gradients survive the next forward
    hidden: int


def plan(run: Run, stage: int, *, hidden: int, offload: tuple[str, str]) -> Plan:
    """The run's settings for one ZeRO stage; what the DeepSpeed file says of buffers is kept."""
    zero = run.deepspeed_config.get("zero_optimization")
    zero = zero if isinstance(zero, Mapping) else {}
    optim = (run.optim or "adamw_torch").lower()
    overlap = zero.get("overlap_comm")
    return Plan(
        stage=stage,
        engine=stage > 0 or bool(run.deepspeed or run.deepspeed_config),
        half=bool(run.bf16 or run.fp16 or run.ds_bf16 == "true" or run.ds_fp16 == "true"),
        world=run.world_size or (run.num_gpus or 1) * (run.num_nodes or 1),
        offload_optimizer=offload[0] if stage > 0 else "none",
        offload_param=offload[1] if stage == 3 else "none",
        state_bytes=next((b for names, b in _STATES if optim.startswith(names)), _ADAM),
        foreach=optim == "adamw_torch",
        bucket=run.reduce_bucket_size or _number(zero, "reduce_bucket_size", _BUCKET, hidden * hidden),
        overlap=bool(overlap) if overlap is not None else stage == 3,
        persist=_number(zero, "stage3_param_persistence_threshold", _PERSIST, 10 * hidden),
        live=_number(zero, "stage3_max_live_parameters", _LIVE, _LIVE),
        accumulates=(run.gradient_accumulation_steps or 1) > 1,
        hidden=hidden,
    )


def _number(zero: Mapping[str, Any], key: str, default: int, auto: int) -> int:
    value = zero.get(key, default)
    if value == "auto":
        return auto
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def parts(rows: Sequence[Mapping[str, Any]], settings: Plan) -> list[Part]:
    """All components but activations. `rows` are rows of the table `parameter`; tied parameters count once."""
    rows = [row for row in rows if row["tied_to"] is None]
    trained = [row for row in rows if row["requires_grad"]]
    frozen = [row for row in rows if not row["requires_grad"]]
    if settings.stage == 3:
        return _zero3(frozen, trained, settings)
    total = sum(row["numel"] for row in trained)
    host = settings.offload_optimizer != "none"
    weights = sum(_size(row, settings) for row in frozen)
    adapter = sum(_size(row, settings) for row in trained)
    out = [Part("weights", "frozen parameters, whole on each GPU", weights)]
    out.append(Part("adapter", "trained parameters, whole on each GPU", adapter))
    if not settings.engine:
        gradients = adapter
        out.append(Part("gradients", "in the parameters' dtype", gradients, phase=_when(settings)))
        states = sum(row["bytes"] for row in trained) * settings.state_bytes // 4
        out.append(Part("optimizer", "optimizer states", states))
        if settings.foreach:
            out.append(Part("buffers", "temporaries of the foreach optimizer step", adapter, phase="step"))
        if settings.world > 1:
            out.append(Part("buffers", "DistributedDataParallel's gradient buckets", gradients))
        return out
    n = settings.world if settings.stage else 1
    part = _partition(total, n)
    half = 2 if settings.half else 4
    master = 4 if settings.half else 0
    if host:
        out.append(Part("optimizer", "fp32 master and optimizer states", 0, part * (master + settings.state_bytes)))
        out.append(Part("gradients", "staging and accumulation on the host", 0, part * (4 + half)))
        largest = max((row["numel"] for row in trained), default=0)
        out.append(Part("buffers", "staging of the largest trained parameter", largest * half))
    else:
        out.append(Part("optimizer", "fp32 master copy and optimizer states", part * (master + settings.state_bytes)))
        out.append(Part("buffers", "fp32 gradient of the partition", part * 4, phase="step"))
    if settings.stage == 2:
        if not host:
            out.append(Part("gradients", "this rank's partition", part * half, phase=_when(settings)))
    else:
        out.append(Part("gradients", "all trained parameters", total * half, phase=_when(settings)))
    if settings.stage:
        bucket = settings.bucket * half * (2 if settings.overlap else 1)
        out.append(Part("buffers", "reduce bucket", bucket, phase="layers"))
    return out


def _zero3(frozen: Sequence[Mapping[str, Any]], trained: Sequence[Mapping[str, Any]], s: Plan) -> list[Part]:
    n = s.world
    half = 2 if s.half else 4
    total = sum(row["numel"] for row in trained)
    part = _partition(total, n)
    kept = sum(_size(row, s) for row in frozen if row["numel"] <= s.persist)
    shards = sum(-(-_size(row, s) // n) for row in frozen)
    own = sum(-(-_size(row, s) // n) for row in trained)
    own_kept = sum(_size(row, s) for row in trained if row["numel"] <= s.persist)
    away = s.offload_param != "none"
    out = [
        Part("weights", f"frozen parameters, 1/{n} on each GPU", 0 if away else shards, shards if away else 0),
        Part("adapter", f"trained parameters, 1/{n} on each GPU", 0 if away else own, own if away else 0),
        Part("buffers", "small parameters that stay gathered", kept + own_kept),
    ]
    # With one rank there is nothing to gather: the shard is the parameter.
    if n > 1 or away:
        sizes = [row for row in (*frozen, *trained) if row["numel"] > s.persist]
        gathered = min(sum(row["numel"] for row in sizes), max(s.live, max((row["numel"] for row in sizes), default=0)))
        out.append(Part("buffers", GATHERED, gathered * half, method="formula", phase="pass"))
    out.append(Part("buffers", "reduce bucket", s.bucket * half))
    # PEFT makes the adapter fp32, and under zero.Init the engine does not cast it: it is its own master copy.
    single = sum(row["numel"] for row in trained if row["dtype"] == "float32")
    master = 0 if not s.half or single == total else 4
    states = part * (master + s.state_bytes)
    host = s.offload_optimizer != "none"
    out.append(Part("optimizer", "optimizer states of the partition", 0 if host else states, states if host else 0))
    gradient = part * half
    out.append(Part("gradients", "this rank's partition", 0 if host else gradient, gradient if host else 0))
    if not host:
        out.append(Part("buffers", "fp32 gradient of the partition", part * 4, phase="step"))
    return out


def _when(settings: Plan) -> str | None:
    """Gradients are there from the end of backward to the step, or always when micro batches accumulate."""
    return None if settings.accumulates else "late"


def _partition(total: int, ranks: int) -> int:
    align = 2 * ranks
    return -(-total // align) * align // ranks


def _size(row: Mapping[str, Any], s: Plan) -> int:
    """Bytes after the engine's cast: stages 0 to 2 cast everything that floats, stage 3 only what is frozen."""
    size = int(row["bytes"])
    if s.engine and s.half and row["dtype"] == "float32" and not (s.stage == 3 and row["requires_grad"]):
        return size // 2
    return size
