"""The files of `axolotl fetch deepspeed_configs`, for a configuration that names one which is not here.

deepspeed_configs/ of axolotl-ai-cloud/axolotl@067b021.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

_AUTO = ("gradient_accumulation_steps", "gradient_clipping", "train_batch_size", "train_micro_batch_size_per_gpu")
_FP16 = {
    "enabled": "auto",
    "auto_cast": False,
    "loss_scale": 0,
    "initial_scale_power": 32,
    "loss_scale_window": 1000,
    "hysteresis": 2,
    "min_loss_scale": 1,
}
_CPU = {"device": "cpu"}
_PINNED = {"device": "cpu", "pin_memory": True}
_STAGE3: dict[str, Any] = {
    "stage": 3,
    "overlap_comm": True,
    "contiguous_gradients": True,
    "sub_group_size": 0,
    "reduce_bucket_size": "auto",
    "stage3_prefetch_bucket_size": "auto",
    "stage3_param_persistence_threshold": "auto",
    "max_live_parameters": 0,
    "max_reuse_distance": 0,
    "gather_16bit_weights_on_model_save": True,
}
_COMPILED = {"compile": {"disable": False, "backend": "inductor"}}
_UNTESTED = {"zero_force_ds_cpu_optimizer": False, "zero_allow_untested_optimizer": True}
_ZERO1: dict[str, Any] = {"stage": 1, "overlap_comm": True}
_ZERO2: dict[str, Any] = {"stage": 2, "offload_optimizer": _CPU, "contiguous_gradients": True, "overlap_comm": True}

# name: zero_optimization, whether bf16 is fixed, what else stands in the file
_FILES: dict[str, tuple[dict[str, Any], bool, dict[str, Any]]] = {
    "zero1": (_ZERO1, False, {}),
    "zero1_torch_compile": (_ZERO1, False, _COMPILED),
    "zero2": (_ZERO2, False, {}),
    "zero2_torch_compile": (_ZERO2, False, _COMPILED),
    "zero3": (_STAGE3, False, {}),
    "zero3_bf16": (_STAGE3, True, {}),
    "zero3_bf16_cpuoffload_all": (_STAGE3 | {"offload_optimizer": _PINNED, "offload_param": _PINNED}, True, _UNTESTED),
    "zero3_bf16_cpuoffload_params": (_STAGE3 | {"offload_param": _PINNED}, True, _UNTESTED),
}
NAMES = tuple(_FILES)


def shipped(path: str) -> dict[str, Any] | None:
    """What `deepspeed_configs/NAME.json` holds, a new object on every call; None for any other path."""
    named = PurePosixPath(path.removeprefix("./"))
    if named.parent.name != "deepspeed_configs" or named.suffix != ".json" or named.stem not in _FILES:
        return None
    zero, bf16, more = _FILES[named.stem]
    return {
        **more,
        "zero_optimization": dict(zero),
        "bf16": {"enabled": True if bf16 else "auto"},
        **({} if bf16 else {"fp16": dict(_FP16)}),
        **dict.fromkeys(_AUTO, "auto"),
        "wall_clock_breakdown": False,
    }
