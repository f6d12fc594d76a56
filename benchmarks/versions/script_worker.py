"""One rank of a tiny LoRA run whose end is looked at: what was saved, and whether the ranks still agree.

    python -m torch.distributed.run --nproc_per_node 2 script_worker.py CASE

CASE: save-plain, save-gather (ZeRO-3, without and with stage3_gather_16bit_weights_on_model_save), save-plain-modules,
save-gather-modules (an embedding in modules_to_save besides), bypass-ddp, argument-ddp (compute_loss runs self.model or
the model it is given), signature (compute_loss without num_items_in_batch), step-signature (training_step without it),
adalora-reentrant, adalora-plain (under DDP, not looking for unused parameters).
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from torch.utils.data import Dataset
from transformers import Qwen2Config, Qwen2ForCausalLM, Trainer, TrainingArguments


class Tokens(Dataset):  # type: ignore[type-arg]
    """Records that differ, so that ranks which do not exchange gradients drift apart."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = (torch.arange(16) * (index + 1)) % 64
        return {"input_ids": tokens, "labels": tokens.clone()}


class Bypass(Trainer):
    """Runs the model itself instead of the one that is wrapped for several GPUs."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:  # noqa: ARG002
        """Loss of a batch."""
        return self.model(**inputs).loss


class Argument(Trainer):
    """Runs the model it is given."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:  # noqa: ARG002
        """Loss of a batch."""
        return model(**inputs).loss


class Signature(Trainer):
    """Written for transformers before 4.46."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False) -> Any:  # noqa: ARG002
        """Loss of a batch."""
        return model(**inputs).loss


class StepSignature(Trainer):
    """Written for transformers before 4.46."""

    def training_step(self, model: Any, inputs: Any) -> Any:
        """Loss of a step."""
        return super().training_step(model, inputs)


TRAINERS: dict[str, type[Trainer]] = {
    "bypass-ddp": Bypass,
    "argument-ddp": Argument,
    "signature": Signature,
    "step-signature": StepSignature,
}


def run(case: str) -> str:
    """Two steps on CPU; what came of it in a few words."""
    zero3 = {
        "zero_optimization": {
            "stage": 3,
            "stage3_param_persistence_threshold": 0,
            "stage3_gather_16bit_weights_on_model_save": "gather" in case,
        },
        "bf16": {"enabled": True},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }
    output = tempfile.mkdtemp()
    arguments = TrainingArguments(
        output_dir=output,
        per_device_train_batch_size=1,
        max_steps=2,
        learning_rate=1e-2,
        use_cpu=True,
        deepspeed=zero3 if case.startswith("save") else None,
        bf16=case.startswith("save"),
        optim="adamw_torch",
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        gradient_checkpointing=case.startswith("adalora"),
        gradient_checkpointing_kwargs={"use_reentrant": case.endswith("reentrant")},
        ddp_find_unused_parameters=False if case.startswith("adalora") else None,
    )
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    torch.manual_seed(0)
    if case.startswith("adalora"):
        adapted = get_peft_model(
            Qwen2ForCausalLM(config),
            AdaLoraConfig(init_r=4, target_r=2, total_step=4, tinit=1, tfinal=1, target_modules=["q_proj"]),
        )
        Trainer(model=adapted, args=arguments, train_dataset=Tokens()).train()
        return "ok"
    whole = ["embed_tokens"] if "modules" in case else None
    adapted = get_peft_model(
        Qwen2ForCausalLM(config), LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=whole)
    )
    trainer = TRAINERS.get(case, Trainer)(model=adapted, args=arguments, train_dataset=Tokens())
    if case.startswith("save"):
        # DeepSpeed drops the empty parameter group, and the scheduler of torch 2.13 then stops; the rate is no matter
        torch.optim.lr_scheduler.LRScheduler._update_lr = keep_rate  # type: ignore[method-assign]
    trainer.train()
    if case.startswith("save"):
        trainer.save_model(output)
        return saved(Path(output) / "adapter_model.safetensors")
    return agreement(adapted)


def keep_rate(scheduler: Any, *_: Any) -> None:
    """Stands in for LRScheduler._update_lr."""
    scheduler._last_lr = [1e-2]


def saved(file: Path) -> str:
    """Size of the adapter file, its tensors and how many are empty."""
    from safetensors import safe_open

    if not file.is_file():
        return "no adapter file"
    with safe_open(file, "pt") as tensors:
        shapes = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    empty = [name for name, shape in shapes.items() if 0 in shape]
    return f"{file.stat().st_size} bytes, {len(shapes)} tensors, {len(empty)} empty {empty[:1]}"


def agreement(model: torch.nn.Module) -> str:
    """Whether the trained values are the same on all ranks."""
    mine = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    first = mine.clone()
    torch.distributed.broadcast(first, 0)
    difference = (mine - first).abs().max()
    torch.distributed.all_reduce(difference, torch.distributed.ReduceOp.MAX)
    return "ranks agree" if difference.item() == 0 else f"ranks differ by {difference.item():.3g}"


if __name__ == "__main__":
    import peft
    import transformers

    try:
        communication = import_module("deepspeed.comm.torch")
        # the shared-memory extension takes minutes to build, and two ranks wait for each other's lock
        communication.build_shm_op = lambda: None  # type: ignore[attr-defined]
        outcome = run(sys.argv[1])
    except Exception as error:
        traceback.print_exc()
        outcome = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if os.environ["RANK"] == "0":
        versions = f"transformers {transformers.__version__}, peft {peft.__version__}"
        print(f"OUTCOME {versions}, {sys.argv[1]}: {outcome[:300]}", flush=True)
    os._exit(0)  # the other rank may wait in a collective for ever
