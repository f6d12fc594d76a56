"""One rank of a tiny LoRA run whose end is looked at: what was saved, and whether the ranks still agree.

    python runner.py script_worker 2:150:MODE

MODE: save-plain, save-gather (ZeRO-3, without and with stage3_gather_16bit_weights_on_model_save), save-plain-modules,
save-gather-modules (an LM head in modules_to_save besides); merge-zero2, merge-zero3, merge-zero3-all,
merge-zero3-gathered (merge_and_unload after the training; LoRA's matrices in pieces as well; in GatheredParameters);
bypass-ddp, argument-ddp (compute_loss runs self.model or the model it is given); signature (compute_loss without
num_items_in_batch), step-signature (training_step without it).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from steady_rate import keep_rate
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


def ds_config(stage: int, gather: bool, whole: int = 0) -> dict[str, Any]:
    """The DeepSpeed file; parameters below `whole` elements stay whole, by default all of a tiny model's."""
    return {
        "zero_optimization": {
            "stage": stage,
            "stage3_param_persistence_threshold": whole,
            "stage3_gather_16bit_weights_on_model_save": gather,
        },
        "bf16": {"enabled": True},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }


def run(mode: str) -> str:
    """Two steps on CPU; what came of it in a few words."""
    zero = mode.startswith(("save", "merge"))
    whole_below = 1000 if mode == "merge-zero3" else 0  # between LoRA's matrices and those of the model
    output = tempfile.mkdtemp()
    arguments = TrainingArguments(
        output_dir=output,
        per_device_train_batch_size=1,
        max_steps=2,
        learning_rate=1e-2,
        use_cpu=True,
        deepspeed=ds_config(2 if "zero2" in mode else 3, "gather" in mode, whole_below) if zero else None,
        bf16=zero,
        optim="adamw_torch",
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=64, num_key_value_heads=2, tie_word_embeddings=False, **sizes))
    whole = ["lm_head"] if "modules" in mode else None
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=whole))
    trainer = TRAINERS.get(mode, Trainer)(model=adapted, args=arguments, train_dataset=Tokens())
    if zero:
        keep_rate()
    trainer.train()
    if mode.startswith("save"):
        trainer.save_model(output)
        return saved(Path(output) / "adapter_model.safetensors") if os.environ["RANK"] == "0" else "ok"
    if mode.startswith("merge"):
        return merged(adapted, "gathered" in mode)
    return agreement(adapted)


def merged(adapted: Any, gathered: bool) -> str:
    """Merge the adapter; `ok`, or that the merged weights are those of the base model."""
    from deepspeed.runtime.zero import GatheredParameters

    weight = next(m for n, m in adapted.named_modules() if n.endswith("layers.0.self_attn.q_proj")).base_layer.weight

    def value() -> torch.Tensor:
        with GatheredParameters([weight]):
            return weight.detach().clone()

    before = value()
    # what is changed in here is given up at its end, without modifier_rank
    with GatheredParameters(list(adapted.parameters()) if gathered else []):
        adapted.merge_and_unload()
        after = weight.detach().clone() if gathered else value()
    return "the adapter is lost: merged weights are the base model's" if torch.equal(before, after) else "ok"


def saved(file: Path) -> str:
    """Size of the adapter file, its tensors and how many are empty."""
    from safetensors import safe_open

    if not file.is_file():
        return "no adapter file"
    with safe_open(file, "pt") as tensors:
        shapes = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    empty = [name for name, shape in shapes.items() if 0 in shape]
    told = f"{file.stat().st_size} bytes, {len(shapes)} tensors, {len(empty)} empty {empty[:1] or ''}".strip()
    return told if empty or not shapes else f"ok {told}"


def agreement(model: torch.nn.Module) -> str:
    """Whether the trained values are the same on all ranks."""
    mine = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    first = mine.clone()
    torch.distributed.broadcast(first, 0)
    difference = (mine - first).abs().max()
    torch.distributed.all_reduce(difference, torch.distributed.ReduceOp.MAX)
    return "ok ranks agree" if difference.item() == 0 else f"ranks differ by {difference.item():.3g}"
