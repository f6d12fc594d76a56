"""Starts the processes of a rehearsal, each in its own process group with a time limit, and leaves none behind.

torchrun starts every rank in a session of its own, so that killing torchrun's group would not reach them: on Linux the
ranks ask the kernel to die with torchrun; everywhere the ranks' own groups are killed by the pids they reported.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from lorachk.rehearsal.plan import Plan
from lorachk.rehearsal.rows import read_rows

_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
# Seconds without a new row after which ranks hang: start-up takes the longest, a miniature's step well under a second.
_STALL = 150.0
_POLL = 0.5  # seconds
_TAIL = 16000  # characters of stderr that are kept


class Ended(NamedTuple):
    """How a process ended: `code` as in subprocess (negative: signal), `timed_out`, and the end of its stderr."""

    code: int
    timed_out: bool
    stderr: str


def prepare(plan: Plan, timeout: float) -> Ended:
    """Run the preparing process."""
    return _run(plan, "prepare", ["-m", "lorachk.rehearsal.prepare"], timeout)


def train(plan: Plan, timeout: float) -> Ended:
    """Run all ranks under torchrun; one rank without DeepSpeed runs as `python train.py` does, outside DDP."""
    if plan.ranks == 1 and not plan.deepspeed:
        return _run(plan, "train", ["-m", "lorachk.rehearsal.worker"], timeout)
    torchrun = ["--standalone", "--nproc_per_node", str(plan.ranks), "--max-restarts", "0"]
    return _run(plan, "train", ["-m", "lorachk.rehearsal.ranks", *torchrun, "-m", "lorachk.rehearsal.worker"], timeout)


def _run(plan: Plan, name: str, arguments: list[str], timeout: float) -> Ended:
    folder = Path(plan.folder)
    command = [sys.executable, *arguments, str(plan.save())]
    errors = folder / f"{name}.stderr"
    with (folder / f"{name}.stdout").open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            command, env=environment(plan), stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        timed_out = False
        try:
            timed_out = not _watch(process, folder, timeout, stall=_STALL if not plan.real_weights else timeout)
            if timed_out:
                _ask_where(folder)
        finally:
            # Also on Ctrl-C and on any other way out.
            _stop(process, folder)
    text = errors.read_text(encoding="utf-8", errors="replace")
    return Ended(process.returncode, timed_out, text[-_TAIL:])


def _watch(process: subprocess.Popen[bytes], folder: Path, timeout: float, stall: float) -> bool:
    """Wait until the process ends (True), runs out of time, or writes no row for `stall` seconds (False)."""
    end = time.monotonic() + timeout
    seen, since = -1, time.monotonic()
    while (now := time.monotonic()) < end:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(_POLL, end - now))
            return True
        written = sum(path.stat().st_size for path in folder.glob("rows-*.jsonl"))
        if written != seen:
            seen, since = written, now
        elif now - since > stall:
            break
    return process.poll() is not None


def _ask_where(folder: Path) -> None:
    """Have every rank write where it stands (see `worker`); gives them a moment to do so."""
    for row in read_rows(folder):
        if row["row"] == "started":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(row["pid"], signal.SIGUSR1)
    time.sleep(1.0)


def standing(folder: Path) -> list[str]:
    """Where each rank stood when time was up: the innermost line of the model's or trainer's code, by rank."""
    found = []
    for path in sorted(folder.glob("stack-*")):
        frames = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', path.read_text(encoding="utf-8", errors="replace"))
        # The wait itself is in torch or DeepSpeed; which part of the model asked for it is further out.
        model = [f for f in frames if "/transformers/models/" in f[0] or "transformers_modules" in f[0]]
        other = [f for f in frames if not re.search(r"/(torch|deepspeed|accelerate|lorachk)/|typing_extensions", f[0])]
        for file, line, function in (model or other)[:1]:
            found.append(f"{path.name.removeprefix('stack-')} waits in {function} ({Path(file).name}:{line})")
    return found


def environment(plan: Plan) -> dict[str, str]:
    """The user's environment with what keeps a rehearsal on this machine, quiet and off the network."""
    scratch = Path(plan.folder) / "tmp"  # torchrun leaves its folders behind when it is killed
    scratch.mkdir(exist_ok=True)
    changed = {
        "HF_HUB_OFFLINE": "1",
        "HF_MODULES_CACHE": str(Path(plan.folder) / "modules"),
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // plan.ranks)),
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")])
        ),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(scratch),
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "WANDB_MODE": "disabled",
    }
    if plan.device == "cpu":
        changed |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    # A rehearsal inside a job must not join that job's ranks.
    inherited = {
        k: v
        for k, v in os.environ.items()
        if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK")
        and not k.startswith(("TORCHELASTIC_", "ACCELERATE_", "FSDP_"))
    }
    return {**inherited, **changed}


def _stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End the process, its group and every rank that reported itself."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    rows = list(read_rows(folder))
    over = {r["rank"] for r in rows if r["row"] == "finished"}
    for row in rows:
        if row["row"] == "started" and row["rank"] not in over:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(row["pid"], signal.SIGKILL)


def killing_signal(stderr: str) -> str | None:
    """Name of the signal that killed a rank, from torchrun's summary; None when none did.

    SIGTERM does not count: torchrun sends it to the other ranks after the first failure.
    """
    for code in re.findall(r"exitcode\s*:\s*-(\d+)", stderr):
        if int(code) != signal.SIGTERM:
            return signal_name(int(code))
    return None


def signal_name(number: int) -> str:
    """SIGKILL for 9, and so on."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def last_words(stderr: str) -> str | None:
    """What a C++ library said before it aborted; in plain words where gloo met collectives that do not match."""
    found = re.search(r"what\(\):\s*(.+)", stderr)
    if found is None:
        return None
    text = " ".join(found.group(1).split())[:300]
    if "preamble" in text:
        return f"the ranks' collectives do not match: they ran different modules ({text})"
    return text


def last_line(stderr: str) -> str:
    """The last line that says something: an exception's own line where there is one."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?:\[rank\d+\]:\s*)?[\w.]*(?:Error|Exception)\b", line)]
    return (errors or lines or ["it wrote nothing"])[-1][:500]
