"""Tracing a training step in processes of their own: JSON in, JSON out, a time limit, all killed at the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lorachk.run import as_json

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
    Each variant has a process of its own, all at once; one that takes longer than `seconds` is killed.
    """
    job = {
        "run": as_json(run),
        "sequence": sequence,
        "trust": trust,
        "full": full,
        "keep_outputs": keep_outputs,
    }
    processes = {variant: _start() for variant in variants}
    with ThreadPoolExecutor(max(1, len(processes))) as pool:
        try:
            answers = {
                variant: pool.submit(_answer, process, {**job, "variant": variant}, seconds)
                for variant, process in processes.items()
            }
            return {variant: answer.result() for variant, answer in answers.items()}
        finally:  # also on Ctrl-C; the pool waits for its threads, and they for the processes
            for process in processes.values():
                _kill(process)


def _start() -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",  # fake tensors compute nothing
        "TOKENIZERS_PARALLELISM": "false",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "lorachk.memory.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def _answer(process: subprocess.Popen[str], job: dict[str, Any], seconds: float) -> dict[str, Any]:
    try:
        out, err = process.communicate(json.dumps(job), timeout=seconds)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.communicate()
        return {"error": f"the trace took longer than {seconds:.0f} s"}
    if process.returncode:
        last = err.strip().splitlines()[-1:] or ["no message"]
        return {"error": f"the trace ended with exit code {process.returncode}: {last[0][:200]}"}
    try:
        answer = json.loads(out)
    except ValueError:
        return {"error": "the trace ended without an answer"}
    assert isinstance(answer, dict)
    return answer


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
