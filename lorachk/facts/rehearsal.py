"""Tables rehearsal, step, gradient, update, saved, hazard: the run trained for a few steps as a miniature."""

from __future__ import annotations

import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lorachk.facts.collector import Context, NotCollected
from lorachk.families import component
from lorachk.rehearsal import launch
from lorachk.rehearsal.plan import Plan, make_plan
from lorachk.rehearsal.rows import read_rows

Row = dict[str, Any]
_TABLES = ("step", "gradient", "update", "saved")
_SIGHT = ("vision", "resampler")
# What the other ranks say when one rank is gone.
_AFTERMATH = ("connection closed", "connection reset", "broken pipe", "timed out waiting", "nccl")


def collect(context: Context) -> None:
    """Rehearse the run and fill the six tables."""
    _require_packages(bool(context.run.deepspeed_config))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lorachk-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        plan = make_plan(context.run, context.options, folder)
        limit = context.options.rehearsal_timeout
        context.say("rehearsal: building the model and its batches")
        _prepare(plan, folder, limit)
        plan = Plan.load(str(folder / "plan.json"))
        context.say(f"rehearsal: {plan.steps} steps on {plan.ranks} rank(s), {plan.device}")
        ended = launch.train(plan, max(1.0, limit - (time.monotonic() - began)))
        rows = list(read_rows(folder))
        rows += [{"row": "standing", "text": text} for text in launch.standing(folder)]
    _fill(context, plan, rows, ended, time.monotonic() - began)


def _require_packages(deepspeed: bool) -> None:
    needed = ["torch", "transformers", "peft", "accelerate", *(["deepspeed"] if deepspeed else [])]
    if missing := [name for name in needed if find_spec(name) is None]:
        raise NotCollected(f"not installed: {', '.join(missing)}; pip install 'lorachk[train]'")


def _prepare(plan: Plan, folder: Path, limit: float) -> None:
    """Run the preparing process; whatever stops it says nothing about the user's run."""
    ended = launch.prepare(plan, limit)
    for row in read_rows(folder):
        if row["row"] == "refused":
            raise NotCollected(str(row["reason"]))
    if ended.timed_out:
        raise NotCollected(f"the rehearsal was not ready to start after {limit:.0f} s")
    if ended.code:
        raise NotCollected(f"the rehearsal could not be prepared: {launch.last_line(ended.stderr)}")


def _fill(context: Context, plan: Plan, rows: list[Row], ended: launch.Ended, seconds: float) -> None:
    of = _by_table(rows)
    sink, family = context.sink, context.run.family
    model = of["model"][0] if of["model"] else {}
    verdict = _outcome(plan, of, ended)
    sink.add(
        "rehearsal",
        [
            {
                "model": "weights" if plan.real_weights else "miniature",
                "architecture": model.get("architecture"),
                "parameters": model.get("parameters"),
                "trainable": model.get("trainable"),
                "world_size": plan.ranks,
                "zero_stage": plan.stage,
                "device": plan.device,
                "inputs": _inputs(of["batches"]),
                "differs": list(plan.changes),
                "steps": min((sum(s["rank"] == r for s in of["step"]) for r in range(plan.ranks)), default=0),
                "seconds": seconds,
                "versions": _versions(of["versions"], context.run.environment),
                **verdict,
            }
        ],
    )
    if plan.data and any(b["synthetic"] for b in of["batches"]):
        sink.unknown("step.supervised", "no record of the dataset could be rehearsed; random tokens took their place")
    # Without an image nothing reaches the vision tower: its parameters at rest prove nothing.
    blind = not any(b["images"] for b in of["batches"])
    filled: dict[str, list[Row]] = {
        "step": [_without(r) for r in of["step"]],
        "gradient": _gradients(of["gradient"]),
        "update": [_without(r) for r in of["update"]],
        "saved": [_without(r) for r in of["saved"]],
    }
    for table in ("gradient", "update"):
        for row in filled[table]:
            row["component"] = component(family, row["name"])
        unseen = [r for r in filled[table] if blind and r["component"] in _SIGHT and _at_rest(r)]
        if unseen:
            filled[table] = [r for r in filled[table] if r not in unseen]
            sink.unknown(
                f"{table}.{'status' if table == 'gradient' else 'changed'}",
                "no image was rehearsed, so the vision tower had nothing to do",
                len(unseen),
            )
    for table in _TABLES:
        if filled[table]:
            sink.add(table, filled[table])
        else:
            sink.unknown(
                table, f"the rehearsal did not get that far ({verdict['outcome']}: {str(verdict['error'])[:120]})"
            )
    _hazards(context, plan, of)


def _versions(rows: list[Row], planned: dict[str, str]) -> str | None:
    """Versions that ran; where the run itself will use another one, that too."""
    if not rows:
        return None
    parts = []
    for part in str(rows[0]["text"]).split(", "):
        name, _, version = part.partition(" ")
        other = planned.get(name)
        parts.append(f"{part} (the run: {other})" if other and other != version else part)
    return ", ".join(parts)


def _inputs(batches: list[Row]) -> str | None:
    if not batches:
        return None
    if batches[0]["synthetic"]:
        return "random tokens"
    return "records with images" if batches[0]["images"] else "records"


def _by_table(rows: list[Row]) -> dict[str, list[Row]]:
    names = ("error", "finished", "model", "versions", "batches", "hazard", "untraced", "standing", *_TABLES)
    of: dict[str, list[Row]] = {name: [] for name in names}
    for row in rows:
        of.setdefault(str(row["row"]), []).append(row)
    return of


def _without(row: Row) -> Row:
    return {k: v for k, v in row.items() if k not in ("row", "at")}


def _at_rest(row: Row) -> bool:
    if "status" in row:
        return bool(row["status"] == "none")
    return bool(row["requires_grad"] and not row["changed"])


def _gradients(rows: list[Row]) -> list[Row]:
    """One row per parameter over all ranks: a gradient on one rank is a gradient; one that is not finite is one."""
    order = {"none": 0, "zero": 1, "finite": 2, "nonfinite": 3}
    best: dict[str, Row] = {}
    for row in rows:
        kept = best.get(row["name"])
        if kept is None or order[row["status"]] > order[kept["status"]]:
            best[row["name"]] = {k: v for k, v in _without(row).items() if k != "rank"}
    return list(best.values())


def _outcome(plan: Plan, of: dict[str, list[Row]], ended: launch.Ended) -> Row:
    """How it ended, and the first error (not what other ranks said after it)."""
    errors = sorted(of["error"], key=lambda r: float(r["at"]))
    first = next((e for e in errors if not any(a in e["text"].lower() for a in _AFTERMATH)), None)
    verdict: Row = {"error_type": None, "error": None, "phase": None, "no_gradient": False}
    by_signal = launch.killing_signal(ended.stderr)
    if len(of["finished"]) == plan.ranks:
        return {**verdict, "outcome": "ok"}
    # A rank that runs without torchrun tells its signal by its own exit code.
    if by_signal is None and plan.ranks == 1 and ended.code < 0 and not ended.timed_out:
        by_signal = launch.signal_name(-ended.code)
    if first is None and by_signal and not ended.timed_out:
        words = launch.last_words(ended.stderr)
        if by_signal == "SIGKILL":
            words = "without a traceback this is most often the machine out of memory"
        return {**verdict, "outcome": "killed", "error": ": ".join(filter(None, [f"a rank got {by_signal}", words]))}
    if error := first or (errors[0] if errors else None):
        return {
            "outcome": "error",
            "error_type": error["type"],
            "error": error["text"],
            "phase": error["phase"],
            "no_gradient": any(e["no_gradient"] for e in errors),
        }
    if ended.timed_out:
        places = "; ".join(r["text"] for r in of["standing"])
        return {**verdict, "outcome": "timeout", "error": f"the ranks hang{': ' if places else ''}{places}"}
    return {**verdict, "outcome": "error", "error": launch.last_line(ended.stderr)}


def _hazards(context: Context, plan: Plan, of: dict[str, list[Row]]) -> None:
    if of["hazard"]:
        context.sink.add("hazard", [_without(r) for r in of["hazard"]])
    elif plan.real_weights:
        context.sink.unknown("hazard.kind", "in-place writes are traced on the miniature only")
    elif of["untraced"]:
        context.sink.unknown("hazard.kind", f"the traced step ended with {of['untraced'][0]['reason'][:300]}")
