"""The words of a rehearsal: what ran, loss per step, what was saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from lorachk.report.escape import clipped, sentence
from lorachk.report.words import gib, plural

Row = Mapping[str, Any]
_STEP_HEAD = ("step", "loss", "grad norm", "seconds", "peak")


def what_ran(row: Row) -> str:
    """ "MiniCPMV (miniature, 3.2 million parameters, 0.1 million trained), 2 ranks, ZeRO-3, cpu"."""
    name = sentence(str(row.get("architecture") or "model"))
    inside = [sentence(str(row["model"]))] if row.get("model") else []
    if row.get("parameters"):
        inside.append(f"{millions(row['parameters'])} parameters")
    if row.get("trainable") is not None:
        inside.append(f"{millions(row['trainable'])} trained")
    parts = [f"{name} ({', '.join(inside)})" if inside else name]
    if row.get("world_size"):
        parts.append(plural(row["world_size"], "rank"))
    if row.get("zero_stage") is not None:
        parts.append(f"ZeRO-{row['zero_stage']}" if row["zero_stage"] else "no ZeRO")
    if row.get("device"):
        parts.append(sentence(str(row["device"])))
    return ", ".join(parts)


def outcome(row: Row) -> str:
    """ "3 steps in 41.2 s", or where and with what error it stopped."""
    steps = plural(row.get("steps") or 0, "step")
    seconds = f" in {row['seconds']:.1f} s" if row.get("seconds") is not None else ""
    if row.get("outcome") in (None, "ok"):
        return f"{steps}{seconds}"
    how = {"error": "stopped", "timeout": "ran into the time limit", "killed": "was killed"}.get(
        str(row["outcome"]), sentence(str(row["outcome"]))
    )
    phase = f" in {sentence(str(row['phase']))}" if row.get("phase") else ""
    texts = (sentence(str(row[k])) for k in ("error_type", "error") if row.get(k))
    error = clipped(": ".join(texts), 300)
    return f"{how}{phase} after {steps}{seconds}{f': {error}' if error else ''}"


def conditions(row: Row) -> str | None:
    """ "on records with images; other than in the run: fp16 runs as bf16 (the CPU has no fp16 training)"."""
    parts = [f"on {sentence(str(row['inputs']))}"] if row.get("inputs") else []
    if row.get("differs"):
        parts.append(f"other than in the run: {', '.join(sentence(str(d)) for d in row['differs'])}")
    return "; ".join(parts) or None


def steps(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and body of the table of steps: over all ranks, mean loss, largest grad norm, slowest time, largest peak.

    A column that nothing is known of (the peak on CPU) is left out.
    """
    by_step: dict[int, list[Row]] = {}
    for row in rows:
        by_step.setdefault(row.get("step") or 0, []).append(row)
    body = [_step(number, by_step[number]) for number in sorted(by_step)]
    known = [n for n in range(len(_STEP_HEAD)) if any(line[n] != "-" for line in body)]
    return [_STEP_HEAD[n] for n in known], [[line[n] for n in known] for line in body]


def _step(number: int, ranks: Sequence[Row]) -> tuple[str, ...]:
    losses, norms, times, peaks = (_known(ranks, k) for k in ("loss", "grad_norm", "seconds", "peak_bytes"))
    return (
        str(number),
        _measured(sum(losses) / len(losses)) if losses else "-",
        _measured(_worst(norms)) if norms else "-",
        f"{max(times):.1f}" if times else "-",
        gib(max(peaks, default=None)),
    )


def _measured(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"


def _known(rows: Sequence[Row], name: str) -> list[float]:
    return [float(r[name]) for r in rows if r.get(name) is not None]


def _worst(values: Sequence[float]) -> float:
    """The largest, or NaN when one is: max() would hide it."""
    return next((v for v in values if isnan(v)), max(values))


def saved(rows: Sequence[Row]) -> str:
    """ "adapter saved: 128 tensors, all equal after reload"."""
    there = [r for r in rows if r.get("file") is not None]
    parts = [f"adapter saved: {plural(len(there), 'tensor')}"]
    if missing := len(rows) - len(there):
        parts.append(f"{missing:,} missing")
    if changed := sum(r.get("equal") is False for r in there):
        parts.append(f"{changed:,} differ after reload")
    elif there and all(r.get("equal") for r in there):
        parts.append("all equal after reload")
    return ", ".join(parts)


def millions(count: int) -> str:
    """ "812", "12,288", "3.2 million", "7.6 billion"."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if count >= size:
            return f"{count / size:.1f} {word}"
    return f"{count:,}"
