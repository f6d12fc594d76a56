"""The worst batch of a run: token ids and, where the model's image inputs are known, images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lorachk.memory.skeleton import text_config

if TYPE_CHECKING:
    from lorachk.run import Run

_QWEN_GRID = 72  # patches per side of one 1008 x 1008 image
_SLICE_GRID = 32  # patches per side of a 448 x 448 slice of MiniCPM-V


def make(config: Any, run: Run, sequence: int, mode: Any) -> tuple[dict[str, Any], int]:
    """Inputs of one micro batch of `sequence` tokens, and the image tokens in each record.

    Integer tensors are real, pixel values are fake (made under `mode`). With more than one record the others are
    padded, as in a batch of unequal records: the dense mask then selects another attention kernel.
    """
    records = run.per_device_train_batch_size or 1
    text = text_config(config)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, max(text.vocab_size - 64, 1), (records, sequence), generator=generator)
    mask = torch.ones(records, sequence, dtype=torch.long)
    for row in range(1, records):
        mask[row, sequence - min(sequence // 4, 64 * row) :] = 0
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    tokens = _add_images(config, run, batch, sequence, mode)
    labels = ids.clone()
    labels[mask == 0] = -100
    batch["labels"] = labels
    return batch, tokens


def _add_images(config: Any, run: Run, batch: dict[str, Any], sequence: int, mode: Any) -> int:
    kind = getattr(config, "model_type", "")
    if kind in ("qwen2_vl", "qwen2_5_vl"):
        return _qwen(config, batch, sequence, mode)
    if kind in ("minicpmv4_6", "minicpmv4_7"):
        return _minicpmv(config, run, batch, sequence, mode)
    return 0


def _qwen(config: Any, batch: dict[str, Any], sequence: int, mode: Any) -> int:
    vision = config.vision_config
    merge = int(vision.spatial_merge_size)
    side = min(_QWEN_GRID, int((max(sequence - 64, 0) * merge**2) ** 0.5)) // merge * merge
    if side == 0:
        return 0
    records, tokens = batch["input_ids"].shape[0], side * side // merge**2
    kinds = torch.zeros_like(batch["input_ids"])
    batch["input_ids"][:, 4 : 4 + tokens] = config.image_token_id
    kinds[:, 4 : 4 + tokens] = 1
    width = getattr(vision, "in_channels", 3) * vision.temporal_patch_size * vision.patch_size**2
    with mode:
        pixels = torch.empty(records * side * side, width, dtype=torch.bfloat16)
    batch.update(pixel_values=pixels, image_grid_thw=torch.tensor([[1, side, side]] * records), mm_token_type_ids=kinds)
    return tokens


def _minicpmv(config: Any, run: Run, batch: dict[str, Any], sequence: int, mode: Any) -> int:
    if config.image_token_id is None:
        return 0
    vision = config.vision_config
    each = (_SLICE_GRID // 4) ** 2 if config.downsample_mode != "4x" else (_SLICE_GRID // 2) ** 2
    pieces = min((run.max_slice_nums or 9) + 1, max(sequence - 64, 0) // each)
    if pieces == 0:
        return 0
    records, tokens = batch["input_ids"].shape[0], pieces * each
    batch["input_ids"][:, 4 : 4 + tokens] = config.image_token_id
    patches = records * pieces * _SLICE_GRID**2
    with mode:
        pixels = torch.empty(
            1, vision.num_channels, vision.patch_size, patches * vision.patch_size, dtype=torch.bfloat16
        )
    sizes = torch.tensor([[_SLICE_GRID, _SLICE_GRID]] * (records * pieces), dtype=torch.int32)
    batch.update(pixel_values=pixels, target_sizes=sizes)
    return tokens
