"""One rank of a rehearsal: `torchrun ... -m lorachk.rehearsal.worker plan.json`.

Trains the plan's steps through transformers' Trainer (and so through accelerate and DeepSpeed, as the user's run will),
and reports rows. What is measured stands in `probe`.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from lorachk.children import die_with_parent
from lorachk.rehearsal.plan import Plan
from lorachk.rehearsal.rows import Rows

_NO_GRADIENT = "does not require grad and does not have a grad_fn"


def main() -> int:
    """Run the rank; 0 when every phase was completed, 1 after an error (which is a row)."""
    die_with_parent()
    plan = Plan.load(sys.argv[1])
    rank = int(os.environ.get("RANK", "0"))
    rows = Rows(plan.folder, f"rank{rank}")
    _tell_where(plan, rank)
    rows.add("started", rank=rank, pid=os.getpid())
    progress = {"phase": "build"}
    try:
        _run(plan, rank, rows, progress)
    # Whatever a library raises is what the rehearsal is there to see.
    except Exception as error:
        rows.add(
            "error",
            rank=rank,
            type=type(error).__name__,
            text=_text(error),
            phase=progress["phase"],
            no_gradient=_NO_GRADIENT in str(error),
        )
        traceback.print_exc()
        # Not a normal exit: tearing the process group down would wait for the other ranks.
        sys.stderr.flush()
        os._exit(1)
    rows.add("finished", rank=rank)
    return 0


def _run(plan: Plan, rank: int, rows: Rows, progress: dict[str, str]) -> None:
    import torch

    from lorachk.rehearsal.build import add_adapter, load_base, prepare_base, training_arguments
    from lorachk.rehearsal.probe import RehearsalTrainer, snapshot, write_updates
    from lorachk.rehearsal.roundtrip import check_saved

    rows.add("versions", text=_versions())
    if plan.deepspeed and plan.device == "cpu":
        _join_ranks()
    # Before the model: under ZeRO-3 from_pretrained partitions because these arguments exist.
    args = training_arguments(plan)
    batches = torch.load(Path(plan.folder) / "batches.pt", weights_only=True)
    model = load_base(plan)
    architecture = type(model).__name__
    model = add_adapter(prepare_base(model, plan), plan)
    sizes = [(p.requires_grad, int(getattr(p, "ds_numel", p.numel()))) for p in model.parameters()]
    rows.add(
        "model",
        architecture=architecture,
        parameters=sum(n for _, n in sizes),
        trainable=sum(n for trained, n in sizes if trained),
    )
    trainer = RehearsalTrainer(model, args, batches, plan, rank, rows, progress)
    trainer.train()
    progress["phase"] = "save"
    after = snapshot(trainer)
    if rank == 0:
        write_updates(rows, trainer.before, after)
    folder = Path(plan.folder) / "adapter"
    trainer.save_model(str(folder))
    if rank == 0:
        progress["phase"] = "reload"
        check_saved(plan, after, folder, rows)


def _text(error: Exception) -> str:
    """The error in one line; what Python itself raises says little without the line that raised it."""
    text = " ".join(str(error).split())[:2000]
    if text and not isinstance(error, (AssertionError, AttributeError, LookupError, TypeError)):
        return text
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.line} ({Path(frame.filename).name}:{frame.lineno})"
    return f"{text}, at: {place}" if text else place


def _tell_where(plan: Plan, rank: int) -> None:
    """On SIGUSR1 write the stack to a file, so that a hang can be named."""
    import faulthandler
    import signal

    if hasattr(signal, "SIGUSR1"):
        file = (Path(plan.folder) / f"stack-rank {rank}").open("w", encoding="utf-8")
        faulthandler.register(signal.SIGUSR1, file=file, all_threads=False)


def _join_ranks() -> None:
    """Initialise DeepSpeed's communication over gloo, as accelerate does on a GPU before the model is built.

    Its shared-memory extension stays out: it would be compiled at first use (minutes, a C++ compiler), two ranks that
    compile it at once abort, and it computes the same, only faster.
    """
    import deepspeed.comm.torch as communication

    if hasattr(communication, "build_shm_op"):
        communication.build_shm_op = lambda: None
    import deepspeed

    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("torch", "transformers", "peft", "accelerate", "deepspeed"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # noqa: PERF203
            found.append(f"{name} not installed")
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
