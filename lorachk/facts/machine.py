"""Tables host and gpu: this machine, or the GPU the user judges for.

The NVIDIA driver is asked through NVML, which loads no CUDA context and takes milliseconds.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from lorachk.facts.collector import Context, NotCollected, Row
from lorachk.launchers.gpus import find_gpu
from lorachk.launchers.text import where

_ABSENT = "no NVIDIA driver here: give --gpu NAME or --gpu-memory SIZE to judge for a machine that has one"


def collect_host(context: Context) -> None:
    """One row about this machine."""
    total, available = memory()
    output = Path(context.run.output_dir or ".").expanduser()
    context.sink.add(
        "host",
        [
            {
                "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                "memory_total": total,
                "memory_available": available,
                "shm_available": _free(Path("/dev/shm")),  # noqa: S108 - asked for its size, nothing is written
                "disk_available": _free(next((p for p in (output, *output.parents) if p.exists()), Path())),
                "driver": driver(),
            }
        ],
    )


def collect_gpus(context: Context) -> None:
    """One row per GPU: the one the user named, as often as the run has local ranks, else those NVML sees."""
    run = context.run
    if run.gpu or run.gpu_memory:
        context.sink.add("gpu", [named(context, index) for index in range(run.num_gpus or 1)])
        return
    found = nvml_gpus()
    if found is None:
        raise NotCollected(_ABSENT)
    if not found:
        raise NotCollected("the NVIDIA driver sees no GPU: give --gpu NAME or --gpu-memory SIZE")
    context.sink.add("gpu", found)


def named(context: Context, index: int) -> Row:
    """The GPU of --gpu and --gpu-memory. UsageError for a name that is not known when no memory is given."""
    run = context.run
    origin = run.at("gpu")
    place = where(*origin[:3]) if origin else "--gpu"
    known = find_gpu(run.gpu, place) if run.gpu and not run.gpu_memory else None
    if run.gpu and run.gpu_memory:  # the memory is stated, so a name out of the table is fine
        from lorachk.errors import UsageError

        try:
            known = find_gpu(run.gpu, place)
        except UsageError:
            known = None
    return {
        "index": index,
        "name": known.name if known else run.gpu,
        "memory_total": run.gpu_memory or (known.memory_total if known else None),
        "memory_free": None,
        "compute_capability": known.compute_capability if known else None,
        "origin": "option",
    }


def memory() -> tuple[int | None, int | None]:
    """Total and available bytes of this machine, no more than the cgroup allows."""
    total = available = None
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        total, available = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return None, None
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = int(Path(limit).read_text("ascii")), int(Path(used).read_text("ascii"))
        except (OSError, ValueError):  # no such file, or "max"
            continue
        total, available = min(total, most), min(available, max(most - now, 0))
    return total, available


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def driver() -> str | None:
    """Version of the NVIDIA driver; None when there is none."""
    nvml = _nvml()
    if nvml is None:
        return None
    try:
        return _text(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def nvml_gpus() -> list[Row] | None:
    """The GPUs the driver sees that CUDA_VISIBLE_DEVICES leaves visible; None without driver.

    What one GPU does not tell (MIG parents, GPUs lost to an error) is NULL in its row.
    """
    nvml = _nvml()
    if nvml is None:
        return None
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        found = [_gpu(nvml, index, handle) for index, handle in enumerate(handles)]
    except nvml.NVMLError as error:
        raise NotCollected(f"the NVIDIA driver does not answer: {error}") from None
    finally:
        nvml.nvmlShutdown()
    return [row for row in found if _visible(row["index"], len(found))]


def _gpu(nvml: Any, index: int, handle: Any) -> Row:
    def ask(question: Any) -> Any:
        try:
            return question(handle)
        except nvml.NVMLError:
            return None

    capability, memory_info = ask(nvml.nvmlDeviceGetCudaComputeCapability), ask(nvml.nvmlDeviceGetMemoryInfo)
    return {
        "index": index,
        "name": _text(ask(nvml.nvmlDeviceGetName)),
        "memory_total": memory_info.total if memory_info else None,
        "memory_free": memory_info.free if memory_info else None,
        "compute_capability": capability[0] + capability[1] / 10 if capability else None,
        "origin": "nvml",
    }


def _visible(index: int, count: int) -> bool:
    """Whether CUDA would show this GPU; names by UUID are not followed and hide nothing."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return True
    parts = [part.strip() for part in chosen.split(",") if part.strip()]
    if not all(part.lstrip("-").isdigit() for part in parts):
        return True
    shown = []
    for part in parts:
        if not 0 <= int(part) < count:
            break  # CUDA ignores everything behind the first number that names no GPU
        shown.append(int(part))
    return index in shown


def _text(value: Any) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _nvml() -> Any:
    """pynvml, initialised; None when there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
