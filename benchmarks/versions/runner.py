"""Run modes of a worker, each on ranks of its own that are forked after the heavy libraries were imported once.

    python runner.py WORKER RANK-COUNT:SECONDS:MODE...

WORKER is a module of this folder with `run(mode) -> str`, which gives `ok` or what came of it. For each mode one line
is printed: OUTCOME, mode, seconds and what the ranks said, separated by tabs.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

LIBRARIES = ("deepspeed", "transformers", "accelerate", "peft")
GRACE = 15  # seconds for the other ranks once one has failed; they may wait in a collective for ever


def spare_the_compiler() -> None:
    """Have DeepSpeed do without its shared-memory operator.

    It serves inference only, is compiled for minutes per version, and ranks that compile at once wait for each other.
    """
    communication = importlib.import_module("deepspeed.comm.torch")
    if hasattr(communication, "build_shm_op"):
        setattr(communication, "build_shm_op", lambda: None)  # noqa: B010


def rank(run: Callable[[str], str], mode: str, number: int, ranks: int, port: int, folder: Path) -> int:
    """Fork one rank; what it prints goes to `log-N`, what it says to `said-N`. Gives its process id."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(ranks)}
    os.environ |= {
        "LOCAL_WORLD_SIZE": str(ranks),
        "LOCAL_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    log = os.open(folder / f"log-{number}", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        said = run(mode)
    except BaseException as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    sys.stderr.flush()
    (folder / f"said-{number}.part").write_text(said[:400], encoding="utf-8")
    (folder / f"said-{number}.part").rename(folder / f"said-{number}")
    os._exit(0)


def wait(children: list[int], folder: Path, seconds: float) -> list[int | None]:
    """Exit codes of the ranks; None for one that was ended because it ran too long."""
    codes: dict[int, int | None] = {}
    end = time.monotonic() + seconds
    while len(codes) < len(children) and time.monotonic() < end:
        for child in children:
            if child not in codes and os.waitpid(child, os.WNOHANG)[0]:
                codes[child] = 0
                said = folder / f"said-{children.index(child)}"
                if not (said.is_file() and said.read_text(encoding="utf-8").startswith("ok")):
                    end = min(end, time.monotonic() + GRACE)
        time.sleep(0.05)
    for child in children:
        if child not in codes:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            codes[child] = None
    return [codes[child] for child in children]


def said(folder: Path, number: int, code: int | None) -> str:
    """What a rank said, or how it ended without a word."""
    word = folder / f"said-{number}"
    if word.is_file():
        return word.read_text(encoding="utf-8")
    lines = (folder / f"log-{number}").read_text(encoding="utf-8", errors="replace").splitlines() or ["nothing printed"]
    return f"no outcome ({'ended after waiting' if code is None else 'died'}): {lines[-1][-200:]}"


def outcome(run: Callable[[str], str], mode: str, ranks: int, seconds: float) -> str:
    """What the ranks said: once where they agree."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="lorachk-case-") as name:
        folder = Path(name)
        children = [rank(run, mode, number, ranks, port, folder) for number in range(ranks)]
        codes = wait(children, folder, seconds)
        words = [said(folder, number, code) for number, code in enumerate(codes)]
        if os.environ.get("LORACHK_VERSIONS_LOGS"):
            for number in range(ranks):
                sys.stderr.write((folder / f"log-{number}").read_text(encoding="utf-8", errors="replace"))
    if all(word.startswith("ok") for word in words):
        return max(words, key=len)  # what rank 0 has to add
    return words[0] if len(set(words)) == 1 else " | ".join(f"rank {n}: {w}" for n, w in enumerate(words))


def main(worker: str, modes: list[str]) -> None:
    """Import the worker and run its modes."""
    module = importlib.import_module(worker)
    spare_the_compiler()
    versions = " ".join(f"{name} {importlib.import_module(name).__version__}" for name in LIBRARIES)
    print(f"VERSIONS\t{versions}", flush=True)
    for item in modes:
        ranks, seconds, mode = item.split(":")
        start = time.monotonic()
        seen = outcome(module.run, mode, int(ranks), float(seconds))
        print(f"OUTCOME\t{mode}\t{time.monotonic() - start:.0f}\t{' '.join(seen.split())}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
