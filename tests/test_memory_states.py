"""States decide which ZeRO stage fits; each number here is DeepSpeed's own (see reference in the module)."""

from __future__ import annotations

import pytest

from lorachk.memory import plan, states
from lorachk.run import Run

GIB = 2**30


def row(numel, *, trained=False, dtype="bfloat16", size=2):
    return {"numel": numel, "bytes": numel * size, "dtype": dtype, "requires_grad": trained, "tied_to": None}


ROWS = [row(7_000_000_000), row(40_000_000, trained=True, dtype="float32", size=4)]


def made(stage, offload=("none", "none"), **settings):
    run = Run(**{"bf16": True, "world_size": 8, "deepspeed": "ds.json", "optim": "adamw_torch_fused", **settings})
    return states.parts(ROWS, states.plan(run, stage, hidden=4096, offload=offload))


def total(parts, component, field="bytes"):
    return sum(getattr(p, field) for p in parts if p.component == component)


def test_zero_1_and_2_divide_only_what_is_trained():
    for stage in (1, 2):
        parts = made(stage)
        assert total(parts, "weights") == 14_000_000_000
        assert total(parts, "adapter") == 80_000_000  # the engine casts the fp32 adapter to bf16
        assert total(parts, "optimizer") == 40_000_000 // 8 * 12


def test_zero_3_divides_frozen_weights_and_keeps_the_adapter_fp32():
    parts = made(3)
    assert total(parts, "weights") == 14_000_000_000 // 8
    assert total(parts, "adapter") == 160_000_000 // 8
    assert total(parts, "optimizer") == 40_000_000 // 8 * 8  # the fp32 adapter is its own master copy


def test_offload_moves_states_to_the_host():
    parts = made(2, ("cpu", "none"))
    assert total(parts, "optimizer") == 0
    assert total(parts, "optimizer", "host_bytes") == 40_000_000 // 8 * 12
    parts = made(3, ("cpu", "cpu"))
    assert total(parts, "weights") == 0
    assert total(parts, "weights", "host_bytes") == 14_000_000_000 // 8


def test_without_deepspeed_nothing_is_divided_or_cast():
    parts = made(0, deepspeed=None)
    assert total(parts, "adapter") == 160_000_000
    assert total(parts, "optimizer") == 320_000_000


def test_the_peak_is_the_worst_moment_not_a_sum():
    run = Run(bf16=True, world_size=1, deepspeed="ds.json", optim="adamw_torch_fused")
    settings = states.plan(run, 2, hidden=4096, offload=("none", "none"))
    found = states.parts(ROWS, settings)
    activations = {"partition": {"forward": 3 * GIB, "loss": 4 * GIB, "layers": 1 * GIB}}
    at_loss = plan.estimate(found, activations, settings, method="trace", capability=None)
    assert at_loss.moment == plan.MOMENTS["loss"]
    # the default reduce bucket of 5e8 elements is there only while layers are running backward
    at_layers = plan.estimate(
        found, {"partition": {"forward": 0, "loss": 0, "layers": 4 * GIB}}, settings, method="trace", capability=None
    )
    assert at_layers.allocated - at_loss.allocated >= 1_000_000_000
    assert sum(p.bytes for p in at_loss.parts) == pytest.approx(at_loss.needed, abs=16)
