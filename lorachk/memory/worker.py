"""The process that traces: reads a job as JSON from stdin, writes the answer as JSON to stdout.

It patches torch's functions and may be aborted by the libraries, so it is never the user's own process.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from lorachk.children import die_with_parent
from lorachk.facts.collector import NotCollected
from lorachk.memory import skeleton
from lorachk.run import Run, from_json


def main() -> int:
    """Trace one variant; when that fails the answer has the key "error"."""
    die_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print must not mix with the answer
    job = json.load(sys.stdin)
    run = from_json(job["run"])
    try:
        with skeleton.silenced():
            answer = _variant(run, job["variant"], job)
    except NotCollected as reason:
        answer = {"error": str(reason)}
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119
        answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]} ({place})"}
    out.write(json.dumps(answer))
    out.flush()
    return 0


def _variant(run: Run, variant: str, job: dict[str, Any]) -> dict[str, Any]:
    from lorachk.memory import batch
    from lorachk.memory.step import Size, run_step

    sequence, trust = int(job["sequence"]), bool(job["trust"])
    config = skeleton.load_config(skeleton.folder_of(run.model), trust_remote_code=trust)
    kinds = skeleton.layer_kinds(config)
    # At least two layers, so that the first and the last are not the same.
    short = {kind: min(number, 2 if len(kinds) == 1 else 1) for kind, number in kinds.items()}
    shown = batch.images(config, run, sequence)
    tokens = shown.number * shown.tokens if shown else 0
    if job.get("full"):
        return {
            **run_step(run, variant, sequence, trust=trust, capacity=True, keep_outputs=bool(job["keep_outputs"])),
            "image_tokens": tokens,
        }

    def step(size: Size, *, capacity: bool = False) -> dict[str, Any]:
        return run_step(run, variant, sequence, size, trust=trust, capacity=capacity)

    # Peaks are linear in the number of layers of each kind and in the patches: a few short models give the long one.
    vision, low = skeleton.vision_layers(config), skeleton.shortest_vision(config)
    one = step(Size(short, low, 1), capacity=True)
    terms: list[tuple[float, dict[str, Any]]] = [
        (kinds[kind] - short[kind], step(Size({**short, kind: short[kind] + 1}, low, 1)))
        for kind in kinds
        if kinds[kind] > short[kind]
    ]
    if shown is not None and vision is not None and low is not None:
        units = shown.patches / batch.unit(config, 1).patches
        terms.append((units - 1, step(Size(short, low, 2))))
        if vision > low:
            terms.append((units * (vision - low), step(Size(short, low + 1, 1))))
    answer = {**one, "image_tokens": tokens}
    for policy in ("keep", "partition"):
        answer[policy] = {
            phase: int(start + sum(factor * (other[policy].get(phase, start) - start) for factor, other in terms))
            for phase, start in one[policy].items()
        }
    return answer


if __name__ == "__main__":
    sys.exit(main())
