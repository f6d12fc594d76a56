"""The words of the memory table, the same on screen and in Markdown. Sizes come in bytes and are shown in GiB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lorachk.report.escape import sentence
from lorachk.report.words import GIB, gib

Row = Mapping[str, Any]
HEAD = ("ZeRO", "offload", "peak", "needed", "available", "verdict")


def offload(row: Row) -> str:
    """ "-", "optimizer cpu", "optimizer + params cpu": where states go that leave the GPU."""
    optimizer, param = (_device(row.get(name)) for name in ("offload_optimizer", "offload_param"))
    if optimizer and optimizer == param:
        return f"optimizer + params {param}"
    parts = [f"optimizer {optimizer}" if optimizer else "", f"params {param}" if param else ""]
    return ", ".join(p for p in parts if p) or "-"


def _device(value: object) -> str:
    text = sentence(str(value)) if value is not None else ""
    return "" if text == "none" else text


def fits(row: Row) -> str:
    """ "fits", "missing 3.2 GiB" or "not known"."""
    if row.get("fits") is None:
        return "not known"
    if row["fits"]:
        return "fits"
    needed, available = row.get("needed"), row.get("available")
    if needed is None or available is None:
        return "does not fit"
    lack = max(needed - available, 0) / GIB
    return f"missing {lack:,.1f} GiB" if lack >= 0.05 else "missing <0.1 GiB"


def cells(row: Row) -> tuple[str, ...]:
    """One row under HEAD."""
    stage = "-" if row.get("zero_stage") is None else sentence(str(row["zero_stage"]))
    sizes = (gib(row.get(name)) for name in ("peak_allocated", "needed", "available"))
    return (stage, offload(row), *sizes, fits(row))


def gpus(rows: Sequence[Row]) -> list[str]:
    """Names of the GPUs judged for, in order."""
    return list(dict.fromkeys(sentence(str(r["gpu"])) for r in rows if r.get("gpu")))


def batch(rows: Sequence[Row]) -> str:
    """ "micro batch 1 x 2,048 tokens", from the first row that knows."""
    parts = []
    if size := next((r["micro_batch"] for r in rows if r.get("micro_batch")), None):
        parts.append(f"micro batch {size:,}")
    if length := next((r["sequence"] for r in rows if r.get("sequence")), None):
        parts.append(f"{length:,} tokens")
    return " x ".join(parts)


def own(rows: Sequence[Row]) -> Row | None:
    """The row of the run's own ZeRO stage and offloading."""
    return next((r for r in rows if r.get("configured")), None)


def own_components(fit: Sequence[Row], memory: Sequence[Row]) -> list[Row]:
    """Rows of `memory` for the run's own stage, largest first; empty when the run's own stage is not known."""
    mine = own(fit)
    if mine is None:
        return []
    keys = ("zero_stage", "offload_optimizer", "offload_param")
    rows = [r for r in memory if all(r.get(k) == mine.get(k) for k in keys)]
    return sorted(rows, key=lambda r: -(r.get("bytes") or 0))


def caption(rows: Sequence[Row]) -> str:
    """ "Memory per GPU, micro batch 1 x 2,048 tokens, on 3 x NVIDIA L40S"."""
    names = gpus(rows)
    number = max((int(row["ranks"]) for row in rows if row.get("ranks")), default=1)
    where = f"on {f'{number} x ' if number > 1 else ''}{names[0]}" if len(names) == 1 else ""
    parts = ["Memory per GPU", batch(rows), where]
    return ", ".join(p for p in parts if p)
