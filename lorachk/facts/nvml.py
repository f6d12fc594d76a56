"""What the NVIDIA driver tells through NVML: no CUDA context is made, and it takes milliseconds.

Every question may go unanswered on its own (old drivers, MIG, GPUs lost to an error, containers); then it is None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

_ANCESTORS = {0: "board", 10: "switch", 20: "switches", 30: "hostbridge", 40: "node", 50: "system"}
_P2P = {
    0: "ok",
    1: "chipset",
    2: "gpu",
    3: "topology",
    4: "disabled",
    5: "unsupported",
}
_READ, _NVLINK = 0, 2  # pynvml's own NVML_P2P_CAPS_INDEX_READ is a tuple by mistake


@dataclass(frozen=True)
class Device:
    """A GPU, or a MIG instance of one (then `parent` is set). Sizes are bytes."""

    index: int  # NVML's, in the order of the PCI bus; an instance has its GPU's
    name: str | None
    uuid: str | None
    memory_total: int | None
    memory_free: int | None
    memory_used: int | None  # by processes; with drivers before 510 also what the driver reserves
    compute_capability: float | None
    processes: int | None
    process_bytes: int | None  # what these are known to hold
    mig: bool | None = None  # MIG mode is on; None where the GPU has none
    parent: str | None = None
    instances: tuple[Device, ...] = ()


@dataclass(frozen=True)
class Pair:
    """Two GPUs by index: what they have in common on the way, and whether they read each other's memory."""

    a: int
    b: int
    ancestor: str | None  # board, switch, switches, hostbridge, node, system
    p2p: str | None  # ok, or what forbids it: chipset, gpu, topology, disabled, unsupported
    nvlink: bool | None


@dataclass(frozen=True)
class Machine:
    """What the driver of this machine sees. `problem`: it does not list the GPUs, and why."""

    driver: str | None
    cuda: float | None  # newest CUDA the driver supports
    devices: Sequence[Device] = field(default_factory=tuple)
    pairs: Sequence[Pair] = field(default_factory=tuple)
    problem: str | None = None


def look() -> Machine | None:
    """Ask the driver; None when there is none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        driver = _ask(pynvml, pynvml.nvmlSystemGetDriverVersion)
        cuda = _ask(pynvml, pynvml.nvmlSystemGetCudaDriverVersion)
        version = cuda // 1000 + cuda % 1000 // 10 / 10 if cuda else None
        try:
            handles = _handles(pynvml)
        except pynvml.NVMLError as error:
            return Machine(_text(driver), version, problem=f"the NVIDIA driver does not answer: {error}")
        devices = [_device(pynvml, index, handle) for index, handle in handles]
        return Machine(_text(driver), version, devices, _pairs(pynvml, handles))
    finally:
        pynvml.nvmlShutdown()


def _handles(nvml: Any) -> list[tuple[int, Any]]:
    """GPUs by index. One that fell off the bus has no handle; it is left out, as CUDA leaves it out."""
    handles = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = _ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
        if handle is not None:
            handles.append((index, handle))
    return handles


def _ask(nvml: Any, question: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return question(*arguments)
    except (nvml.NVMLError, nvml.NVMLLibraryMismatchError):  # the latter for functions that an old driver lacks
        return None


def _device(nvml: Any, index: int, handle: Any, parent: Device | None = None) -> Device:
    capability = _ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    inherited = parent.compute_capability if parent else None
    memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
    memory = memory or _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    processes, held = _processes(nvml, handle)
    mode = None if parent else _ask(nvml, nvml.nvmlDeviceGetMigMode, handle)
    device = Device(
        index=index,
        name=_text(_ask(nvml, nvml.nvmlDeviceGetName, handle)),
        uuid=_text(_ask(nvml, nvml.nvmlDeviceGetUUID, handle)),
        memory_total=memory.total if memory else None,
        memory_free=memory.free if memory else None,
        memory_used=memory.used if memory else None,
        compute_capability=capability[0] + capability[1] / 10 if capability else inherited,
        processes=processes,
        process_bytes=held,
        mig=bool(mode[0]) if mode else None,
        parent=parent.uuid if parent else None,
    )
    if not device.mig:
        return device
    instances = []
    for number in range(_ask(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        instance = _ask(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
        if instance is not None:
            instances.append(_device(nvml, index, instance, device))
    return Device(**{**vars(device), "instances": tuple(instances)})


def _processes(nvml: Any, handle: Any) -> tuple[int | None, int | None]:
    """How many processes use the GPU, and the bytes they hold. A container sees only those of its own.

    lorachk is not among them: it makes no CUDA context.
    """
    found: dict[int, int | None] = {}
    answered = False
    for what in ("Compute", "Graphics"):
        rows = None
        for version in ("v3", "v2"):  # drivers before 510 have the second only
            if rows is None:
                rows = _ask(nvml, getattr(nvml, f"nvmlDeviceGet{what}RunningProcesses_{version}"), handle)
        answered = answered or rows is not None
        for row in rows or ():  # a process that draws and computes is in both lists, with the same bytes
            found[row.pid] = row.usedGpuMemory
    if not answered:
        return None, None
    known = [size for size in found.values() if size is not None]
    return len(found), sum(known) if len(known) == len(found) else None


def _pairs(nvml: Any, handles: list[tuple[int, Any]]) -> list[Pair]:
    pairs = []
    for position, (a, first) in enumerate(handles):
        for b, second in handles[position + 1 :]:
            ancestor = _ask(nvml, nvml.nvmlDeviceGetTopologyCommonAncestor, first, second)
            read = _ask(nvml, nvml.nvmlDeviceGetP2PStatus, first, second, _READ)
            link = _ask(nvml, nvml.nvmlDeviceGetP2PStatus, first, second, _NVLINK)
            nvlink = None if link is None else link == 0
            pairs.append(Pair(a, b, _ANCESTORS.get(ancestor), _P2P.get(read), nvlink))
    return pairs


def _text(value: Any) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
