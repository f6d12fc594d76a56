"""Run the failures that depend on a library's version against those versions, on two CPU ranks.

    python benchmarks/versions/verify.py            # every version below, a minute each
    python benchmarks/versions/verify.py 0.18.9     # one

Each DeepSpeed gets a bare virtual environment that borrows everything else from the one this runs in, so that torch,
transformers and peft are the same for all. Exit code 1 when a version does not do what rules/ says of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
CHECKPOINT_ERROR = "different metadata"
READY_TWICE = "mark a variable ready only once"

# DeepSpeed version -> mode of worker.py -> text of the outcome
EXPECTED = {
    "0.15.4": {"zero3-plain": CHECKPOINT_ERROR},  # Z101: what VLM-R1 pins
    "0.17.5": {"zero3-plain": CHECKPOINT_ERROR, "zero3-reentrant": "ok"},  # Z101: what Qwen-VL-Series-Finetune pins
    "0.18.9": {"zero3-plain": CHECKPOINT_ERROR, "zero3-reentrant": "ok"},  # Z101
    "0.19.2": {"zero3-plain": CHECKPOINT_ERROR},  # Z101: the last one that fails
    "0.19.3": {"zero3-plain": "ok"},  # Z101: the first one that does not
    "0.19.8": {"zero3-plain": "ok", "zero3-reentrant": "ok"},  # Z101
}
# the DDP failure does not depend on DeepSpeed: the installed stack alone
INSTALLED = {"ddp-reentrant": READY_TWICE, "ddp-plain": "ok", "ddp-reentrant-nofind": "ok"}  # L101


def environment(folder: Path, version: str) -> Path:
    """A Python with this DeepSpeed and otherwise the packages of the running one."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    mine = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "borrowed.pth").write_text(mine + "\n", encoding="utf-8")
    install = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "setuptools<80", "wheel"], check=True)
    subprocess.run(
        [*install, "--no-deps", "--no-build-isolation", f"deepspeed=={version}"],
        check=True,
        env=os.environ | {"DS_BUILD_OPS": "0"},
    )
    return python


def outcome(python: Path, mode: str, extensions: Path, ranks: int = 2) -> str:
    """The worker's line about how the first steps ended."""
    command = [python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks), WORKER, mode]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=os.environ
        | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        | {"TORCH_EXTENSIONS_DIR": str(extensions)},
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("OUTCOME ")]
    return lines[0] if lines else f"no outcome: {run.stderr[-300:]}"


def main(versions: list[str]) -> int:
    """Compare every outcome with what is expected; prints one line each."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="lorachk-versions-") as name:
        folder = Path(name)
        mine, built = Path(sys.executable), folder / "extensions-installed"
        cases = [(mine, mode, text, built) for mode, text in INSTALLED.items()] if not versions else []
        for version in versions or EXPECTED:
            python, built = environment(folder / version, version), folder / f"extensions-{version}"
            # one rank builds DeepSpeed's shared-memory extension; two at once wait for each other's lock
            outcome(python, "zero3-reentrant", built, ranks=1)
            cases += [(python, mode, text, built) for mode, text in EXPECTED[version].items()]
        for python, mode, text, built in cases:
            seen = outcome(python, mode, built)
            holds = seen.rpartition(": ")[2] == "ok" if text == "ok" else text in seen
            wrong += not holds
            print(f"{'as expected' if holds else 'NOT as expected'}: {seen}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
