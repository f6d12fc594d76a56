"""Micro batches for the rehearsal: the user's records through the user's own processor, or synthetic ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lorachk.rehearsal.samples import Sample

_SYNTHETIC_TOKENS = 48
_MOST_TEXT = 1024  # tokens; longer text only makes a text miniature slower
Batch = dict[str, Any]


@dataclass
class Batches:
    """Micro batches (dictionaries of tensors, padded) and where they come from."""

    batches: list[Batch]
    images: bool  # some batch has pixels
    synthetic: bool


def takes_images(encoder: Any) -> bool:
    """Whether the encoder has an image processor."""
    return getattr(encoder, "image_processor", None) is not None


def encode(encoder: Any, samples: list[Sample], records: int, max_length: int | None) -> list[Batch]:
    """Micro batches of `records` records; records over `max_length` tokens are left out (the token rules name them)."""
    groups: list[list[Sample]] = []
    for kind in (True, False):
        same = [s for s in samples if bool(s.images) is kind]
        fitting = [s for s in same if _fits(encoder, s, max_length)]
        if fitting:
            cyclic = [fitting[i % len(fitting)] for i in range(max(records, len(fitting)))]
            groups += [cyclic[i : i + records] for i in range(0, len(cyclic) - records + 1, records)]
    # Batches with images and without take turns, so that the ranks of one step differ.
    pictures = [g for g in groups if g[0].images]
    texts = [g for g in groups if not g[0].images]
    ordered = [g for i in range(max(len(pictures), len(texts))) for g in (*pictures[i : i + 1], *texts[i : i + 1])]
    return [_collate(encoder, group, max_length) for group in ordered]


def _render(encoder: Any, messages: list[dict[str, Any]], prompt: bool) -> str:
    """The conversation as text by the encoder's chat template; plain lines when it has none."""
    flat = messages if takes_images(encoder) else [{**m, "content": _text(m)} for m in messages]
    template = getattr(encoder, "chat_template", None) or getattr(
        getattr(encoder, "tokenizer", None), "chat_template", None
    )
    if template:
        return str(encoder.apply_chat_template(flat, tokenize=False, add_generation_prompt=prompt))
    return "".join(f"{m['role']}: {_text(m)}\n" for m in messages) + ("assistant: " if prompt else "")


def _text(message: dict[str, Any]) -> str:
    return "".join(p.get("text", "") for p in message["content"])


def _call(encoder: Any, texts: list[str], images: list[list[Any]]) -> Any:
    options: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
    tokenizer = getattr(encoder, "tokenizer", encoder)
    if getattr(tokenizer, "pad_token", None) is None and getattr(tokenizer, "eos_token", None) is not None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    if any(images):
        return encoder(text=texts, images=images, **options)
    return encoder(text=texts, **options)


def _fits(encoder: Any, sample: Sample, max_length: int | None) -> bool:
    ids = _call(encoder, [_render(encoder, sample.messages, prompt=False)], [sample.images])["input_ids"]
    return max_length is None or ids.shape[1] <= max_length or not sample.images


def _collate(encoder: Any, group: list[Sample], max_length: int | None) -> Batch:
    """One padded micro batch with labels on what follows the last prompt (padding is -100)."""
    texts = [_render(encoder, s.messages, prompt=False) for s in group]
    batch = dict(_call(encoder, texts, [s.images for s in group]).items())
    labels = batch["input_ids"].clone()
    labels[batch["attention_mask"] == 0] = -100
    for row, (sample, text) in enumerate(zip(group, texts, strict=True)):
        prompt = _render(encoder, sample.messages[:-1], prompt=True)
        # A template that rewrites earlier turns (drops their thinking, say) gives no common prefix: all is supervised.
        if text.startswith(prompt):
            length = _call(encoder, [prompt], [sample.images])["input_ids"].shape[1]
            if bool((labels[row, length:] != -100).any()):
                labels[row, :length] = -100
    batch["labels"] = labels
    if not any(s.images for s in group):
        limit = min(max_length or _MOST_TEXT, _MOST_TEXT)
        first = int((labels[0] != -100).nonzero()[0]) if bool((labels[0] != -100).any()) else 0
        # Only text is cut here, and never so that nothing supervised stays.
        start = max(0, first + 1 - limit // 2)
        batch = {
            k: v[:, start : start + limit] if v.ndim == 2 and v.shape == labels.shape else v for k, v in batch.items()
        }
    return batch


def synthetic(vocabulary: int, records: int, count: int, seed: int, reserved: Iterable[int] = ()) -> list[Batch]:
    """Random ids that are neither reserved nor out of range; labels on the second half.

    Shapes: records x 48.
    """
    import torch

    avoid = set(reserved)
    usable = [i for i in range(min(vocabulary, 4096)) if i not in avoid] or [0]
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        picks = torch.randint(len(usable), (records, _SYNTHETIC_TOKENS), generator=generator)
        ids = torch.tensor(usable)[picks]
        labels = ids.clone()
        labels[:, : _SYNTHETIC_TOKENS // 2] = -100
        made.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
    return made


def used_ids(batches: list[Batch]) -> set[int]:
    """Every token id in the batches."""
    return {int(i) for b in batches for i in b["input_ids"].unique()}


def renumber(batches: list[Batch], table: dict[int, int]) -> list[Batch]:
    """Batches with token ids taken through `table`; labels too, -100 stays."""
    keep = {**table, -100: -100}
    return [
        {k: v.clone().apply_(lambda i: keep[int(i)]) if k in ("input_ids", "labels") else v for k, v in batch.items()}
        for batch in batches
    ]
