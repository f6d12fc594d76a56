"""CUDA_VISIBLE_DEVICES as CUDA reads it: which GPUs the processes of the run see, and in which order.

Numbers, UUIDs and MIG UUIDs as in NVIDIA's programming guide and MIG user guide, and as torch.cuda parses them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from lorachk.facts.nvml import Device
from lorachk.launchers.values import Unknown, as_int
from lorachk.run import Location, Setting

NAME = "CUDA_VISIBLE_DEVICES"
_NUMBER = re.compile(r"[+-]?\d+")


class Chosen(NamedTuple):
    """What chooses the run's GPUs: a value of CUDA_VISIBLE_DEVICES (None: all of them) and where it stands."""

    value: str | None
    at: Location | None = None
    unknown: str | None = None  # only the shell or the cluster knows the value


def chosen(settings: Sequence[Setting], launcher: str | None, environ: str | None) -> Chosen:
    """The launcher's own options, else the launch file's variable, else this machine's.

    deepspeed's runner deletes the variable and counts from 0 when --num_gpus or --include is given; read in
    deepspeed/launcher/runner.py of 0.19.8.
    """
    own = {s.pointer.rpartition("/")[2]: s for s in settings if s.kind in ("launcher", "accelerate")}
    given = next((s for s in reversed(settings) if s.kind == "env" and s.pointer == f"/{NAME}"), None)
    if launcher == "deepspeed":
        if (include := own.get("include")) and (slots := re.fullmatch(r"[^:@]+:([\d,]+)", str(include.value))):
            return Chosen(slots[1], include.at)
        if (count := own.get("num_gpus")) and (number := as_int(count.value)) and 0 < number < 1024:
            return Chosen(",".join(map(str, range(number))), count.at)
    elif launcher == "accelerate" and (ids := own.get("gpu_ids")) and str(ids.value) not in ("all", "None"):
        given = ids
    if given is None:
        return Chosen(environ)
    if isinstance(given.value, Unknown):
        return Chosen(None, given.at, given.value.reason)
    return Chosen(str(given.value), given.at)


def visible(value: str | None, devices: Sequence[Device]) -> list[Device]:
    """The devices that CUDA shows for a value, as cuda:0, cuda:1 ...

    What follows the first entry that names nothing is ignored; an entry that stands twice hides everything. A process
    sees one MIG instance at most, and no whole GPU beside it.
    """
    if value is None:
        return _with_instances(devices)
    text = value.strip()
    if text.startswith("MIG-"):
        every = [instance for device in devices for instance in device.instances]
        return _named(text.split(",")[:1], every)
    if text.startswith("GPU-"):
        return _with_instances(_named(text.split(","), devices))
    numbers: list[int] = []
    for entry in text.split(","):
        number = _NUMBER.match(entry.strip())
        if number is None or int(number[0]) < 0:
            break
        if int(number[0]) in numbers:  # also behind one that names no GPU here
            return []
        numbers.append(int(number[0]))
    by_index = {device.index: device for device in devices}
    there = takewhile(lambda device: device is not None, map(by_index.get, numbers))
    return _with_instances([device for device in there if device is not None])


def entries(value: str) -> list[str]:
    """The entries of a value that could name something on some machine; none when one stands twice."""
    found: list[str] = []
    for entry in (part.strip() for part in value.split(",")):
        number = _NUMBER.match(entry)
        if not entry.startswith(("GPU-", "MIG-")) and not (number and int(number[0]) >= 0):
            break
        found.append(entry)
    if len(set(found)) < len(found):
        return []
    return found[:1] if found and found[0].startswith("MIG-") else found


def _named(names: Sequence[str], devices: Sequence[Device]) -> list[Device]:
    """Devices by UUID or the beginning of one that fits no other."""
    found: list[Device] = []
    for name in (part.strip() for part in names):
        fitting = [device for device in devices if device.uuid and device.uuid.startswith(name)]
        if len(fitting) != 1:
            break
        if fitting[0] in found:
            return []
        found.append(fitting[0])
    return found


def _with_instances(devices: Sequence[Device]) -> list[Device]:
    """Whole GPUs, or the first MIG instance where any is among them. MIG mode without instances shows nothing."""
    instances = [instance for device in devices for instance in device.instances]
    return instances[:1] or [device for device in devices if not device.mig]
