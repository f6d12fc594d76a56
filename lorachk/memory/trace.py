"""Tracing a training step in a process of its own: JSON in, JSON out, a time limit, all killed at the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorachk.run import Run


def trace(
    run: Run,
    variants: Sequence[str],
    sequence: int,
    *,
    trust: bool = False,
    full: bool = False,
    keep_outputs: bool = False,
    seconds: float = 240.0,
) -> dict[str, dict[str, Any]]:
    """Peaks per variant (see step.run_step); a variant that could not be traced has the key "error".

    `full` traces all layers instead of extending from short models; `keep_outputs` then is for loops written by hand.
    After `seconds` the process is killed; variants that were ready by then are kept.
    """
    job = {
        "run": run.model_dump(mode="json"),
        "variants": list(variants),
        "sequence": sequence,
        "trust": trust,
        "full": full,
        "keep_outputs": keep_outputs,
    }
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        [sys.executable, "-m", "lorachk.memory.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    reason = "the trace ended early"
    try:
        out, err = process.communicate(json.dumps(job), timeout=seconds)
        if process.returncode:
            last = err.strip().splitlines()[-1:] or ["no message"]
            reason = f"the trace ended with exit code {process.returncode}: {last[0][:200]}"
    except subprocess.TimeoutExpired:
        _kill(process)
        out, _ = process.communicate()
        reason = f"the trace took longer than {seconds:.0f} s"
    except BaseException:
        _kill(process)
        raise
    answers: dict[str, dict[str, Any]] = {}
    for line in out.splitlines():
        with contextlib.suppress(ValueError):
            answer = json.loads(line)
            answers[answer.pop("variant")] = answer
    return {variant: answers.get(variant, {"error": reason}) for variant in variants}


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
