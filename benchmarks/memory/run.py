"""Traced memory against GPU measurements that the PEFT project published: `python benchmarks/memory/run.py`.

Each run's whole training step is traced (no extension from short models), its optimizer states are added from the
parameter table, and the simulated allocator's reserve is held against max_memory_reserved. Writes results.json. No GPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from lorachk.facts import model as facts
from lorachk.facts.collector import Context
from lorachk.memory import states
from lorachk.memory.trace import trace
from lorachk.run import Run

HERE = Path(__file__).parent
GIB = 2**30


class Parameters:
    """A sink that keeps the parameter table."""

    def __init__(self):
        self.rows = []

    def add(self, table, rows):
        self.rows += rows if table == "parameter" else []

    def unknown(self, fact, reason, count=None):  # noqa: ARG002
        raise SystemExit(f"{fact}: {reason}")


def main() -> int:
    """Print and record the comparison; exit code 1 when a run is more than two percent off."""
    measured = json.loads((HERE / "measured.json").read_text())
    results = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(measured["config"]))
        for case in measured["runs"]:
            started = time.monotonic()
            run = Run(
                model=folder, use_lora=case["lora"] is not None, lora_config=case["lora"] or {}, trainer="hf",
                training_args={"dtype": "bfloat16"}, per_device_train_batch_size=4, world_size=1, optim="adamw_torch",
            )  # fmt: skip
            sink = Parameters()
            facts.collect(Context(run, sink))
            trained = sum(r["numel"] for r in sink.rows if r["requires_grad"] and r["tied_to"] is None)
            assert trained == case["trainable"], f"{case['run']}: {trained} trained, published {case['trainable']}"
            settings = states.plan(run, 0, hidden=3072, offload=("none", "none"))
            optimizer = sum(p.bytes for p in states.parts(sink.rows, settings) if p.component == "optimizer")
            found = trace(run, ["plain"], measured["longest_batch"], full=True, keep_outputs=True, seconds=600)["plain"]
            if "error" in found:
                raise SystemExit(f"{case['run']}: {found['error']}")
            predicted = found["reserved"] + optimizer
            error = predicted / case["reserved"] - 1
            results.append(
                {
                    "run": case["run"],
                    "allocated_gib": round((found["allocated"] + optimizer) / GIB, 3),
                    "reserved_gib": round(predicted / GIB, 3),
                    "measured_gib": round(case["reserved"] / GIB, 3),
                    "error_percent": round(100 * error, 2),
                    "seconds": round(time.monotonic() - started, 1),
                }
            )
            print(results[-1], flush=True)
    mean = sum(abs(r["error_percent"]) for r in results) / len(results)
    worst = max(abs(r["error_percent"]) for r in results)
    print(f"mean |error| {mean:.2f} %, worst {worst:.2f} %")
    versions = {name: version(name) for name in ("torch", "transformers", "peft")}
    record = {"mean_error_percent": round(mean, 2), "worst_error_percent": worst, "versions": versions, "runs": results}
    (HERE / "results.json").write_text(json.dumps(record, indent=2) + "\n")
    return int(worst > 2)


if __name__ == "__main__":
    sys.exit(main())
