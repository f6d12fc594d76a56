"""Table environment: variables that the run's processes would see and that decide where and how they run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from lorachk.facts.collector import Context, Row
from lorachk.facts.settings import location, text
from lorachk.launchers.values import Unknown

# Of this machine's own environment only these are looked at: the rest may hold secrets, and decides nothing.
_BEGINNINGS = ("CUDA_", "NCCL_", "DS_", "TORCH_", "PYTORCH_", "GLOO_", "OMP_", "ACCELERATE_")
_NAMES = frozenset(
    {"CXX", "CC", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    | {"NPROC_PER_NODE", "NNODES", "FORCE_TORCHRUN", "TOKENIZERS_PARALLELISM"}
)


def collect(context: Context) -> None:
    """One row per variable: those the launch file exports, and this machine's own where it does not set them."""
    from lorachk.facts.machine import elsewhere

    own = {} if elsewhere(context.run) else os.environ
    context.sink.add("environment", list(variables(context, own)))


def variables(context: Context, own: Mapping[str, str]) -> Iterator[Row]:
    """The rows of the table."""
    exported = {s.pointer.rpartition("/")[2]: s for s in context.settings if s.kind == "env"}
    for name, setting in exported.items():
        value = None if isinstance(setting.value, Unknown) else text(setting.value)
        yield {"name": name, "value": value, "origin": "launch", "place": location(setting.at)}
    for name, value in sorted(own.items()):
        if name not in exported and (name in _NAMES or name.startswith(_BEGINNINGS)):
            yield {"name": name, "value": value, "origin": "machine", "place": None}
