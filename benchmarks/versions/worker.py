"""One rank of a tiny LoRA run through transformers' Trainer; prints how the first step ended.

Started by verify.py as `python -m torch.distributed.run --nproc_per_node 2 worker.py MODE`. MODE: zero3 or ddp, then
reentrant or plain (non-reentrant checkpointing), e.g. zero3-plain.
"""

from __future__ import annotations

import os
import sys
import tempfile

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import Dataset
from transformers import Qwen2Config, Qwen2ForCausalLM, Trainer, TrainingArguments


class Tokens(Dataset):  # type: ignore[type-arg]
    """A few records of fixed tokens."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = (torch.arange(16) + index) % 64
        return {"input_ids": tokens, "labels": tokens.clone()}


def train(mode: str) -> None:
    """Two steps on CPU."""
    backend, _, checkpointing = mode.partition("-")
    # a tiny model's parameters are below the default persistence threshold and would never be released
    deepspeed = {
        "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
        "bf16": {"enabled": True},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=1,
        max_steps=2,
        learning_rate=1e-4,
        bf16=backend == "zero3",
        use_cpu=True,
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": checkpointing.startswith("reentrant")},
        deepspeed=deepspeed if backend == "zero3" else None,
        optim="adamw_torch",
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        ddp_find_unused_parameters=False if checkpointing.endswith("nofind") else None,
    )
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = Qwen2ForCausalLM(config)
    model.enable_input_require_grads()
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    Trainer(model=adapted, args=arguments, train_dataset=Tokens()).train()


if __name__ == "__main__":
    import deepspeed

    try:
        train(sys.argv[1])
        outcome = "ok"
    except Exception as error:
        outcome = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if os.environ["RANK"] == "0":
        print(f"OUTCOME deepspeed {deepspeed.__version__} {sys.argv[1]}: {outcome[:300]}", flush=True)
    os._exit(0 if outcome == "ok" else 1)  # the other rank may wait in a collective for ever
