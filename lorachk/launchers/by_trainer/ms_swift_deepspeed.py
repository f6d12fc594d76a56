"""The DeepSpeed configurations that ms-swift brings along: `--deepspeed zero2` and its like.

swift/config of modelscope/ms-swift@3602360, the same from 3.5 on; 2.6 and 3.0 (swift/llm/ds_config) also held an
optimizer and a scheduler, and overlapped communication.
"""

from __future__ import annotations

from typing import Any

_AUTO = ("gradient_accumulation_steps", "gradient_clipping", "train_batch_size", "train_micro_batch_size_per_gpu")
_FP16 = {
    "enabled": "auto",
    "loss_scale": 0,
    "loss_scale_window": 1000,
    "initial_scale_power": 16,
    "hysteresis": 2,
    "min_loss_scale": 1,
}
_OPTIMIZER = {"type": "AdamW", "params": dict.fromkeys(("lr", "betas", "eps", "weight_decay"), "auto")}
_SCHEDULER = {"type": "WarmupCosineLR", "params": dict.fromkeys(("total_num_steps", "warmup_num_steps"), "auto")}
_FLAT = {  # stages 0 to 2
    "allgather_partitions": True,
    "allgather_bucket_size": 2e8,
    "overlap_comm": False,
    "reduce_scatter": True,
    "reduce_bucket_size": 2e8,
    "contiguous_gradients": True,
}
_SHARDED = {  # stage 3
    "overlap_comm": False,
    "contiguous_gradients": True,
    "sub_group_size": 1e9,
    "reduce_bucket_size": "auto",
    "stage3_prefetch_bucket_size": "auto",
    "stage3_param_persistence_threshold": "auto",
    "stage3_max_live_parameters": 1e9,
    "stage3_max_reuse_distance": 1e9,
    "stage3_gather_16bit_weights_on_model_save": True,
}
_ZERO_PLUS_PLUS = {"zero_quantized_weights": False, "zero_quantized_gradients": False}

# name: stage, where the optimizer goes, where the parameters go
_PRESETS = {
    "zero0": (0, None, None),
    "zero1": (1, "none", None),
    "zero2": (2, "none", None),
    "zero3": (3, "none", "none"),
    "zero2_offload": (2, "cpu", None),
    "zero3_offload": (3, "cpu", "cpu"),
}
# names of ms-swift 2; its zero3-offload left the optimizer on the GPU
_OLD = {
    "default-zero2": (2, "none", None),
    "default-zero3": (3, "none", "none"),
    "zero2-offload": (2, "cpu", None),
    "zero3-offload": (3, "none", "cpu"),
}
NAMES = (*_PRESETS, *_OLD)


def preset(name: str) -> dict[str, Any] | None:
    """The configuration behind a name, a new object on every call; None for what is no name of ms-swift's."""
    old = name in _OLD
    if not old and name not in _PRESETS:
        return None
    stage, optimizer, parameters = (_OLD if old else _PRESETS)[name]
    zero: dict[str, Any] = {"stage": stage}
    for key, device in (("offload_optimizer", optimizer), ("offload_param", parameters)):
        if device is not None:
            zero[key] = {"device": device, "pin_memory": True}
    zero |= _SHARDED if stage == 3 else _FLAT
    if name == "zero3":
        zero |= _ZERO_PLUS_PLUS
    found: dict[str, Any] = {"fp16": dict(_FP16), "bf16": {"enabled": "auto"}}
    if old:
        zero["overlap_comm"] = True
        found |= {"optimizer": _OPTIMIZER | {}, "scheduler": _SCHEDULER | {}}
    return found | {
        "zero_optimization": zero,
        **dict.fromkeys(_AUTO, "auto"),
        "steps_per_print": 2000,
        "wall_clock_breakdown": False,
    }
