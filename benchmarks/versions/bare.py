"""One rank of a script that calls deepspeed.initialize itself: run(mode) tells how the first steps ended.

    python runner.py bare 1:150:MODE

"auto" that no Trainer fills in (Z105, Z231), and an optimizer of the script under ZeRO-Offload (Z109).
"""

from __future__ import annotations

from typing import Any

import deepspeed
import torch

NUMBERS = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
ADAM = {"optimizer": {"type": "Adam", "params": {"lr": 1e-4, "torch_adam": True}}}
OFFLOAD = {"stage": 2, "offload_optimizer": {"device": "cpu"}}
MODES: dict[str, dict[str, Any]] = {
    "numbers": {**NUMBERS, **ADAM},
    "auto-batch": {**ADAM, "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto"},
    "auto-train-batch": {**ADAM, "train_batch_size": "auto"},
    "auto-steps": {**ADAM, **NUMBERS, "gradient_accumulation_steps": "auto"},
    "auto-clipping": {**NUMBERS, **ADAM, "gradient_clipping": "auto"},
    "auto-clipping-zero2": {
        **NUMBERS,
        **ADAM,
        "gradient_clipping": "auto",
        "bf16": {"enabled": True},
        "zero_optimization": {"stage": 2},
    },
    "auto-bucket": {
        **NUMBERS,
        **ADAM,
        "bf16": {"enabled": True},
        "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto"},
    },
    "auto-precision": {**NUMBERS, **ADAM, "bf16": {"enabled": "auto"}, "fp16": {"enabled": "auto"}},
    "auto-lr": {**NUMBERS, "optimizer": {"type": "Adam", "params": {"lr": "auto", "torch_adam": True}}},
    "auto-scheduler": {**NUMBERS, **ADAM, "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": "auto"}}},
    "client-offload": {**NUMBERS, "bf16": {"enabled": True}, "zero_optimization": OFFLOAD},
    "client-offload-unforced": {
        **NUMBERS,
        "bf16": {"enabled": True},
        "zero_optimization": OFFLOAD,
        "zero_force_ds_cpu_optimizer": False,
    },
}


def run(mode: str) -> str:
    """Two steps of a linear layer; gives ok with the precision and bucket that DeepSpeed took."""
    config = MODES[mode]
    model = torch.nn.Linear(8, 8)
    own = None if "optimizer" in config else torch.optim.AdamW(model.parameters())
    deepspeed.init_distributed("gloo")
    engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), optimizer=own, config=config)
    for _ in range(2):
        loss = engine(torch.ones(1, 8, dtype=next(engine.parameters()).dtype)).float().mean()
        engine.backward(loss)
        engine.step()
    return f"ok bf16={engine.bfloat16_enabled()} bucket={engine.zero_reduce_bucket_size()}"
