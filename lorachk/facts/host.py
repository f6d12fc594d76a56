"""What this machine has beside GPUs: CPUs, memory, shared memory, disk and network, as a container may use them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/")
_NO_LIMIT = 2**60  # cgroup v1 writes "no limit" as the largest multiple of a page


class Memory(NamedTuple):
    """Bytes; `total` and `available` are no more than the cgroup allows, `limit` is what it allows."""

    total: int | None
    available: int | None
    limit: int | None


class Space(NamedTuple):
    """Bytes of a file system, and its type ("tmpfs", "ext4"); None when it cannot be told."""

    total: int | None
    free: int | None
    kind: str | None


def cpus() -> int | None:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cpu_quota(root: Path = _ROOT) -> float | None:
    """CPUs' worth of time that the tightest cgroup around this process gives; None without limit."""
    quotas = []
    for folder in _cgroups(root, "cpu"):
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        both = (_read(folder / "cpu.max") or f"{quota} {period}").split()
        try:
            given, per = int(both[0]), int(both[1])
        except (ValueError, IndexError):  # "max", "None"
            continue
        if given > 0 and per > 0:
            quotas.append(given / per)
    return min(quotas, default=None)


def memory(root: Path = _ROOT) -> Memory:
    """Memory of this machine, no more than any cgroup around this process allows (v1 and v2, nested ones too)."""
    try:
        text = (root / "proc/meminfo").read_text("ascii")
        lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        total, available = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError, IndexError):
        return Memory(None, None, None)
    limit = None
    for folder in _cgroups(root, "memory"):
        most = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        if most is None or most >= min(_NO_LIMIT, total):
            continue
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
        # Pages of files that were read count as used, but go when memory is wanted.
        used -= min(used, _inactive(folder))
        available = min(available, max(most - used, 0))
        limit = min(limit or most, most)
    return Memory(min(total, limit or total), min(total, available), limit)


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the cgroups around this process, outermost first, of version 2 and of version 1's controller.

    In a container /proc/self/cgroup may name a path of the host that is not mounted here; its own cgroup is then the
    mount's root, which is always among the folders.
    """
    for line in (_read(root / "proc/self/cgroup") or "0::/").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif controller in names.split(","):
            mounts = [root / "sys/fs/cgroup" / controller, root / "sys/fs/cgroup" / names]
        else:
            continue
        for mount in mounts:
            folder = mount
            yield folder
            for part in path.strip("/").split("/"):
                folder = folder / part
                if part and part != ".." and folder.is_dir():
                    yield folder


def _inactive(folder: Path) -> int:
    for line in (_read(folder / "memory.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file") and value.strip().isdigit():
            return int(value)
    return 0


def _number(file: Path) -> int | None:
    try:
        return int(_read(file) or "")
    except ValueError:  # "max", or no such file
        return None


def _read(file: Path) -> str | None:
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return None


def existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above that is there: where it would be made."""
    whole = folder.expanduser().absolute()
    return next((place for place in (whole, *whole.parents) if place.exists()), Path("/"))


def space(folder: Path) -> Space:
    """The file system that a folder is on."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return Space(None, None, None)
    return Space(usage.total, usage.free, _mounted_as(folder))


def _mounted_as(folder: Path) -> str | None:
    """Type of the file system, from the longest mount point above the folder."""
    best, kind = -1, None
    whole = os.path.realpath(folder)
    for line in (_read(Path("/proc/self/mounts")) or "").splitlines():
        parts = line.split(" ")
        point = parts[1].replace("\\040", " ") if len(parts) > 2 else ""
        inside = point == "/" or whole == point or whole.startswith(point + "/")
        if point and inside and len(point) >= best:
            best, kind = len(point), parts[2]
    return kind


def not_writable(folder: Path) -> str | None:
    """Why nothing can be written there; None when it can. `folder` exists; what is tried with leaves no trace."""
    if not folder.is_dir():
        return "is a file"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def interfaces() -> list[str] | None:
    """Names of the network interfaces; None where they cannot be listed."""
    import socket

    try:
        return sorted(name for _, name in socket.if_nameindex())
    except OSError:
        return None
