"""What a run does, in the words in which two runs are compared: its settings, and what follows from several of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from lorachk.launchers.text import where
from lorachk.run import Run


class Effect(NamedTuple):
    """One thing that a run does. `value` is None when it is not known, or when there is no such thing."""

    topic: str
    name: str
    value: Any
    origin: str | None  # path:line:column, an option, or words


NONE = "-"  # there is no such thing in this run
_OF_ADAPTER = ("peft_type", "target_modules", "exclude_modules", "modules_to_save")

# Topic -> what is compared: fields of the Run, with the name people know where it is another.
_TOPICS: dict[str, dict[str, str]] = {
    "the run": {"trainer": "", "model": "", "family": "", "data": "", "adapter": "starts from adapter"},
    "what is trained": {
        "use_lora": "LoRA",
        "peft_type": "PEFT method",
        "target_modules": "",
        "exclude_modules": "",
        "modules_to_save": "",
        "_llm": "language model",
        "_vision": "vision tower",
        "_projector": "projector or resampler",
    },
    "LoRA": {
        "lora_r": "r",
        "lora_alpha": "",
        "_scale": "scale of the update",
        "lora_dropout": "",
        "lora_bias": "bias",
        "init_lora_weights": "initialisation",
        "use_rslora": "",
        "use_dora": "",
    },
    "optimizer": {
        "optim": "optimizer",
        "learning_rate": "",
        "_schedule": "schedule",
        "warmup_steps": "",
        "warmup_ratio": "",
        "weight_decay": "",
        "adam_beta1": "",
        "adam_beta2": "",
        "adam_epsilon": "",
        "max_grad_norm": "gradient clipping",
    },
    "batch": {
        "per_device_train_batch_size": "",
        "gradient_accumulation_steps": "",
        "world_size": "ranks",
        "_batch": "records per optimizer step",
        "num_train_epochs": "epochs",
        "max_steps": "",
        "group_by_modality_length": "",
    },
    "data": {"max_length": "", "max_slice_nums": "", "packing": "", "llm_type": ""},
    "precision": {
        "bf16": "",
        "fp16": "",
        "tf32": "",
        "load_dtype": "weights loaded in",
        "load_in_4bit": "",
        "load_in_8bit": "",
        "bnb_4bit_compute_dtype": "",
        "bnb_4bit_quant_storage": "",
        "quant_method": "",
        "attn_implementation": "",
    },
    "memory": {
        "gradient_checkpointing": "",
        "use_reentrant": "reentrant checkpointing",
        "zero_stage": "ZeRO stage",
        "offload_optimizer": "",
        "offload_param": "",
        "fsdp": "FSDP",
    },
    "evaluation and saving": {
        "eval_strategy": "",
        "eval_steps": "",
        "save_strategy": "",
        "save_steps": "",
        "save_only_model": "",
        "load_best_model_at_end": "",
    },
}


def effects(run: Run) -> Iterator[Effect]:
    """Everything that is compared, topic by topic, always in the same order and number."""
    for topic, fields in _TOPICS.items():
        for field, name in fields.items():
            if field.startswith("_"):
                value, origin = _DERIVED[field](run)
            else:
                value, origin = getattr(run, field), _origin(run, field)
            if value in (None, []) and field in ("modules_to_save", "exclude_modules"):
                value = None if _stated(run, field) else NONE
            if run.use_lora is False and (topic == "LoRA" or field in _OF_ADAPTER):
                value, origin = NONE, None
            yield Effect(topic, name or field, value if value != [] else None, origin)


def _stated(run: Run, field: str) -> bool:
    """Whether an argument says something of a list of modules that could not be understood."""
    return any(name.endswith(field) or name == "additional_target" for name in run.argument_places)


def _part(run: Run, field: str, saved: tuple[str, ...]) -> tuple[Any, str | None]:
    """How a part of the model is trained: in full, by LoRA, or not at all.

    Beside LoRA, the flags of ms-swift and LLaMA-Factory say which parts LoRA adapts; those of other trainers what is
    trained in full.
    """
    flag, origin = getattr(run, field), _origin(run, field)
    if whole := [name for name in run.modules_to_save or () if name in saved]:
        return f"in full ({', '.join(whole)})", _origin(run, "modules_to_save")
    if flag is None or run.use_lora is None:
        return None, None
    if run.use_lora and run.trainer in ("ms-swift", "llamafactory"):
        return ("LoRA" if flag else "frozen"), origin
    if run.use_lora and field == "tune_llm" and not flag:
        return "LoRA", _origin(run, "use_lora")
    return ("in full" if flag else "frozen"), origin


def _llm(run: Run) -> tuple[Any, str | None]:
    return _part(run, "tune_llm", ())


def _vision(run: Run) -> tuple[Any, str | None]:
    return _part(run, "tune_vision", ("vpm", "visual", "vision_tower", "vision_model"))


def _projector(run: Run) -> tuple[Any, str | None]:
    return _part(run, "tune_projector", ("resampler", "merger", "multi_modal_projector", "mm_projector", "aligner"))


def _origin(run: Run, field: str) -> str | None:
    at = run.at(field)
    return where(*at[:3]) if at else run.because.get(field)


def _scale(run: Run) -> tuple[Any, str | None]:
    """What LoRA's update is multiplied with: alpha / r, or alpha / sqrt(r) (PEFT, LoraLayer.update_layer)."""
    if not run.use_lora or not run.lora_r or run.lora_alpha is None:
        return None, None
    if run.use_rslora:
        return round(run.lora_alpha / run.lora_r**0.5, 4), "alpha / sqrt(r)"
    return round(run.lora_alpha / run.lora_r, 4), "alpha / r"


def _schedule(run: Run) -> tuple[Any, str | None]:
    """The schedule in effect: a scheduler of the DeepSpeed file goes before the trainer's."""
    block = run.deepspeed_config.get("scheduler")
    if isinstance(block, dict) and isinstance(block.get("type"), str):
        return block["type"], f"scheduler in {run.deepspeed}"
    return run.lr_scheduler_type, _origin(run, "lr_scheduler_type")


def _batch(run: Run) -> tuple[Any, str | None]:
    factors = run.per_device_train_batch_size, run.gradient_accumulation_steps, run.world_size
    if None in factors:
        return None, None
    micro, accumulated, ranks = (factor or 0 for factor in factors)
    return micro * accumulated * ranks, f"{micro} x {accumulated} x {ranks}"


_DERIVED = {
    "_scale": _scale,
    "_schedule": _schedule,
    "_batch": _batch,
    "_llm": _llm,
    "_vision": _vision,
    "_projector": _projector,
}


def as_text(value: Any) -> str:
    """A value on one line."""
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
