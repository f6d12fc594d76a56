"""Run the failures that depend on a library's version against those versions, on CPU ranks.

    python benchmarks/versions/verify.py            # everything below, about a minute each on a machine at rest
    python benchmarks/versions/verify.py Z114 Z101  # the cases of these rules
    python benchmarks/versions/verify.py 0.18.9     # those with this version in their environment

Each set of versions gets a bare virtual environment that borrows everything else from the one this runs in, so that all
but the named versions are the same. Exit code 1 when a version does not do what rules/ says of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SECONDS = 400  # a run that takes longer hangs
BUILDING = 1800  # seconds for the first, which compiles; one that is cut off leaves a lock that the others wait for
CHECKPOINT_ERROR = "different metadata"
READY_TWICE = "mark a variable ready only once"
NO_SYNC = "no_sync context manager is incompatible"
NO_DEVICE_MAP = "DeepSpeed Zero-3 is not compatible with"
OUT_OF_STEP = "Connection reset by peer"  # the other rank's gloo met a message of another size and aborted
HANGS = "no outcome"


class Case(NamedTuple):
    """A rule, what to run (a mode of worker.py or bare.py), how it must end, and versions besides those installed."""

    rule: str
    mode: str
    outcome: str
    versions: tuple[str, ...] = ()


def _deepspeed(version: str) -> tuple[str, ...]:
    return (f"deepspeed=={version}",)


def _transformers(version: str, tokenizers: str, accelerate: str) -> tuple[str, ...]:
    """An older transformers with what it needs of its time."""
    pins = {"transformers": version, "tokenizers": tokenizers, "huggingface_hub": "0.26.5", "accelerate": accelerate}
    return (*(f"{name}=={pin}" for name, pin in pins.items()), "requests", "urllib3", "idna", "charset-normalizer")


CASES = (
    # VLM-R1 pins 0.15.4, Qwen-VL-Series-Finetune 0.17.5; 0.19.2 is the last that fails
    *(Case("Z101", "zero3-plain", CHECKPOINT_ERROR, _deepspeed(v)) for v in ("0.15.4", "0.17.5", "0.18.9", "0.19.2")),
    *(Case("Z101", "zero3-reentrant", "ok", _deepspeed(v)) for v in ("0.17.5", "0.18.9")),
    Case("Z101", "zero3-plain", "ok", _deepspeed("0.19.3")),
    *(Case("Z101", mode, "ok") for mode in ("zero3-plain", "zero3-reentrant")),
    Case("L101", "ddp-reentrant", READY_TWICE),
    *(Case("L101", mode, "ok") for mode in ("ddp-plain", "ddp-reentrant-nofind")),
    Case("Z114", "zero2-accumulate", NO_SYNC, _transformers("4.44.2", "0.19.1", "1.0.1")),
    Case("Z114", "zero2-once", "ok", _transformers("4.44.2", "0.19.1", "1.0.1")),
    Case("Z114", "zero2-accumulate", "ok", _transformers("4.44.2", "0.19.1", "1.9.0")),
    Case("Z114", "zero3-accumulate", NO_SYNC, _transformers("4.46.1", "0.20.3", "1.0.1")),
    Case("Z114", "zero2-accumulate", NO_SYNC, _transformers("4.47.0", "0.21.4", "1.2.1")),
    Case("Z114", "zero2-accumulate", "ok", _transformers("4.47.1", "0.21.4", "1.2.1")),
    Case("Z114", "zero2-accumulate", "ok"),
    Case("Z111", "zero3-device-map", NO_DEVICE_MAP),
    Case("Z111", "zero3-low-cpu", "ok"),
    Case("Z111", "zero3-low-cpu", NO_DEVICE_MAP, _transformers("4.44.2", "0.19.1", "1.0.1")),
    Case("Z217", "zero3-saved-whole", "AssertionError"),
    Case("Z217", "zero3-saved-whole-fp32", "AssertionError"),
    Case("Z217", "zero3-saved-whole-nocast", "ok"),
    Case("Z217", "zero2-saved-whole", "ok"),
    Case("Z115", "zero3-mixed", OUT_OF_STEP),
    Case("Z115", "zero3-images", "ok"),
    *(Case("Z116", mode, OUT_OF_STEP) for mode in ("zero2-mixed-trained", "zero1-mixed-trained")),
    *(Case("Z116", mode, "ok") for mode in ("zero2-mixed-frozen", "ddp-mixed-trained")),
    Case("Z116", "ddp-mixed-trained-nofind", HANGS),
    Case("Z118", "zero3-resize", "ok"),
    Case("Z112", "zero2-optimizer-only", "ok"),
    *(
        Case("Z105", mode, "TypeError")
        for mode in ("auto-batch", "auto-train-batch", "auto-steps", "auto-clipping", "auto-clipping-zero2", "auto-lr")
    ),
    Case("Z105", "auto-scheduler", "must be a positive integer"),
    Case("Z105", "numbers", "ok"),
    Case("Z231", "auto-bucket", "bucket=500000000"),
    Case("Z231", "auto-precision", "bf16=False"),
    Case("Z109", "client-offload", "ZeRO-Offload with a client provided optimizer"),
    Case("Z109", "client-offload-unforced", "ok"),
)


def environment(folder: Path, versions: tuple[str, ...]) -> Path:
    """A Python with these versions and otherwise the packages of the running one."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    mine = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "borrowed.pth").write_text(mine + "\n", encoding="utf-8")
    install: list[str | Path] = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "setuptools<80", "wheel"], check=True)
    subprocess.run(
        [*install, "--no-deps", "--no-build-isolation", *versions], check=True, env=os.environ | {"DS_BUILD_OPS": "0"}
    )
    return python


def outcome(python: Path, case: Case, extensions: Path, ranks: int = 2, seconds: float = SECONDS) -> str:
    """The worker's line about how the first steps ended."""
    worker = "worker.py" if case.mode.startswith(("zero", "ddp")) else "bare.py"
    ranks = ranks if worker == "worker.py" else 1
    command: list[str | Path] = [python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    with subprocess.Popen(
        [*command, HERE / worker, case.mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        | {"TORCH_EXTENSIONS_DIR": str(extensions)},
    ) as run:
        try:
            out, errors = run.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            run.terminate()  # torchrun ends its ranks
            out, errors = run.communicate()
    lines = [line for line in out.splitlines() if "OUTCOME " in line]
    return lines[0] if lines else f"{HANGS} of {case.mode}: {errors[-300:]}"


def holds(case: Case, seen: str) -> bool:
    """Whether a run ended as the case says."""
    return seen.partition(f" {case.mode}: ")[2].startswith("ok") if case.outcome == "ok" else case.outcome in seen


def main(chosen: list[str]) -> int:
    """Compare every outcome with what is expected; prints one line each."""
    cases = [c for c in CASES if not chosen or any(x == c.rule or x in " ".join(c.versions) for x in chosen)]
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="lorachk-versions-") as name:
        for number, versions in enumerate(dict.fromkeys(case.versions for case in cases)):
            folder = Path(name) / str(number)
            python = environment(folder, versions) if versions else Path(sys.executable)
            built = Path(name) / f"extensions-{number}"
            # one rank builds DeepSpeed's extensions; two at once wait for each other's lock
            outcome(python, Case("", "zero2-once", "ok"), built, ranks=1, seconds=BUILDING)
            for case in (case for case in cases if case.versions == versions):
                seen = outcome(python, case, built)
                wrong += not holds(case, seen)
                print(f"{case.rule} {'as expected' if holds(case, seen) else 'NOT as expected'}: {seen}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
