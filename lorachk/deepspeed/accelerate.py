"""What accelerate does to the DeepSpeed configuration, before and after transformers.

A copy in small of `DeepSpeedPlugin` (accelerate/utils/dataclasses.py) and of `Accelerator._prepare_deepspeed`. Read in
0.26.1 to 1.15.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorachk.deepspeed.trainer import BUCKETS, Sizes
from lorachk.deepspeed.tree import Path, Tree, dotted, leaves, path_of
from lorachk.launchers.values import Unknown

_NO_ZERO = "ValueError: Please specify the ZeRO optimization config in the DeepSpeed config."
_NO_SIZE = (
    "ValueError: Can find neither `model.config.hidden_size` nor `model.config.hidden_sizes`, therefore it's not "
    "possible to automatically fill out the following `auto` entries in the DeepSpeed config file: {}. You can fix "
    "that by replacing `auto` values for these keys with an integer value of your choice."
)
_LEFT = (
    "ValueError: `{0}` not found in kwargs. Please specify `{0}` without `auto` (set to correct value) in the "
    "DeepSpeed config file or pass it in kwargs."
)
_MIXED = "ValueError: `--mixed_precision` arg cannot be set to `{}` when `{}` is set in the DeepSpeed config file."
# fields of accelerate's own YAML -> the value of the DeepSpeed file they stand for, and their default
FIELDS: dict[str, tuple[str, Any]] = {
    "gradient_accumulation_steps": ("gradient_accumulation_steps", "auto"),
    "gradient_clipping": ("gradient_clipping", "auto"),
    "zero_stage": ("zero_optimization.stage", 2),
    "offload_optimizer_device": ("zero_optimization.offload_optimizer.device", "none"),
    "offload_param_device": ("zero_optimization.offload_param.device", "none"),
    "offload_param_nvme_path": ("zero_optimization.offload_param.nvme_path", "none"),
    "offload_optimizer_nvme_path": ("zero_optimization.offload_optimizer.nvme_path", "none"),
    "zero3_save_16bit_model": ("zero_optimization.stage3_gather_16bit_weights_on_model_save", False),
}


def plugin(tree: Tree, fields: Mapping[str, Any]) -> bool:
    """`DeepSpeedPlugin.__post_init__` with a file; whether it gets through. `fields`: accelerate's YAML or flags."""
    if "gradient_accumulation_steps" not in tree.config:
        tree.put(("gradient_accumulation_steps",), 1, "accelerate")
    if "zero_optimization" not in tree.config:
        tree.refuse(("zero_optimization",), "accelerate", _NO_ZERO)
        return False
    for name, (key, default) in FIELDS.items():
        tree.fill(path_of(key), fields.get(name, default), "accelerate")
    tree.put(("steps_per_print",), float("inf"), "accelerate")
    return True


def without_file(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that accelerate writes on its own from its YAML or flags."""
    values = {name: fields.get(name, default) for name, (_, default) in FIELDS.items()}
    sides = {}
    for side in ("optimizer", "param"):
        device = values[f"offload_{side}_device"]
        path = values[f"offload_{side}_nvme_path"] if device == "nvme" else None
        sides[f"offload_{side}"] = {"device": device, "nvme_path": path}
    zero = {
        "stage": values["zero_stage"],
        **sides,
        "stage3_gather_16bit_weights_on_model_save": values["zero3_save_16bit_model"],
    }
    config = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": values["gradient_accumulation_steps"],
        "zero_optimization": zero,
    }
    if values["gradient_clipping"]:
        config["gradient_clipping"] = values["gradient_clipping"]
    return config


def precision(tree: Tree, mixed: Any) -> None:
    """`set_mixed_precision` with no, fp16, bf16 or fp8: blocks that are absent are added."""
    if isinstance(mixed, Unknown):
        for block in ("fp16", "bf16"):
            if block not in tree.config:
                tree.config[block] = {}
                tree.put((block, "enabled"), mixed, "accelerate")
        return
    brain = mixed in ("bf16", "fp8")
    if mixed == "fp16" and "fp16" not in tree.config:
        tree.config["fp16"] = {}
        tree.put(("fp16", "enabled"), True, "accelerate")
        tree.put(("fp16", "auto_cast"), True, "accelerate")
    elif brain and "bf16" not in tree.config:
        tree.config["bf16"] = {}
        tree.put(("bf16", "enabled"), True, "accelerate")
    if mixed != "no":
        other = "bf16" if mixed == "fp16" else "fp16"
        if str(tree.get((other, "enabled"))).lower() == "true":
            tree.refuse((other, "enabled"), "accelerate", _MIXED.format(mixed, other))
    for block in ("fp16", "bf16"):
        if block not in tree.config:
            tree.config[block] = {}
            tree.put((block, "enabled"), False, "accelerate")
    tree.fill(("fp16", "enabled"), mixed == "fp16", "accelerate")
    tree.fill(("bf16", "enabled"), brain, "accelerate")


def prepare(tree: Tree, sizes: Sizes) -> None:
    """`_prepare_deepspeed` after the Trainer: what is still `auto` is filled in or refused."""
    if "optimizer" not in tree.config:
        tree.put(("zero_allow_untested_optimizer",), True, "transformers")
    autos = [name for name in BUCKETS if tree.is_auto(path_of(name))]
    filled: dict[Path, Any] = {}
    if autos and sizes.own is None:
        tree.refuse(path_of(autos[0]), "accelerate", _NO_SIZE.format(autos))
    elif autos:
        size = sizes.own
        lost = size if isinstance(size, Unknown) else None
        assert isinstance(size, int) or lost
        products = (size * size, int(0.9 * size * size), 10 * size) if isinstance(size, int) else (lost, lost, lost)
        filled = {path_of(name): value for name, value in zip(BUCKETS, products, strict=True)}
    for path, value in list(leaves(tree.config)):
        if value != "auto":
            continue
        if path in filled:
            tree.put(path, filled[path], "accelerate")
        elif dotted(path) not in autos:  # refused above
            tree.refuse(path, "accelerate", _LEFT.format(dotted(path)))
