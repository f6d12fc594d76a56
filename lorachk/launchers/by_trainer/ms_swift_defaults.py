"""What ms-swift does where nothing is said: its own defaults, and transformers' where it leaves them.

max_length stays unknown: it is the model's own limit then, which no record is expected to reach.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lorachk.families import family_of, is_vision
from lorachk.launchers.trainers import HF_DEFAULTS
from lorachk.launchers.values import as_bool
from lorachk.launchers.versions import at_least, default_optim, used

if TYPE_CHECKING:
    from lorachk.launchers.layers import Layers
    from lorachk.launchers.values import Found

# arguments/sft_args.py, arguments/tuner_args.py, trainers/arguments.py
_OWN: dict[str, Any] = {
    "use_lora": True,
    "per_device_train_batch_size": 1,
    "gradient_checkpointing": True,
    "weight_decay": 0.1,
    "adam_beta2": 0.95,
    "lr_scheduler_type": "cosine",
    "dataloader_num_workers": 1,
    "packing": False,
    "resize_vocab": False,
}
_LORA: dict[str, Any] = {
    "lora_r": 8,
    "lora_alpha": 32.0,
    "lora_dropout": 0.05,
    "lora_bias": "none",
    "use_rslora": False,
    "use_dora": False,
}
# ms-swift 2 (llm/utils/argument.py at v2.6.1); target modules are by model there
_OLD: dict[str, Any] = {
    "max_length": 2048,
    "num_train_epochs": 1.0,
    "max_steps": -1,
    "optim": "adamw_torch",
    "adam_beta1": 0.9,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "warmup_ratio": 0.05,
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "save_only_model": False,
}
_OLD_NAMES = {
    "sft_type",
    "model_id_or_path",
    "custom_train_dataset_path",
    "custom_val_dataset_path",
    "quantization_bit",
    "batch_size",
    "lora_target_modules",
    "lora_dropout_p",
    "template_type",
    "dataset_test_ratio",
    "eval_batch_size",
}
_ACCUMULATED = 16  # records per optimizer step that gradient_accumulation_steps is chosen for


def fill(layers: Layers, given: dict[str, Found], environment: dict[str, str]) -> None:
    """Fill what nothing stated."""
    old = bool(_OLD_NAMES & given.keys())
    version = used("ms-swift", environment)
    why = "default of ms-swift 2" if old else f"default of ms-swift {version}" if version else "default of ms-swift"
    for name, value in {**_OWN, **(_OLD if old else {})}.items():
        layers.derive(name, value, why=why)
    if layers.get("use_lora"):
        for name, value in _LORA.items():
            layers.derive(name, value, why=why)
        if not old:
            layers.derive("target_modules", ["all-linear"], why=why)
            layers.derive("target_regex", False, why=why)
    if layers.knows("use_lora"):
        full = layers.get("use_lora") is False and layers.get("peft_type") is None
        layers.derive("learning_rate", 1e-5 if full else 1e-4, why=why)
    _tuned(layers, why, old=old)
    _loading(layers, why)
    _ranks(layers, given, why, environment, old=old)
    if not old:
        _transformers(layers, given, environment, why)


def _tuned(layers: Layers, why: str, *, old: bool) -> None:
    """The freeze flags of models that take images; with LoRA they say where all-linear goes."""
    family = family_of(layers.get("model_type"), layers.get("architecture"), layers.get("model"))
    targets = layers.get("target_modules")
    if old or not is_vision(family) or (layers.get("use_lora") and targets and "all-linear" not in targets):
        return
    for field, frozen in (("tune_llm", False), ("tune_vision", True), ("tune_projector", True)):
        layers.derive(field, not frozen, why=why)
    if layers.get("use_lora") is False and layers.get("tune_projector") is False:
        layers.derive("frozen_parameters", True, why=why)


def _loading(layers: Layers, why: str) -> None:
    """The dtype of the weights decides the mixed precision (base_args/model_args.py, _init_mixed_precision)."""
    checkpoint = layers.get("checkpoint_dtype")
    layers.derive("load_dtype", checkpoint, layers.origins.get("checkpoint_dtype"))
    dtype = layers.get("load_dtype")
    if dtype in ("bfloat16", "float16", "float32"):
        layers.derive("bf16", dtype == "bfloat16", why=f"ms-swift: the weights are {dtype}")
        layers.derive("fp16", dtype != "bfloat16", why=f"ms-swift: the weights are {dtype}")
    for name in ("load_in_4bit", "load_in_8bit"):
        layers.derive(name, False, why=why)
    if layers.get("load_in_4bit") and dtype is not None:
        computed = "bfloat16" if dtype == "bfloat16" else "float32"
        layers.derive("bnb_4bit_compute_dtype", computed, why=f"ms-swift: the weights are {dtype}")


def _ranks(layers: Layers, given: dict[str, Found], why: str, environment: dict[str, str], *, old: bool) -> None:
    """Accumulation, checkpointing: both depend on how many ranks there are."""
    gpus, nodes = layers.get("num_gpus"), layers.get("num_nodes")
    if nodes is None and "num_nodes" not in layers.unknown:
        nodes = 1
    world = gpus * nodes if gpus and nodes else None
    micro = layers.get("per_device_train_batch_size")
    kind = given.get("rlhf_type")
    if kind is not None and kind.value == "grpo":
        layers.derive("gradient_accumulation_steps", 1, why=why)
    elif world and micro:
        steps = max(1, math.ceil(_ACCUMULATED / micro / world))
        layers.derive("gradient_accumulation_steps", steps, why=f"ms-swift: {_ACCUMULATED} records per step")
    checkpointing = layers.get("gradient_checkpointing")
    layers.derive("input_require_grads", checkpointing, why="ms-swift: with gradient_checkpointing")
    given_kwargs = given.get("gradient_checkpointing_kwargs")
    if old or (given_kwargs is not None and given_kwargs.value):
        return  # derive.py reads them; ms-swift 2 left it to the model's code
    if at_least(used("ms-swift", environment), "3.6.0") is False:
        layers.derive("use_reentrant", True, why=why)
    elif "deepspeed" in layers.unknown or not (world or layers.get("deepspeed") or layers.get("fsdp")):
        return
    else:  # mixin.py, _fix_gradient_checkpointing
        sharded = bool(layers.get("deepspeed") or layers.get("fsdp") or layers.get("zero_stage"))
        started = bool(world and world > 1) or "num_gpus" in layers.origins
        layers.derive("use_reentrant", sharded or not started, why=f"{why}: false under DDP alone")


def _transformers(layers: Layers, given: dict[str, Found], environment: dict[str, str], why: str) -> None:
    """TrainingArguments' defaults, where ms-swift does not change them."""
    version = used("transformers", environment)
    theirs = f"default of transformers {version}" if version else "default of transformers"
    _evaluation(layers, given, why, environment)
    for name, value in HF_DEFAULTS.items():
        if name not in ("gradient_accumulation_steps", "eval_strategy", "fp16", "bf16"):
            layers.derive(name, value, why=theirs)
    layers.derive("optim", default_optim(version, used("torch", environment)), why=theirs)
    if layers.get("eval_strategy") == "steps":
        layers.derive("eval_steps", layers.get("save_steps"), layers.origins.get("save_steps"), why)


def _evaluation(layers: Layers, given: dict[str, Found], why: str, environment: dict[str, str]) -> None:
    """Without a dataset to evaluate on nothing is evaluated, whatever is asked for; else as often as is saved."""
    if at_least(used("ms-swift", environment), "3.6.0") is False and "split_dataset_ratio" not in given:
        kept = 0.01
    else:
        entry = given.get("split_dataset_ratio")
        kept = entry.value if entry is not None and isinstance(entry.value, (int, float)) else 0.0
    named = {"val_dataset", "eval_dataset", "cached_val_dataset"} & given.keys()
    streamed = as_bool(given["streaming"].value) if "streaming" in given else False
    if not named and (not kept or streamed):
        layers.values["eval_strategy"] = "no"
        layers.origins.pop("eval_strategy", None)
        layers.because["eval_strategy"] = "ms-swift: there is no dataset to evaluate on"
    else:
        saved = layers.get("save_strategy") or "steps"
        layers.derive("eval_strategy", saved, layers.origins.get("save_strategy"), why)
