"""What rules/ says of library versions: each case is a run of two steps and how it must end."""

from __future__ import annotations

from typing import NamedTuple

CHECKPOINT_ERROR = "different metadata"
READY_TWICE = "mark a variable ready only once"
NO_SYNC = "no_sync context manager is incompatible"
NO_DEVICE_MAP = "DeepSpeed Zero-3 is not compatible with"
OUT_OF_STEP = "Connection reset by peer"  # the other rank's gloo met a message of another size and aborted
HANGS = "no outcome"


class Case(NamedTuple):
    """A rule, the worker and its mode, how the run must end, and versions besides those installed."""

    rule: str
    worker: str  # a module of this folder
    mode: str
    outcome: str  # `ok`, or words of what it says
    versions: tuple[str, ...] = ()
    ranks: int = 2
    seconds: int = 150  # after which a run counts as hanging

    def holds(self, seen: str) -> bool:
        """Whether a run ended as the case says."""
        return seen == "ok" or seen.startswith("ok ") if self.outcome == "ok" else self.outcome in seen


def _deepspeed(version: str) -> tuple[str, ...]:
    return (f"deepspeed=={version}",)


def _transformers(version: str, tokenizers: str, accelerate: str, hub: str = "0.26.5", *more: str) -> tuple[str, ...]:
    """An older transformers with what it needs of its time."""
    pins = {"transformers": version, "tokenizers": tokenizers, "huggingface_hub": hub, "accelerate": accelerate}
    # transformers 5's hub asks with httpx; the older one wants these
    asking = ("requests", "urllib3", "idna", "charset-normalizer", "certifi")
    return (*(f"{name}=={pin}" for name, pin in pins.items()), *asking, *more)


_4_44 = _transformers("4.44.2", "0.19.1", "1.0.1")
_4_57 = _transformers("4.57.6", "0.22.2", "1.12.0", "0.36.0", "peft==0.18.0")


def _z112(version: str, tokenizers: str) -> tuple[str, ...]:
    """A transformers of 2023; accelerate of its time does not run with DeepSpeed on a CPU."""
    return _transformers(version, tokenizers, "0.34.2", "0.26.5", "numpy==1.26.4", "peft==0.5.0")


def _peft(version: str) -> tuple[str, ...]:
    """An older PEFT, with a transformers of its time."""
    if version.startswith("0.15"):
        return _transformers("4.51.3", "0.21.4", "1.6.0", "0.30.2", f"peft=={version}")
    return (*_4_44, f"peft=={version}")


CASES = (
    # VLM-R1 pins 0.15.4, Qwen-VL-Series-Finetune 0.17.5; 0.19.2 is the last that fails
    *(
        Case("Z101", "worker", "zero3-plain", CHECKPOINT_ERROR, _deepspeed(v))
        for v in ("0.15.4", "0.17.5", "0.18.9", "0.19.2")
    ),
    *(Case("Z101", "worker", "zero3-reentrant", "ok", _deepspeed(v)) for v in ("0.17.5", "0.18.9")),
    Case("Z101", "worker", "zero3-plain", "ok", _deepspeed("0.19.3")),
    *(Case("Z101", "worker", mode, "ok") for mode in ("zero3-plain", "zero3-reentrant")),
    Case("L101", "worker", "ddp-reentrant", READY_TWICE),
    *(Case("L101", "worker", mode, "ok") for mode in ("ddp-plain", "ddp-reentrant-nofind")),
    Case("Z114", "worker", "zero2-accumulate", NO_SYNC, _4_44),
    Case("Z114", "worker", "zero2-once", "ok", _4_44),
    Case("Z114", "worker", "zero2-accumulate", "ok", _transformers("4.44.2", "0.19.1", "1.9.0")),
    Case("Z114", "worker", "zero3-accumulate", NO_SYNC, _transformers("4.46.1", "0.20.3", "1.0.1")),
    Case("Z114", "worker", "zero2-accumulate", NO_SYNC, _transformers("4.47.0", "0.21.4", "1.2.1")),
    Case("Z114", "worker", "zero2-accumulate", "ok", _transformers("4.47.1", "0.21.4", "1.2.1")),
    Case("Z114", "worker", "zero2-accumulate", "ok"),
    Case("Z111", "worker", "zero3-device-map", NO_DEVICE_MAP),
    Case("Z111", "worker", "zero3-low-cpu", "ok"),
    Case("Z111", "worker", "zero3-low-cpu", NO_DEVICE_MAP, _4_44),
    Case("Z217", "worker", "zero3-saved-whole", "AssertionError"),
    Case("Z217", "worker", "zero3-saved-whole-fp32", "AssertionError"),
    Case("Z217", "worker", "zero3-saved-whole-nocast", "ok"),
    Case("Z217", "worker", "zero2-saved-whole", "ok"),
    Case("Z115", "worker", "zero3-mixed", OUT_OF_STEP),
    Case("Z115", "worker", "zero3-images", "ok"),
    *(Case("Z116", "worker", mode, OUT_OF_STEP) for mode in ("zero2-mixed-trained", "zero1-mixed-trained")),
    *(Case("Z116", "worker", mode, "ok") for mode in ("zero2-mixed-frozen", "ddp-mixed-trained")),
    Case("Z116", "worker", "ddp-mixed-trained-nofind", HANGS, seconds=60),
    Case("Z118", "worker", "zero3-resize", "ok"),
    Case("Z112", "worker", "zero2-optimizer-only", "ok"),
    *(
        Case("Z105", "bare", mode, "TypeError", ranks=1)
        for mode in ("auto-batch", "auto-train-batch", "auto-steps", "auto-clipping", "auto-clipping-zero2", "auto-lr")
    ),
    Case("Z105", "bare", "auto-scheduler", "must be a positive integer", ranks=1),
    Case("Z105", "bare", "numbers", "ok", ranks=1),
    Case("Z231", "bare", "auto-bucket", "bucket=500000000", ranks=1),
    Case("Z231", "bare", "auto-precision", "bf16=False", ranks=1),
    Case("Z109", "bare", "client-offload", "ZeRO-Offload with a client provided optimizer", ranks=1),
    Case("Z109", "bare", "client-offload-unforced", "ok", ranks=1),
    *(Case("Z217", "worker", "zero3-saved-whole", "AssertionError", _deepspeed(v)) for v in ("0.19.2", "0.19.3")),
    Case("Z217", "worker", "zero3-saved-whole", "ok", _deepspeed("0.15.4")),
    *(
        Case("Z220", "worker", "zero3-saved-whole-nocast", "ds_grads_remaining", _deepspeed(v))
        for v in ("0.17.5", "0.18.9", "0.19.2")
    ),
    Case("Z220", "worker", "zero3-saved-whole", "ds_grads_remaining", _deepspeed("0.18.9")),
    Case("Z220", "worker", "zero3-saved-whole-nocast", "ok", _deepspeed("0.19.3")),
    Case("Z217", "worker", "zero3-saved-whole", "AssertionError", _peft("0.12.0")),
    Case("Z217", "worker", "zero3-saved-whole", "ok", _peft("0.11.1")),
    *(
        Case("Z112", "worker", "zero2-optimizer-only", "but no `scheduler`", _z112(v, "0.13.3"))
        for v in ("4.30.0", "4.33.2")
    ),
    Case("Z112", "worker", "zero2-optimizer-only", "ok", _z112("4.33.3", "0.13.3")),
    Case("Z112", "worker", "zero2-optimizer-only", "ok", _z112("4.34.1", "0.14.1")),
    Case("K201", "script_worker", "save-plain", "40 bytes, 0 tensors", _4_57),
    *(Case("K201", "script_worker", mode, "ok", _4_57) for mode in ("save-gather", "save-gather-modules")),
    *(Case("K201", "script_worker", mode, "ok") for mode in ("save-plain", "save-plain-modules", "save-gather")),
    Case("K102", "script_worker", "save-gather-modules", "1 empty", _peft("0.15.0")),
    Case("K102", "script_worker", "save-gather", "ok", _peft("0.15.0")),
    Case("K102", "script_worker", "save-gather-modules", "ok", _peft("0.15.1")),
    Case("K107", "script_worker", "merge-zero3", "RuntimeError"),
    Case("K107", "script_worker", "merge-zero3-all", "the adapter is lost"),
    *(Case("K107", "script_worker", mode, "ok") for mode in ("merge-zero2", "merge-zero3-gathered")),
    *(
        Case("K202", "loop_worker", f"{loop}-zero3-{what}", "are empty")
        for loop in ("deepspeed", "accelerate")
        for what in ("lora", "whole")
    ),
    *(Case("K202", "loop_worker", f"accelerate-zero3-{what}", "are empty", _4_57) for what in ("lora", "whole")),
    *(Case("K202", "loop_worker", f"accelerate-zero3-{what}-main", "are empty") for what in ("lora", "whole")),
    *(
        Case("K202", "loop_worker", f"{loop}-{how}", "ok")
        for loop in ("deepspeed", "accelerate")
        for how in ("zero2-lora", "zero3-lora-gathered", "zero3-whole-gathered")
    ),
    *(Case("L102", "worker", f"ddp-adalora-{mode}", READY_TWICE) for mode in ("reentrant", "reentrant-nofind")),
    *(
        Case("L102", "worker", f"ddp-adalora{mode}", "ok")
        for mode in ("", "-plain", "-plain-nofind", "-taskless-nofind")
    ),
    *(Case("L101", "worker", f"ddp-{method}-reentrant", READY_TWICE) for method in ("loha", "ia3")),
    Case("L101", "worker", "ddp-loha-reentrant-nofind", "ok"),
    Case("G111", "script_worker", "bypass-ddp", "ranks differ"),
    Case("G111", "script_worker", "argument-ddp", "ok"),
    *(Case("L107", "script_worker", mode, "TypeError") for mode in ("signature", "step-signature")),
    *(Case("Z120", "worker", "zero3-large-bucket", "ok", _deepspeed(v)) for v in ("0.14.5", "0.15.4")),  # older: no CPU
    Case("Z120", "worker", "zero3-large-bucket", "ok"),
)
