"""One rank of a training loop of one's own under ZeRO, which saves the model: run(mode) tells what was saved.

    python runner.py loop_worker 2:150:MODE

A mode is LOOP-STAGE-WHAT[-HOW]: LOOP `deepspeed` (deepspeed.initialize) or `accelerate` (accelerator.prepare), STAGE
`zero2` or `zero3`, WHAT `lora` or `whole` (the model itself is trained), HOW `gathered` (a gathered state dict is
handed over) or `main` (rank 0 alone saves).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import deepspeed
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM


def ds_config(stage: int) -> dict[str, Any]:
    """The DeepSpeed file; a tiny model's parameters are below the default threshold and would stay whole."""
    return {
        "zero_optimization": {
            "stage": stage,
            "stage3_param_persistence_threshold": 0,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "bf16": {"enabled": True},
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
    }


def built(what: str) -> torch.nn.Module:
    """A tiny Qwen2, with an adapter or without."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=64, num_key_value_heads=2, tie_word_embeddings=False, **sizes)).to(
        torch.bfloat16
    )
    if what == "whole":
        return model
    return get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]), autocast_adapter_dtype=False)


def run(mode: str) -> str:
    """Two steps and a save on CPU."""
    loop, stage, what, *how = mode.split("-")
    gathered = "gathered" in how
    config = ds_config(int(stage[-1]))
    model = built(what)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    tokens = torch.arange(16)[None] % 64
    folder = Path(tempfile.mkdtemp())
    if loop == "deepspeed":
        deepspeed.init_distributed("gloo")
        config["zero_allow_untested_optimizer"] = True
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
        for _ in range(2):
            engine.backward(engine(input_ids=tokens, labels=tokens).loss)
            engine.step()
        keep = engine.module
        state = engine._zero3_consolidated_16bit_state_dict() if gathered else None
    else:
        from accelerate import Accelerator, DeepSpeedPlugin

        accelerator = Accelerator(deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=config))
        engine, optimizer = accelerator.prepare(model, optimizer)
        for _ in range(2):
            accelerator.backward(engine(input_ids=tokens, labels=tokens).loss)
            optimizer.step()
            optimizer.zero_grad()
        keep = accelerator.unwrap_model(engine)
        state = accelerator.get_state_dict(engine) if gathered else None
    if not (how and os.environ["RANK"] != "0"):
        keep.save_pretrained(folder, **({"state_dict": state} if gathered else {}))
    torch.distributed.barrier()
    return saved(folder) if os.environ["RANK"] == "0" else "ok"


def saved(folder: Path) -> str:
    """`ok`, or how many of the saved tensors are empty."""
    from safetensors import safe_open

    shapes = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            shapes |= {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    empty = [name for name, shape in shapes.items() if 0 in shape]
    if empty or not shapes:
        return f"{len(empty)} of {len(shapes)} saved tensors are empty, {size} bytes"
    return f"ok {len(shapes)} tensors, {size} bytes"
