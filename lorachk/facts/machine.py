"""Tables host, gpu and gpu_pair: this machine, or the GPU the user judges for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lorachk.errors import UsageError
from lorachk.facts import host, nvml
from lorachk.facts.collector import Context, NotCollected, Row
from lorachk.facts.settings import location
from lorachk.facts.visible import NAME, Chosen, chosen, entries, visible
from lorachk.launchers.gpus import find_gpu
from lorachk.launchers.text import where

if TYPE_CHECKING:
    from lorachk.run import Run

_ABSENT = "no NVIDIA driver here: give --gpu NAME or --gpu-memory SIZE to judge for a machine that has one"
_NONE = "the NVIDIA driver sees no GPU: give --gpu NAME or --gpu-memory SIZE"
_SHM = Path("/dev/shm")  # noqa: S108 - asked for its size, nothing is written
_MACHINE = "machine"  # key of what NVML said, among the by-products


def elsewhere(run: Run) -> str | None:
    """Why the run is not judged for this machine because of what was asked for; None when it may be."""
    if run.gpu or run.gpu_memory:
        return f"judged for {run.gpu or 'another GPU'}, not for this machine"
    return None


def machine(context: Context) -> nvml.Machine | None:
    """What NVML says, asked once per context."""
    if _MACHINE not in context.shared:
        context.shared[_MACHINE] = nvml.look()
    found: nvml.Machine | None = context.shared[_MACHINE]
    return found


def collect_host(context: Context) -> None:
    """One row about this machine. Rules about it need `host.run_here`, so that they are skipped for another."""
    run, seen = context.run, machine(context)
    missing = elsewhere(run) or (_ABSENT if seen is None else seen.problem or (None if seen.devices else _NONE))
    if missing:
        context.sink.unknown("host.run_here", missing)
    choice = _chosen(context)
    if choice.unknown or (missing and choice.value is None):
        context.sink.unknown("host.gpus_seen", choice.unknown or missing or "")
    memory, shm = host.memory(), host.space(_SHM)
    folder = host.existing(Path(run.output_dir or "."))
    disk = host.space(folder)
    row = {
        "run_here": None if missing else True,
        "cpu_count": host.cpus(),
        "cpu_quota": host.cpu_quota(),
        "memory_total": memory.total,
        "memory_available": memory.available,
        "memory_limit": memory.limit,
        "shm_total": shm.total,
        "shm_available": shm.free,
        "disk_total": disk.total,
        "disk_available": disk.free,
        "disk_type": disk.kind,
        "output_folder": str(folder),
        "output_problem": host.not_writable(folder),
        "interfaces": host.interfaces(),
        "infiniband": any(Path("/sys/class/infiniband").glob("*")),
        "driver": seen.driver if seen else None,
        "driver_cuda": seen.cuda if seen else None,
        "gpu_names": [device.name or "unnamed" for device in seen.devices] if seen else None,
        "gpus_seen": _seen(choice, None if missing else seen),
        "visible_devices": choice.value,
        "visible_devices_at": location(choice.at) if choice.at else None,
    }
    context.sink.add("host", [row])


def collect_gpus(context: Context) -> None:
    """One row per GPU: the one the user named, as often as the run has local ranks, else those its processes see."""
    run = context.run
    if reason := elsewhere(run):
        for column in ("memory_used", "processes"):
            context.sink.unknown(f"gpu.{column}", reason)
        context.sink.add("gpu", [named(context, index) for index in range(run.num_gpus or 1)])
        return
    seen = _present(context)
    choice = _chosen(context)
    shown = visible(choice.value, seen.devices)
    if not shown:
        by = f"CUDA_VISIBLE_DEVICES={choice.value}" if choice.value is not None else "MIG mode without instances"
        raise NotCollected(f"{by} leaves none of the {len(seen.devices)} GPUs here visible")
    if choice.unknown:
        context.sink.unknown("gpu.device", f"which GPUs the run sees is not known: {choice.unknown}")
    rows = [_row(device, None if choice.unknown else number) for number, device in enumerate(shown)]
    context.sink.add("gpu", rows)


def collect_pairs(context: Context) -> None:
    """One row per two GPUs that the run's processes see."""
    if reason := elsewhere(context.run):
        raise NotCollected(reason)
    seen = _present(context)
    shown = {device.index for device in visible(_chosen(context).value, seen.devices) if device.parent is None}
    pairs = [pair for pair in seen.pairs if {pair.a, pair.b} <= shown]
    context.sink.add("gpu_pair", [vars(pair) for pair in pairs])


def _present(context: Context) -> nvml.Machine:
    seen = machine(context)
    if seen is None:
        raise NotCollected(_ABSENT)
    if seen.problem:
        raise NotCollected(seen.problem)
    if not seen.devices:
        raise NotCollected(_NONE)
    return seen


def _chosen(context: Context) -> Chosen:
    own = None if elsewhere(context.run) else os.environ.get(NAME)
    return chosen(context.settings, context.run.launcher, own)


def _seen(choice: Chosen, here: nvml.Machine | None) -> int | None:
    """How many GPUs the processes see: on this machine, else as many as the value could name at most."""
    if choice.unknown:
        return None
    if here is not None:
        return len(visible(choice.value, here.devices))
    return None if choice.value is None else len(entries(choice.value))


def _row(device: nvml.Device, number: int | None) -> Row:
    return {
        "index": device.index,
        "device": number,
        "name": device.name,
        "memory_total": device.memory_total,
        "memory_free": device.memory_free,
        "memory_used": device.memory_used,
        "processes": device.processes,
        "process_bytes": device.process_bytes,
        "compute_capability": device.compute_capability,
        "uuid": device.uuid,
        "mig": "instance" if device.parent else None,
        "parent": device.parent,
        "p2p": _peer(device.name),
        "origin": "nvml",
    }


def _peer(name: str | None) -> bool | None:
    try:
        return find_gpu(name).p2p if name else None
    except UsageError:
        return None


def named(context: Context, index: int) -> Row:
    """The GPU of --gpu and --gpu-memory. UsageError for a name that is not known when no memory is given."""
    run = context.run
    origin = run.at("gpu")
    place = where(*origin[:3]) if origin else "--gpu"
    known = find_gpu(run.gpu, place) if run.gpu and not run.gpu_memory else None
    if run.gpu and run.gpu_memory:  # the memory is stated, so a name out of the table is fine
        try:
            known = find_gpu(run.gpu, place)
        except UsageError:
            known = None
    return {
        "index": index,
        "device": index,
        "name": known.name if known else run.gpu,
        "memory_total": run.gpu_memory or (known.memory_total if known else None),
        "compute_capability": known.compute_capability if known else None,
        "p2p": known.p2p if known else None,
        "origin": "option",
    }
