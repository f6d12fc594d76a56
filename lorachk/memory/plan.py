"""Putting states, activations and constants together: what each ZeRO stage needs, and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lorachk.memory.states import GATHERED, Part, Plan

_MIB, _GIB = 2**20, 2**30
# Outside the caching allocator. CUDA context: 0.3 to 0.6 GiB on Ampere to Ada (unslothai/unsloth-zoo#1053, torch 2.10).
_CONTEXT = _GIB // 2
# NCCL: 544 MB to 1.06 GB per communicator in NVIDIA/nccl#964 and #1685; none with one rank.
_NCCL = 1 * _GIB
# cuBLAS and cublasLt workspaces: 8.1 + 4 MiB, on Hopper 32 + 32 MiB (pytorch PR 120925).
_CUBLAS, _CUBLAS_HOPPER = 12 * _MIB, 64 * _MIB
# Smallest capacity over peak allocated: 1.01 to 1.03 in traces of a whole step on one GPU. Under ZeRO-3 small tensors
# pin the segments of gathered parameters: the real engine on fake tensors (Qwen2.5-7B, 4 and 8 ranks, checkpointing or
# not) needs 1.2 to 1.5 times the gathered bytes more.
_FRAGMENTATION, _PINNED = 0.02, 1.25

MOMENTS = {
    "vision": "forward pass of the vision tower",
    "forward": "end of the forward pass, when logits and loss are computed",
    "loss": "start of the backward pass, at the gradient of the logits",
    "layers": "backward pass through the last decoder layers",
    "step": "optimizer step",
}


class Estimate(NamedTuple):
    """One stage: components at the peak, the peak's moment, and what the GPU and the host must have."""

    parts: list[Part]
    moment: str
    allocated: int
    needed: int
    host: int


def estimate(
    states: Sequence[Part], activations: Mapping[str, Any], settings: Plan, *, method: str, capability: float | None
) -> Estimate:
    """Estimate one stage.

    `activations` has "partition": bytes per phase (forward, loss, layers), gradients not counted. Optional "allocated"
    and "capacity" of the traced model give the fragmentation.
    """
    without = {phase: int(activations["partition"].get(phase, 0)) for phase in ("vision", "forward", "loss", "layers")}
    without["step"] = 0
    totals = {phase: size + sum(p.bytes for p in states if _lives(p, phase)) for phase, size in without.items()}
    moment = max(totals, key=lambda phase: totals[phase])
    peak = totals[moment]
    parts = [p if _lives(p, moment) else p._replace(bytes=0) for p in states]
    parts = [p for p in parts if p.bytes or p.host_bytes]
    if without[moment]:
        parts.append(Part("activations", MOMENTS[moment], without[moment], method=method))
    workspace = _CUBLAS_HOPPER if capability is not None and capability >= 9 else _CUBLAS
    parts.append(Part("buffers", "cuBLAS workspaces", workspace, method="constant"))
    peak += workspace
    gathered = sum(p.bytes for p in states if p.detail == GATHERED)
    spare = _spare(activations, gathered, peak)
    parts.append(Part("allocator", "fragmentation of the caching allocator", spare[0], method=spare[1]))
    parts.append(Part("context", "CUDA context", _CONTEXT, method="constant"))
    outside = _CONTEXT
    if settings.world > 1:
        parts.append(Part("context", "NCCL communicator", _NCCL, method="constant"))
        outside += _NCCL
    return Estimate(parts, MOMENTS[moment], peak, peak + spare[0] + outside, sum(p.host_bytes for p in parts))


def _lives(part: Part, phase: str) -> bool:
    if part.phase is None or part.phase == phase:
        return True
    if part.phase == "late":  # gradients: complete at the end of backward
        return phase in ("layers", "step")
    return part.phase == "pass" and phase != "step"


def _spare(activations: Mapping[str, Any], gathered: int, peak: int) -> tuple[int, str]:
    least = int(peak * _FRAGMENTATION)
    if gathered:
        return least + int(gathered * _PINNED), "constant"
    traced = int(activations.get("capacity", 0)) - int(activations.get("allocated", 0))
    return (traced, "trace") if traced > least else (least, "constant")
