"""The worst batch of a run: token ids and, where the model's image inputs are known, images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from lorachk.memory.skeleton import text_config

if TYPE_CHECKING:
    from lorachk.run import Run

_QWEN_SIDE = 72  # patches per side of one 1008 x 1008 image
_SLICE_SIDE = 32  # patches per side of a 448 x 448 slice of MiniCPM-V
_UNIT_SIDE = 16  # patches per side of the small image that traces are extended from
_TEXT = 64  # tokens left for text
_GAP = 2  # tokens between images: their markers


class Images(NamedTuple):
    """Images of one record: how many, patches per side of each, tokens of each in the sequence."""

    number: int
    side: int
    tokens: int

    @property
    def patches(self) -> int:
        """Patches of all images."""
        return self.number * self.side**2


def images(config: Any, run: Run, sequence: int) -> Images | None:
    """The largest images of a record that fit into the sequence; None for text models and inputs not known.

    Qwen-VL: one image of up to 1008 x 1008. MiniCPM-V 4.6 and 4.7: max_slice_nums slices of 448 x 448 and the overview.
    """
    room = max(sequence - _TEXT, 0)
    merge = _merge(config)
    if merge is None:
        return None
    if _is_qwen(config):
        side = min(_QWEN_SIDE, int((room * merge**2) ** 0.5)) // merge * merge
        return Images(1, side, side**2 // merge**2) if side else None
    if config.image_token_id is None:
        return None
    tokens = _SLICE_SIDE**2 // merge**2
    count = min((run.max_slice_nums or 9) + 1, room // (tokens + _GAP))
    return Images(count, _SLICE_SIDE, tokens) if count else None


def unit(config: Any, count: int) -> Images:
    """`count` small images."""
    return Images(count, _UNIT_SIDE, _UNIT_SIDE**2 // (_merge(config) or 1) ** 2)


def make(config: Any, run: Run, sequence: int, shown: Images | None, mode: Any) -> dict[str, Any]:
    """Inputs of one micro batch of `sequence` tokens with the images `shown` in each record.

    Integer tensors are real, pixel values are fake (made under `mode`). With more than one record the others are
    padded, as in a batch of unequal records: the dense mask then selects another attention kernel.
    """
    records = run.per_device_train_batch_size or 1
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, max(text_config(config).vocab_size - _TEXT, 1), (records, sequence), generator=generator)
    for name in ("image_token_id", "video_token_id"):
        if getattr(config, name, None) is not None:
            ids[ids == getattr(config, name)] = 0
    mask = torch.ones(records, sequence, dtype=torch.long)
    for row in range(1, records):
        mask[row, sequence - min(sequence // 4, 64 * row) :] = 0
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if shown is not None:
        for start in range(4, 4 + shown.number * (shown.tokens + _GAP), shown.tokens + _GAP):
            ids[:, start : start + shown.tokens] = config.image_token_id
        batch.update(_pixels(config, batch, shown, records, mode))
    labels = ids.clone()
    labels[mask == 0] = -100
    batch["labels"] = labels
    return batch


def _pixels(config: Any, batch: dict[str, Any], shown: Images, records: int, mode: Any) -> dict[str, Any]:
    vision, n, side = config.vision_config, records * shown.number, shown.side
    if _is_qwen(config):
        width = getattr(vision, "in_channels", 3) * vision.temporal_patch_size * vision.patch_size**2
        with mode:
            pixels = torch.empty(n * side * side, width, dtype=torch.bfloat16)
        kinds = (batch["input_ids"] == config.image_token_id).long()
        grid = torch.tensor([[1, side, side]] * n)
        return {"pixel_values": pixels, "image_grid_thw": grid, "mm_token_type_ids": kinds}
    long = n * side * side * vision.patch_size
    with mode:
        pixels = torch.empty(1, vision.num_channels, vision.patch_size, long, dtype=torch.bfloat16)
    return {"pixel_values": pixels, "target_sizes": torch.tensor([[side, side]] * n, dtype=torch.int32)}


def _is_qwen(config: Any) -> bool:
    return getattr(config, "model_type", "") in ("qwen2_vl", "qwen2_5_vl")


def _merge(config: Any) -> int | None:
    """Patches per side that become one token; None for models whose image inputs are not known."""
    if _is_qwen(config):
        return int(config.vision_config.spatial_merge_size)
    if getattr(config, "model_type", "") in ("minicpmv4_6", "minicpmv4_7"):
        return 2 if config.downsample_mode == "4x" else 4
    return None
