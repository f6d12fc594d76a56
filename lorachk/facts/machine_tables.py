"""The fact tables about the machine, as columns; `tables.py` declares them with all others."""

from __future__ import annotations

_TEXT, _INT, _BIG, _REAL, _FLAG, _LIST = "VARCHAR", "INTEGER", "BIGINT", "DOUBLE", "BOOLEAN", "VARCHAR[]"
_INDEX = (_INT, "NVML index, or position")

HOST = {
    "run_here": (
        _FLAG,
        "true when the run is judged for this machine; NULL when it has no GPU, or another one was named (--gpu)",
    ),
    "cpu_count": (_INT, "CPUs this process may use"),
    "cpu_quota": (_REAL, "CPUs' worth of time the cgroup gives; NULL without limit"),
    "memory_total": (_BIG, "bytes, the cgroup limit when lower"),
    "memory_available": (_BIG, "bytes"),
    "memory_limit": (_BIG, "bytes that the cgroup allows; NULL without limit"),
    "shm_total": (_BIG, "bytes of /dev/shm"),
    "shm_available": (_BIG, "bytes free in /dev/shm"),
    "disk_total": (_BIG, "bytes of the file system where output_dir would be"),
    "disk_available": (_BIG, "bytes free where output_dir would be"),
    "disk_type": (_TEXT, "type of that file system: ext4, overlay, tmpfs, nfs4 ..."),
    "output_folder": (_TEXT, "output_dir, or the nearest folder above it that is there"),
    "output_problem": (_TEXT, "why nothing can be written there; NULL when it can"),
    "interfaces": (_LIST, "network interfaces"),
    "infiniband": (_FLAG, "there are InfiniBand or RoCE adapters"),
    "driver": (_TEXT, "NVIDIA driver version; NULL without driver"),
    "driver_cuda": (_REAL, "newest CUDA the driver supports, e.g. 12.4"),
    "gpu_names": (_LIST, "all GPUs of the driver, those included that CUDA_VISIBLE_DEVICES hides"),
    "gpus_seen": (_INT, "GPUs that the run's processes see, as far as CUDA_VISIBLE_DEVICES or this machine tells"),
    "visible_devices": (_TEXT, "CUDA_VISIBLE_DEVICES of the run, or what its launcher sets; NULL for none"),
    "visible_devices_at": ("STRUCT(path VARCHAR, line INTEGER, col INTEGER, pointer VARCHAR)", "where it stands"),
}

GPU = {
    "index": _INDEX,
    "device": (_INT, "number that the run's processes know it by, from 0: cuda:0"),
    "name": (_TEXT, "as NVML or --gpu says"),
    "memory_total": (_BIG, "bytes"),
    "memory_free": (_BIG, "bytes; NULL for a GPU that is not here"),
    "memory_used": (_BIG, "bytes that processes hold now; NULL for a GPU that is not here"),
    "processes": (_INT, "processes that use it now; a container sees its own only"),
    "process_bytes": (_BIG, "bytes that these are known to hold"),
    "compute_capability": (_REAL, "major.minor, e.g. 8.9; NULL when unknown"),
    "uuid": (_TEXT, "GPU-... or MIG-..."),
    "mig": (_TEXT, "instance for a MIG instance, else NULL"),
    "parent": (_TEXT, "UUID of the GPU that a MIG instance is a part of"),
    "p2p": (_FLAG, "GPUs of this model may read each other's memory over PCIe; NULL when the model is not known"),
    "origin": (_TEXT, "nvml, or option for --gpu/--gpu-memory"),
}

GPU_PAIR = {
    "a": (_INT, "NVML index"),
    "b": (_INT, "NVML index, larger than a"),
    "ancestor": (_TEXT, "what they have in common on the way: board, switch, switches, hostbridge, node, system"),
    "p2p": (
        _TEXT,
        "ok: they read each other's memory; else what forbids it: chipset, gpu, topology, disabled, unsupported",
    ),
    "nvlink": (_FLAG, "they are joined by NVLink"),
}

TOOL = {
    "name": (_TEXT, "torch, torch-cuda, torch-hip, nvcc, ninja, c++, Python.h, cpu_adam, fused_adam"),
    "path": (_TEXT, "where it was found, or looked for"),
    "version": (_TEXT, "its version; NULL when it cannot be used"),
    "problem": (_TEXT, "why it cannot be used; NULL when it can"),
}

ENVIRONMENT = {
    "name": (_TEXT, "variable"),
    "value": (_TEXT, "value; NULL when only the shell knows it"),
    "origin": (_TEXT, "launch (set in the launch file), or machine (set where lorachk runs, when the run is for here)"),
    "place": ("STRUCT(path VARCHAR, line INTEGER, col INTEGER, pointer VARCHAR)", "where it is set"),
}
