"""The process that traces: reads a job as JSON from stdin, writes one JSON line per variant to stdout.

It patches torch's functions and may be aborted by the libraries, so it is never the user's own process.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from lorachk.facts.collector import NotCollected
from lorachk.memory import skeleton
from lorachk.run import Run


def main() -> int:
    """Trace every variant of the job; a variant that fails gives a line with "error"."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print must not mix with the answer
    job = json.load(sys.stdin)
    run = Run.model_validate(job["run"])
    for variant in job["variants"]:
        try:
            with skeleton.silenced():
                answer: dict[str, Any] = _variant(run, variant, job)
        except NotCollected as reason:
            answer = {"error": str(reason)}
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]} ({place})"}
        out.write(json.dumps({"variant": variant, **answer}) + "\n")
        out.flush()
    return 0


def _variant(run: Run, variant: str, job: dict[str, Any]) -> dict[str, Any]:
    from lorachk.memory.step import run_step

    sequence, trust = int(job["sequence"]), bool(job["trust"])
    folder = skeleton.folder_of(run.model)
    config = skeleton.load_config(folder, trust_remote_code=trust)
    text = skeleton.text_config(config).num_hidden_layers
    vision = skeleton.vision_layers(config)
    short = max(2, skeleton.layer_period(config))
    if job.get("full") or text <= 2 * short:
        return {**run_step(run, variant, sequence, None, None, trust=trust, capacity=True), "traced_layers": text}
    # Peaks are linear in the number of layers as long as layers are alike, so two short models give the long one.
    low = None if vision is None else skeleton.shortest_vision(config)
    a = run_step(run, variant, sequence, short, low, trust=trust, capacity=True)
    b = run_step(run, variant, sequence, 2 * short, low, trust=trust, capacity=False)
    answer = dict(a)
    c = None
    if vision is not None and low is not None and vision > low:
        c = run_step(run, variant, sequence, short, low + 1, trust=trust, capacity=False)
    for policy in ("keep", "partition"):
        answer[policy] = {}
        for phase, start in a[policy].items():
            size = start + (text - short) * (b[policy].get(phase, start) - start) / short
            if c is not None and vision is not None and low is not None:
                size += (vision - low) * (c[policy].get(phase, start) - start)
            answer[policy][phase] = int(size)
    return {**answer, "traced_layers": short}


if __name__ == "__main__":
    sys.exit(main())
