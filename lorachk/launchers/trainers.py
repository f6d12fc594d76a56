"""What each trainer calls things, and what it does on its own account.

Flag names are from reference/trainers.md 4.8; behaviour of MiniCPM-V's finetune.py from 2.7, 4.1, 5.1 and 5.3.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorachk.launchers.command import Launch

TRAINERS = (
    "minicpmv",
    "vlm-r1",
    "llava",
    "qwen-vl",  # qwen-vl-finetune of Qwen2-VL and later
    "qwen-vl-chat",  # finetune.py of the first Qwen-VL
    "qwen-vl-series",  # 2U1/Qwen-VL-Series-Finetune
    "internvl",
    "fastchat",
    "llamafactory",
    "ms-swift",
    "axolotl",
    "trl",
    "hf",
)

# Trainers whose flags are transformers.TrainingArguments with its defaults.
PLAIN_HF = {
    "minicpmv",
    "llava",
    "qwen-vl",
    "qwen-vl-chat",
    "qwen-vl-series",
    "internvl",
    "fastchat",
    "llamafactory",
    "hf",
}

# Run field -> flag names, the first one that is given counts.
COMMON: dict[str, tuple[str, ...]] = {
    "model": ("model_name_or_path", "model_id", "model"),
    "data": ("data_path", "data_file_paths"),
    "eval_data": ("eval_data_path", "eval_path"),
    "image_root": ("image_folder", "image_folders"),
    "max_length": ("model_max_length", "max_length", "max_seq_length"),
    "max_slice_nums": ("max_slice_nums",),
    "llm_type": ("llm_type",),
    "use_lora": ("use_lora", "lora_enable", "use_peft", "use_peft_lora"),
    "tune_llm": ("tune_llm", "tune_mm_llm"),
    "tune_vision": ("tune_vision", "tune_mm_vision"),
    "lora_r": ("lora_r", "lora_rank"),
    "lora_alpha": ("lora_alpha",),
    "lora_dropout": ("lora_dropout",),
    "lora_bias": ("lora_bias",),
    "target_modules": ("lora_target_modules", "target_modules"),
    "modules_to_save": ("lora_modules_to_save", "modules_to_save"),
    "init_lora_weights": ("init_lora_weights",),
    "use_rslora": ("use_rslora",),
    "use_dora": ("use_dora",),
    "fp16": ("fp16",),
    "bf16": ("bf16",),
    "tf32": ("tf32",),
    "load_in_4bit": ("load_in_4bit", "use_4bit_quantization"),
    "load_in_8bit": ("load_in_8bit", "use_8bit_quantization"),
    "bnb_4bit_compute_dtype": ("bnb_4bit_compute_dtype",),
    "bnb_4bit_quant_storage": ("bnb_4bit_quant_storage", "bnb_4bit_quant_storage_dtype"),
    "per_device_train_batch_size": ("per_device_train_batch_size",),
    "gradient_accumulation_steps": ("gradient_accumulation_steps",),
    "learning_rate": ("learning_rate",),
    "lr_scheduler_type": ("lr_scheduler_type",),
    "max_steps": ("max_steps",),
    "num_train_epochs": ("num_train_epochs",),
    "optim": ("optim",),
    "weight_decay": ("weight_decay",),
    "adam_beta1": ("adam_beta1",),
    "adam_beta2": ("adam_beta2",),
    "adam_epsilon": ("adam_epsilon",),
    "max_grad_norm": ("max_grad_norm",),
    "warmup_steps": ("warmup_steps",),
    "warmup_ratio": ("warmup_ratio",),
    "eval_strategy": ("eval_strategy", "evaluation_strategy"),
    "eval_steps": ("eval_steps",),
    "save_strategy": ("save_strategy",),
    "save_steps": ("save_steps",),
    "load_best_model_at_end": ("load_best_model_at_end",),
    "save_only_model": ("save_only_model",),
    "resume_from_checkpoint": ("resume_from_checkpoint",),
    "ddp_find_unused_parameters": ("ddp_find_unused_parameters",),
    "dataloader_num_workers": ("dataloader_num_workers",),
    "packing": ("packing",),
    "load_dtype": ("dtype", "torch_dtype", "model_dtype"),
    "attn_implementation": ("attn_implementation",),
    "group_by_modality_length": ("group_by_modality_length",),
    "remove_unused_columns": ("remove_unused_columns",),
    "gradient_checkpointing": ("gradient_checkpointing", "activation_checkpointing"),
    "deepspeed": ("deepspeed_config", "deepspeed"),  # the first is DeepSpeed's own flag, beside a bare --deepspeed
    "output_dir": ("output_dir",),
    "device_map": ("device_map",),
}

# Where a trainer's flag is not what COMMON would take it for.
SPECIAL: dict[str, dict[str, tuple[str, ...]]] = {
    "minicpmv": {"modules_to_save": ()},  # --lora_modules_to_save is accepted and ignored
    "vlm-r1": {"max_length": ("max_completion_length",)},
    "ms-swift": {"data": (), "eval_data": (), "load_in_4bit": (), "load_in_8bit": ()},
    "internvl": {"lora_r": ("use_llm_lora",), "gradient_checkpointing": ("grad_checkpoint",)},
    "fastchat": {"load_in_4bit": ("q_lora",)},
    "axolotl": {
        "model": ("base_model",),
        "data": (),
        "eval_data": (),
        "max_length": ("sequence_len",),
        "modules_to_save": ("lora_modules_to_save",),
        "exclude_modules": ("lora_exclude_modules",),
        "adapter": ("lora_model_dir",),
        "init_lora_weights": ("peft_init_lora_weights",),
        "use_rslora": ("peft_use_rslora",),
        "use_dora": ("peft_use_dora",),
        "ensure_weight_tying": ("peft_ensure_weight_tying",),
        "per_device_train_batch_size": ("micro_batch_size",),
        "num_train_epochs": ("num_epochs",),
        "optim": ("optimizer",),
        "lr_scheduler_type": ("lr_scheduler",),
        "packing": ("sample_packing",),
        "load_dtype": (),
    },
    "llamafactory": {
        "max_length": ("cutoff_len",),
        "data": (),
        "eval_data": (),
        "image_root": ("media_dir",),
        "load_dtype": (),
    },
}

# Flags of the polarity opposite to the field's.
INVERTED: dict[str, tuple[str, ...]] = {
    "tune_vision": ("freeze_vision_tower", "freeze_vit", "freeze_vision_modules", "freeze_backbone", "fix_vit"),
    "tune_llm": ("freeze_llm",),
}

# Flags that give the width of the quantized base: 4, 8, or 16 for none.
BITS = ("bits", "quantization_bit", "load_in_kbits")

# transformers.TrainingArguments; read in 4.51.3, 4.57.1, 5.0.0, 5.3.0 and 5.23.0, where they are the same.
HF_DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "learning_rate": 5e-5,
    "lr_scheduler_type": "linear",
    "max_steps": -1,
    "num_train_epochs": 3.0,
    "fp16": False,
    "bf16": False,
    "gradient_checkpointing": False,
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "warmup_steps": 0.0,
    "eval_strategy": "no",
    "save_strategy": "steps",
    "save_steps": 500.0,
    "load_best_model_at_end": False,
    "save_only_model": False,
    "dataloader_num_workers": 0,
}

# Defaults of the trainers' own arguments.
DEFAULTS: dict[str, dict[str, Any]] = {
    "minicpmv": {
        "llm_type": "minicpm",
        "max_length": 2048,
        "max_slice_nums": 9,
        "use_lora": False,
        "tune_llm": True,
        "tune_vision": True,
        "lora_r": 64,
        "lora_alpha": 64.0,
        "lora_dropout": 0.05,
        "lora_bias": "none",
        "optim": "adamw_torch",
    },
    "llava": {
        "use_lora": False,
        "lora_r": 64,
        "lora_alpha": 16.0,
        "lora_dropout": 0.05,
        "max_length": 512,
        "optim": "adamw_torch",
    },
    "qwen-vl": {
        "use_lora": False,
        "tune_llm": False,
        "tune_vision": False,
        "lora_r": 64,
        "lora_alpha": 128.0,
        "lora_dropout": 0.05,
        "max_length": 512,
        "optim": "adamw_torch",
    },
    "qwen-vl-chat": {
        "use_lora": False,
        "tune_vision": False,
        "lora_r": 64,
        "lora_alpha": 16.0,
        "lora_dropout": 0.05,
        "max_length": 8192,
        "optim": "adamw_torch",
    },
    "qwen-vl-series": {
        "use_lora": False,
        "tune_llm": True,
        "tune_vision": True,
        "lora_r": 64,
        "lora_alpha": 16.0,
        "lora_dropout": 0.05,
        "max_length": 32768,
        "optim": "adamw_torch",
    },
    "internvl": {"lora_r": 0, "lora_dropout": 0.05, "gradient_checkpointing": True, "max_length": 8192},
    "llamafactory": {"max_length": 2048},
    "axolotl": {
        "max_length": 512,
        "lora_dropout": 0.0,
        "lora_bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "per_device_train_batch_size": 1,
        "num_train_epochs": 1.0,
        "optim": "adamw_torch_fused",
        "lr_scheduler_type": "cosine",
        "packing": False,
        "gradient_checkpointing": False,
    },
    "fastchat": {
        "use_lora": True,
        "lora_r": 8,
        "lora_alpha": 16.0,
        "lora_dropout": 0.05,
        "max_length": 512,
        "optim": "adamw_torch",
    },
    "trl": {
        "use_lora": False,
        "lora_r": 16,
        "lora_alpha": 32.0,
        "lora_dropout": 0.05,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "load_in_4bit": False,
        "load_in_8bit": False,
    },
}

TRL_MAX_LENGTH = 1024  # tokens: SFTConfig.max_length, and max_seq_length before it

# LoRA targets when the flag is not given: one string, which PEFT matches as a whole regex, or name endings.
DEFAULT_TARGET: dict[str, str | list[str]] = {
    "minicpmv": r"llm\..*layers\.\d+\.self_attn\.(q_proj|k_proj|v_proj)",
    "qwen-vl": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "qwen-vl-chat": ["c_attn", "attn.c_proj", "w1", "w2"],
    "fastchat": ["q_proj", "v_proj"],
}

# These leave the tokenizer and the embedding as they are.
NO_NEW_TOKENS = {"minicpmv", "vlm-r1", "qwen-vl", "qwen-vl-chat", "qwen-vl-series"}

# These call enable_input_require_grads() when they checkpoint, with and without LoRA.
INPUT_GRADS = {"llava", "qwen-vl", "qwen-vl-series", "fastchat"}

_PROGRAMS = (
    (re.compile(r"(^|/|\.)(open_r1|grpo_jsonl|grpo_rec)"), "vlm-r1"),
    (re.compile(r"(^|/)llava/|train_mem\.py$|train_xformers\.py$"), "llava"),
    (re.compile(r"qwenvl/train|train_qwen\.py$"), "qwen-vl"),
    (re.compile(r"swift[/.]cli"), "ms-swift"),
    (re.compile(r"axolotl[/.]cli[/.]train"), "axolotl"),
    (re.compile(r"internvl/train/"), "internvl"),
    (re.compile(r"fastchat[/.]train[/.]train_lora"), "fastchat"),
    (re.compile(r"(^|/)(trl/scripts/|examples/scripts/(sft|dpo|grpo|gspo|kto|orpo|cpo|reward|rloo))"), "trl"),
    (re.compile(r"(^|[/.])trl[/.]scripts[/.]"), "trl"),
    (re.compile(r"(^|/)llamafactory/launcher\.py$"), "llamafactory"),
)


def recognise(launch: Launch) -> str | None:
    """The trainer a launch command starts; None when it gives no clue."""
    if launch.launcher in TRAINERS:
        return launch.launcher
    program = launch.program or ""
    if "llm_type" in launch.flags and program.endswith("finetune.py"):
        return "minicpmv"
    if "fix_vit" in launch.flags and program.endswith("finetune.py"):
        return "qwen-vl-chat"
    if {
        "lora_namespan_exclude",
        "freeze_merger",
        "image_min_pixels",
    } & launch.flags.keys() and "model_id" in launch.flags:
        return "qwen-vl-series"
    for pattern, trainer in _PROGRAMS:
        if pattern.search(program):
            return trainer
    if {"lora_enable", "mm_projector_type"} & launch.flags.keys() and "version" in launch.flags:
        return "llava"
    if {"finetuning_type", "template"} <= launch.flags.keys():
        return "llamafactory"
    if {"use_peft", "dataset_name"} <= launch.flags.keys():  # TRL's ModelConfig and ScriptArguments
        return "trl"
    if {"output_dir", "per_device_train_batch_size"} <= launch.flags.keys():
        return "hf"
    return None


def aliases(trainer: str | None) -> dict[str, tuple[str, ...]]:
    """Run field to flag names for one trainer."""
    return {**COMMON, **SPECIAL.get(trainer or "", {})}


def modules_saved_whole(trainer: str | None, tune_vision: bool | None) -> list[str] | None:
    """The modules_to_save that MiniCPM-V's finetune.py hard-codes; None for others, or when tune_vision is unknown."""
    if trainer != "minicpmv" or tune_vision is None:
        return None
    return ["embed_tokens", "resampler", *(["vpm"] if tune_vision else [])]
