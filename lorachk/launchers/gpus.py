"""GPUs people train on: memory as NVML reports it, and compute capability; and sizes as people write them.

Memory is the framebuffer NVML gives as total, in MiB, as nvidia-smi prints it on these boards.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import NamedTuple

from lorachk.errors import UsageError

_MIB = 2**20


class KnownGpu(NamedTuple):
    """A GPU model."""

    name: str
    memory_total: int  # bytes
    compute_capability: float
    p2p: bool  # two of them read each other's memory over PCIe; drivers do not allow it for GeForce and TITAN cards


# Sizes without ECC where a board lets its owner choose; boards for data centers have it on. Where it could be looked
# up, the size is that of people's nvidia-smi, else the board's; laptop versions, which have other sizes, are left out.
_TABLE: tuple[tuple[str, int, float], ...] = (
    ("GeForce GTX 1080 Ti", 11264, 6.1),
    ("GeForce RTX 2060", 6144, 7.5),
    ("GeForce RTX 2070", 8192, 7.5),
    ("GeForce RTX 2080", 8192, 7.5),
    ("GeForce RTX 2080 Ti", 11264, 7.5),
    ("TITAN RTX", 24576, 7.5),
    ("GeForce RTX 3060", 12288, 8.6),
    ("GeForce RTX 3060 Ti", 8192, 8.6),
    ("GeForce RTX 3070", 8192, 8.6),
    ("GeForce RTX 3070 Ti", 8192, 8.6),
    ("GeForce RTX 3080", 10240, 8.6),
    ("GeForce RTX 3080 Ti", 12288, 8.6),
    ("GeForce RTX 3090", 24576, 8.6),
    ("GeForce RTX 3090 Ti", 24564, 8.6),
    ("GeForce RTX 4060", 8188, 8.9),
    ("GeForce RTX 4060 Ti 8GB", 8188, 8.9),
    ("GeForce RTX 4060 Ti 16GB", 16380, 8.9),
    ("GeForce RTX 4070", 12282, 8.9),
    ("GeForce RTX 4070 SUPER", 12282, 8.9),
    ("GeForce RTX 4070 Ti", 12282, 8.9),
    ("GeForce RTX 4070 Ti SUPER", 16376, 8.9),
    ("GeForce RTX 4080", 16376, 8.9),
    ("GeForce RTX 4080 SUPER", 16376, 8.9),
    ("GeForce RTX 4090", 24564, 8.9),
    ("GeForce RTX 4090 D", 24564, 8.9),
    ("GeForce RTX 5060", 8151, 12.0),
    ("GeForce RTX 5060 Ti 8GB", 8151, 12.0),
    ("GeForce RTX 5060 Ti 16GB", 16311, 12.0),
    ("GeForce RTX 5070", 12227, 12.0),
    ("GeForce RTX 5070 Ti", 16303, 12.0),
    ("GeForce RTX 5080", 16303, 12.0),
    ("GeForce RTX 5090", 32607, 12.0),
    ("GeForce RTX 5090 D", 32607, 12.0),
    ("Quadro RTX 5000", 16384, 7.5),
    ("Quadro RTX 6000", 24576, 7.5),
    ("Quadro RTX 8000", 49152, 7.5),
    ("RTX A2000 12GB", 12282, 8.6),
    ("RTX A4000", 16376, 8.6),
    ("RTX A4500", 20470, 8.6),
    ("RTX A5000", 24564, 8.6),
    ("RTX A5500", 24564, 8.6),
    ("RTX A6000", 49140, 8.6),
    ("RTX 4000 Ada Generation", 20475, 8.9),
    ("RTX 4500 Ada Generation", 24570, 8.9),
    ("RTX 5000 Ada Generation", 32760, 8.9),
    ("RTX 6000 Ada Generation", 49140, 8.9),
    ("RTX PRO 4000 Blackwell", 24467, 12.0),
    ("RTX PRO 4500 Blackwell", 32623, 12.0),
    ("RTX PRO 5000 Blackwell", 48935, 12.0),
    ("RTX PRO 6000 Blackwell", 97887, 12.0),
    ("Tesla P40", 23040, 6.1),
    ("Tesla P100 16GB", 16384, 6.0),
    ("Tesla V100 16GB", 16384, 7.0),
    ("Tesla V100 32GB", 32768, 7.0),
    ("Tesla T4", 15360, 7.5),
    ("A2", 15356, 8.6),
    ("A10", 23028, 8.6),
    ("A10G", 23028, 8.6),
    ("A16", 15356, 8.6),
    ("A30", 24576, 8.0),
    ("A40", 46068, 8.6),
    ("A100 40GB", 40960, 8.0),
    ("A100 80GB", 81920, 8.0),
    ("A800 40GB", 40960, 8.0),
    ("A800 80GB", 81920, 8.0),
    ("L4", 23034, 8.9),
    ("L20", 46068, 8.9),
    ("L40", 46068, 8.9),
    ("L40S", 46068, 8.9),
    ("H20", 97871, 9.0),
    ("H100 80GB", 81559, 9.0),
    ("H100 NVL", 95830, 9.0),
    ("H800", 81559, 9.0),
    ("H200", 143771, 9.0),
    ("GH200 96GB", 97871, 9.0),
    ("B200", 183359, 10.0),
    ("B300", 275040, 10.3),
    ("GB200", 189471, 10.0),
    ("GB300", 284208, 10.3),
)
KNOWN = tuple(
    KnownGpu(name, mib * _MIB, capability, not name.startswith(("GeForce", "TITAN")))
    for name, mib, capability in _TABLE
)

_USUAL = {
    "h100": "H100 80GB",
    "h200nvl": "H200",
    "a800": "A800 80GB",
    "rtxa2000": "RTX A2000 12GB",
    "rtx8000": "Quadro RTX 8000",
}  # when no more is said
_OTHER_MAKERS = (
    (re.compile(r"\b(amd|radeon|instinct|mi\s?(50|60|100|210|250x?|300[ax]?|308x|325x|35[05]x))\b", re.I), "AMD's"),
    (re.compile(r"\b(ascend|huawei|npu|910[abc]?\d*|310p?)\b", re.I), "Huawei's Ascend"),
    (re.compile(r"\b(intel|arc|gaudi\s?\d?|max 1[15]\d0)\b", re.I), "Intel's"),
)

_FILLER = re.compile(
    r"\b(nvidia|geforce|tesla|pcie|ac|sxm\d?|hbm\d?e?|generation|edition|workstation|server)\b|[^a-z0-9]"
)
_GIB = re.compile(r"(\d+)\s*g(i?b)?\b", re.IGNORECASE)
_SIZE = re.compile(r"\s*([\d_]+(?:\.\d+)?)\s*([KMGT]?)(i?)(B?)\s*$", re.IGNORECASE)


def _key(name: str) -> str:
    text = _GIB.sub(lambda size: f"{size[1]}g", name.lower())
    return _FILLER.sub("", text.replace("-", " "))


def find_gpu(name: str, where: str = "--gpu") -> KnownGpu:
    """The GPU a person means: "RTX 4090", "4090", "a100-80gb". UsageError with near names otherwise."""
    wanted = _key(name)
    by_key = {_key(gpu.name): gpu for gpu in KNOWN}
    by_key |= {short: by_key[_key(name)] for short, name in _USUAL.items()}
    if wanted in by_key:
        return by_key[wanted]
    # "4090" for "rtx4090", "a6000" for "rtxa6000", "v100" is two boards and stays open
    tails = [gpu for key, gpu in by_key.items() if wanted and key.removeprefix("rtx") == wanted]
    if len(tails) == 1:
        return tails[0]
    open_to = [gpu.name for key, gpu in by_key.items() if wanted and wanted in key and key not in _USUAL]
    if open_to:
        raise UsageError(f"{name!r} could be several GPUs", where=where, hint=f"say one of: {', '.join(open_to)}")
    other = next((maker for pattern, maker in _OTHER_MAKERS if pattern.search(name)), None)
    if other:
        hint = "give its memory with --gpu-memory 64GiB; rules about NVIDIA hardware are skipped then"
        raise UsageError(
            f"{name!r} is one of {other} and not in the table, which holds NVIDIA's", where=where, hint=hint
        )
    near = get_close_matches(wanted, by_key, 3, 0.5)
    meant = f"did you mean {', '.join(by_key[key].name for key in near)}?" if near else ""
    hint = f"{meant} Or give its memory with --gpu-memory 24GiB".strip()
    raise UsageError(f"no GPU called {name!r} is known", where=where, hint=hint)


def parse_bytes(size: str | int, where: str) -> int:
    """Bytes from "24GiB", "24GB", "24576MiB" or a number; GB is 10^9, G and GiB are 2^30, as in Kubernetes' Gi."""
    match = _SIZE.match(str(size))
    number = float(match[1].replace("_", "")) if match else 0.0
    if match is None or number <= 0:
        raise UsageError(f"{size!r} is no size of memory", where=where, hint="write 24GiB, 24GB or a number of bytes")
    power = " KMGT".index(match[2].upper() or " ")
    decimal = bool(match[4]) and not match[3]
    value = int(number * (1000**power if decimal else 1024**power))
    if value < 256 * _MIB:
        raise UsageError(
            f"{size!r} is less than any GPU has", where=where, hint="write 24GiB, 24GB or a number of bytes"
        )
    return value
