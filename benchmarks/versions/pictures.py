"""Records for worker.py: fixed tokens, on some ranks with an image of a tiny Qwen2-VL."""

from __future__ import annotations

import os
from typing import Any

import torch


class Tokens:
    """A few records of fixed tokens."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = (torch.arange(16) + index) % 64
        return {"input_ids": tokens, "labels": tokens.clone()}


class Pictures(Tokens):
    """The same with an image in each record, on rank 0 or on all ranks: tokens of a tiny Qwen2-VL."""

    def __init__(self, everywhere: bool) -> None:
        self.pictured = everywhere or os.environ["RANK"] == "0"

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = super().__getitem__(index)["input_ids"]
        tokens[:3] = torch.tensor([60, 62, 61]) if self.pictured else torch.tensor([1, 2, 3])  # start, image, end
        made = {"input_ids": tokens, "labels": tokens.clone(), "mm_token_type_ids": (tokens == 62).int()}
        if self.pictured:
            made |= {
                "pixel_values": torch.ones(4, 24, dtype=torch.bfloat16),
                "image_grid_thw": torch.tensor([[1, 2, 2]]),
            }
        return made


def together(records: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A batch of one record, as the Qwen-VL collators make it."""
    (record,) = records
    return {k: v if k in ("pixel_values", "image_grid_thw") else v[None] for k, v in record.items()}


def picture_model() -> Any:
    """A tiny Qwen2-VL."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 4, "patch_size": 2, "mlp_ratio": 2}
    text = {
        "vocab_size": 64,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4},
    }
    ids = {"vision_start_token_id": 60, "vision_end_token_id": 61, "image_token_id": 62, "video_token_id": 63}
    config = Qwen2VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    return Qwen2VLForConditionalGeneration(config).to(torch.bfloat16)
