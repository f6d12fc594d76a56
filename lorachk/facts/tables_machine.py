"""The fact tables about the machine."""

from __future__ import annotations

from lorachk.facts.schema import BIG, FLAG, INT, LIST, REAL, TEXT, table

_INDEX = (INT, "NVML index, or position")

HOST = {
    "run_here": (
        FLAG,
        "true when the run is judged for this machine; NULL when it has no GPU, or another one was named (--gpu)",
    ),
    "cpu_count": (INT, "CPUs this process may use"),
    "cpu_quota": (REAL, "CPUs' worth of time the cgroup gives; NULL without limit"),
    "memory_total": (BIG, "bytes, the cgroup limit when lower"),
    "memory_available": (BIG, "bytes"),
    "memory_limit": (BIG, "bytes that the cgroup allows; NULL without limit"),
    "shm_total": (BIG, "bytes of /dev/shm"),
    "shm_available": (BIG, "bytes free in /dev/shm"),
    "disk_total": (BIG, "bytes of the file system where output_dir would be"),
    "disk_available": (BIG, "bytes free where output_dir would be"),
    "disk_type": (TEXT, "type of that file system: ext4, overlay, tmpfs, nfs4 ..."),
    "output_folder": (TEXT, "output_dir, or the nearest folder above it that is there"),
    "output_problem": (TEXT, "why nothing can be written there; NULL when it can"),
    "interfaces": (LIST, "network interfaces"),
    "infiniband": (FLAG, "there are InfiniBand or RoCE adapters"),
    "driver": (TEXT, "NVIDIA driver version; NULL without driver"),
    "driver_cuda": (REAL, "newest CUDA the driver supports, e.g. 12.4"),
    "gpu_names": (LIST, "all GPUs of the driver, those included that CUDA_VISIBLE_DEVICES hides"),
    "gpus_seen": (INT, "GPUs that the run's processes see, as far as CUDA_VISIBLE_DEVICES or this machine tells"),
    "visible_devices": (TEXT, "CUDA_VISIBLE_DEVICES of the run, or what its launcher sets; NULL for none"),
    "visible_devices_at": ("STRUCT(path VARCHAR, line INTEGER, col INTEGER, pointer VARCHAR)", "where it stands"),
}

GPU = {
    "index": _INDEX,
    "device": (INT, "number that the run's processes know it by, from 0: cuda:0"),
    "name": (TEXT, "as NVML or --gpu says"),
    "memory_total": (BIG, "bytes"),
    "memory_free": (BIG, "bytes; NULL for a GPU that is not here"),
    "memory_used": (BIG, "bytes that processes hold now; NULL for a GPU that is not here"),
    "processes": (INT, "processes that use it now; a container sees its own only"),
    "process_bytes": (BIG, "bytes that these are known to hold"),
    "compute_capability": (REAL, "major.minor, e.g. 8.9; NULL when unknown"),
    "uuid": (TEXT, "GPU-... or MIG-..."),
    "mig": (TEXT, "instance for a MIG instance, else NULL"),
    "parent": (TEXT, "UUID of the GPU that a MIG instance is a part of"),
    "p2p": (FLAG, "GPUs of this model may read each other's memory over PCIe; NULL when the model is not known"),
    "origin": (TEXT, "nvml, or option for --gpu/--gpu-memory"),
}

GPU_PAIR = {
    "a": (INT, "NVML index"),
    "b": (INT, "NVML index, larger than a"),
    "ancestor": (TEXT, "what they have in common on the way: board, switch, switches, hostbridge, node, system"),
    "p2p": (
        TEXT,
        "ok: they read each other's memory; else what forbids it: chipset, gpu, topology, disabled, unsupported",
    ),
    "nvlink": (FLAG, "they are joined by NVLink"),
}

TOOL = {
    "name": (TEXT, "torch, torch-cuda, torch-hip, nvcc, ninja, c++, Python.h, cpu_adam, fused_adam"),
    "path": (TEXT, "where it was found, or looked for"),
    "version": (TEXT, "its version; NULL when it cannot be used"),
    "problem": (TEXT, "why it cannot be used; NULL when it can"),
}

ENVIRONMENT = {
    "name": (TEXT, "variable"),
    "value": (TEXT, "value; NULL when only the shell knows it"),
    "origin": (TEXT, "launch (set in the launch file), or machine (set where lorachk runs, when the run is for here)"),
    "place": ("STRUCT(path VARCHAR, line INTEGER, col INTEGER, pointer VARCHAR)", "where it is set"),
}

TABLES = (
    table("host", "this machine (one row)", **HOST),
    table("gpu", "one GPU the run is judged for, as its processes see it", **GPU),
    table("gpu_pair", "two GPUs of this machine that the run's processes see", **GPU_PAIR),
    table("tool", "torch's build, or what is needed to compile DeepSpeed's operators here", **TOOL),
    table("environment", "one variable that decides where and how the run's processes run", **ENVIRONMENT),
)
