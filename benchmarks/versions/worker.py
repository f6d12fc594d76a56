"""One rank of a tiny LoRA run through transformers' Trainer: run(mode) tells how the first steps ended.

python runner.py worker 2:150:MODE
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import peft
import torch
import torch.distributed.tensor  # older accelerate uses it without importing it
from peft import get_peft_model
from pictures import Pictures, Tokens, picture_model, together
from steady_rate import keep_rate
from transformers import Trainer, TrainingArguments

try:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    OLD = False
except ImportError:  # before 4.37
    from transformers import LlamaConfig as Qwen2Config
    from transformers import LlamaForCausalLM as Qwen2ForCausalLM

    OLD = True

# without torch_adam DeepSpeed compiles an optimizer of its own, for minutes, and on two ranks at once for ever
OPTIMIZER = {"optimizer": {"type": "AdamW", "params": {"lr": "auto", "torch_adam": True}}}
# torch 2.13 wants a parameter in each of the optimizer's two groups, of which older transformers make one without
BIAS = {"bias": "lora_only"}
NOT_LOOKING = {"ddp_find_unused_parameters": False}
GATHER = {"stage3_gather_16bit_weights_on_model_save": True}
METHODS: dict[str, dict[str, Any]] = {
    "LoraConfig": {"r": 4},
    # PEFT adds the regularisation to the loss only where it knows the task
    "AdaLoraConfig": {"task_type": "CAUSAL_LM", "init_r": 4, "target_r": 2, "total_step": 4, "tinit": 1, "tfinal": 1},
    "LoHaConfig": {"r": 4},
    "IA3Config": {"feedforward_modules": []},
}

# mode -> what differs from a plain run: `stage` (None: DDP), `file` and `zero` (keys of the DeepSpeed file), `args`
# (TrainingArguments), `method` (a PEFT method besides LoRA), `lora` (keywords of its configuration), `wrap` (those of
# get_peft_model), `load` (those of from_pretrained, instead of building the model)
MODES: dict[str, dict[str, Any]] = {
    "zero3-plain": {"stage": 3, "reentrant": False},  # Z101
    "zero3-reentrant": {"stage": 3, "reentrant": True},
    "ddp-plain": {"reentrant": False},  # L101
    "ddp-reentrant": {"reentrant": True},
    "ddp-reentrant-nofind": {"reentrant": True, "args": NOT_LOOKING},
    "ddp-adalora": {"method": "AdaLoraConfig"},  # L102
    "ddp-adalora-plain": {"reentrant": False, "method": "AdaLoraConfig"},
    "ddp-adalora-plain-nofind": {"reentrant": False, "method": "AdaLoraConfig", "args": NOT_LOOKING},
    "ddp-adalora-reentrant": {"reentrant": True, "method": "AdaLoraConfig"},
    "ddp-adalora-reentrant-nofind": {"reentrant": True, "method": "AdaLoraConfig", "args": NOT_LOOKING},
    "ddp-adalora-taskless-nofind": {
        "reentrant": True,
        "method": "AdaLoraConfig",
        "lora": {"task_type": None},
        "args": NOT_LOOKING,
    },
    "ddp-loha-reentrant": {"reentrant": True, "method": "LoHaConfig"},
    "ddp-loha-reentrant-nofind": {"reentrant": True, "method": "LoHaConfig", "args": NOT_LOOKING},
    "ddp-ia3-reentrant": {"reentrant": True, "method": "IA3Config"},
    "zero1-accumulate": {"stage": 1, "args": {"gradient_accumulation_steps": 2}, "lora": BIAS},  # Z114
    "zero2-accumulate": {"stage": 2, "args": {"gradient_accumulation_steps": 2}, "lora": BIAS},
    "zero3-accumulate": {"stage": 3, "args": {"gradient_accumulation_steps": 2}, "lora": BIAS},
    "zero2-once": {"stage": 2, "lora": BIAS},
    "zero2-optimizer-only": {"stage": 2, "file": OPTIMIZER, "lora": BIAS},  # Z112
    "zero2-optimizer-scheduler": {"stage": 2, "file": {**OPTIMIZER, "scheduler": {"type": "WarmupLR", "params": {}}}},
    "zero3-device-map": {"stage": 3, "load": {"device_map": "auto"}},  # Z111
    "zero3-low-cpu": {"stage": 3, "load": {"low_cpu_mem_usage": True}},
    "zero2-device-map": {"stage": 2, "load": {"device_map": "cpu"}},
    "zero3-saved-whole": {"stage": 3, "load": {}, "lora": {"modules_to_save": ["lm_head"]}, "zero": GATHER},  # Z217
    "zero2-saved-whole": {"stage": 2, "load": {}, "lora": {"modules_to_save": ["lm_head"]}},
    "zero3-persistent": {"stage": 3, "load": {}, "zero": {"stage3_param_persistence_threshold": 100_000} | GATHER},
    "zero3-saved-whole-fp32": {
        "stage": 3,
        "load": {"torch_dtype": torch.float32},
        "lora": {"modules_to_save": ["lm_head"]},
        "zero": GATHER,
    },
    "zero3-saved-whole-nocast": {
        "stage": 3,
        "load": {},
        "lora": {"modules_to_save": ["lm_head"]},
        "zero": GATHER,
        "wrap": {"autocast_adapter_dtype": False},
    },
    "zero3-resize": {"stage": 3, "load": {}, "resize": 80},  # Z118
    "zero3-mixed": {"stage": 3, "images": "frozen"},  # Z115: one rank has an image, the other has none
    "zero3-images": {"stage": 3, "images": "frozen", "both": True},
    "zero2-mixed-frozen": {"stage": 2, "images": "frozen"},  # Z116
    "zero2-mixed-trained": {"stage": 2, "images": "trained"},
    "zero1-mixed-trained": {"stage": 1, "images": "trained"},
    "ddp-mixed-trained": {"images": "trained"},
    "ddp-mixed-trained-nofind": {"images": "trained", "args": NOT_LOOKING},
    "zero3-large-bucket": {"stage": 3, "zero": {"reduce_bucket_size": 500_000_000, "overlap_comm": True}},  # Z120
}


def ds_config(stage: int, zero: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    """The DeepSpeed file."""
    # a tiny model's parameters are below the default persistence threshold and would never be released
    return {
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0, **zero},
        "bf16": {"enabled": True},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        **file,
    }


def run(mode: str) -> str:
    """Two steps on CPU; gives `ok`, with what was saved where that matters."""
    spec = MODES[mode]
    stage = spec.get("stage")
    checkpointing: dict[str, Any] = {}
    if "reentrant" in spec:
        checkpointing = {
            "gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": spec["reentrant"]},
        }
    where = tempfile.mkdtemp()
    arguments = TrainingArguments(
        **{
            "output_dir": where,
            "per_device_train_batch_size": 1,
            "max_steps": 2,
            "learning_rate": 1e-4,
            "bf16": stage is not None,
            # older ones take a CPU that is asked for as no DeepSpeed; there is no GPU here in any case
            **({} if OLD else {"use_cpu": True}),
            "deepspeed": ds_config(stage, spec.get("zero", {}), spec.get("file", {})) if stage else None,
            "optim": "adamw_torch",
            "report_to": [],
            "save_strategy": "no",
            "disable_tqdm": True,
            "remove_unused_columns": False,  # older transformers do not see through PEFT's wrapper
            "ddp_timeout": 40,  # seconds: ranks that wait for different things would wait half an hour
            **checkpointing,
            **spec.get("args", {}),
        }
    )
    images = spec.get("images")
    model = picture_model() if images else build(spec.get("load"))
    if "resize" in spec:
        model.resize_token_embeddings(spec["resize"])
    model.enable_input_require_grads()
    lora = {"target_modules": ["q_proj", "v_proj"], **METHODS[spec.get("method", "LoraConfig")], **spec.get("lora", {})}
    data, collate = Tokens(), None
    if images:
        data, collate = Pictures(spec.get("both", False)), together
        lora["target_modules"] = r".*language_model.*\.(q_proj|v_proj)"
    adapted = get_peft_model(model, getattr(peft, spec.get("method", "LoraConfig"))(**lora), **spec.get("wrap", {}))
    if images == "trained":
        for name, parameter in adapted.named_parameters():
            if ".visual." in name:
                parameter.requires_grad_(True)
    trainer = Trainer(model=adapted, args=arguments, train_dataset=data, data_collator=collate)
    if stage:
        keep_rate()
    trainer.train()
    if "load" not in spec or stage != 3:
        return "ok"
    trainer.save_model(where)
    return saved(Path(where))


def build(load: dict[str, Any] | None) -> Any:
    """A tiny Qwen2, built, or loaded as a script loads it after TrainingArguments: under zero.Init with ZeRO-3."""
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    if load is None:
        return Qwen2ForCausalLM(config)
    folder = Path(tempfile.gettempdir()) / f"lorachk-tiny-{os.environ.get('MASTER_PORT')}-{os.environ['RANK']}"
    write_model(folder, config)
    return Qwen2ForCausalLM.from_pretrained(folder, **load)


def write_model(folder: Path, config: Any) -> None:
    """Write the tiny model without ZeRO-3 taking its parameters apart: the file is made from plain tensors."""
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    config.architectures = ["Qwen2ForCausalLM"]
    config.save_pretrained(folder)
    with torch.device("meta"):
        from transformers.integrations import deepspeed as hf

        kept, hf._hf_deepspeed_config_weak_ref = hf._hf_deepspeed_config_weak_ref, None
        shapes = {name: p.shape for name, p in Qwen2ForCausalLM(config).named_parameters()}
        hf._hf_deepspeed_config_weak_ref = kept
    torch.manual_seed(0)
    save_file(
        {n: torch.randn(s).to(torch.bfloat16) * 0.02 for n, s in shapes.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def saved(folder: Path) -> str:
    """`ok`, or what is wrong with the adapter that was saved (known on the rank that saves)."""
    if os.environ["RANK"] != "0":
        return "ok"
    from safetensors.torch import load_file

    file = folder / "adapter_model.safetensors"
    if not file.exists():
        return f"no adapter saved: {sorted(p.name for p in folder.iterdir())}"
    tensors = load_file(file)
    empty = [name for name, tensor in tensors.items() if tensor.numel() == 0]
    return (
        f"empty tensors in the adapter: {len(empty)} of {len(tensors)}: {empty[:1]}" if empty or not tensors else "ok"
    )
