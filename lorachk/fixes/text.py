"""Fixes of what turns say: numbers that are none, places of images, literal special tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from lorachk.facts.records.dialect import turn_pointer
from lorachk.facts.records.dialects.model import PLACEHOLDER
from lorachk.facts.records.literals import literal_pattern
from lorachk.fixes.fixer import Around, Change, Record, found, placed

# What rule D114 takes for a token of an image; other special tokens are D220's.
IMAGE_TOKENS = {
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_pad|>", "<|image|>"),
    *("<IMG_CONTEXT>", "<img>", "</img>", "<image_soft_token>", "<start_of_image>", "<end_of_image>"),
    *("<fake_token_around_image>", "<global-img>", "<|begin_of_image|>", "<|end_of_image|>"),
    *("[IMG]", "[IMG_BREAK]", "[IMG_END]", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>"),
}
_ENDS = re.compile(r"</image>|</?slice>")


def texts(record: Record) -> dict[str, str] | None:
    """Pointer to text of every turn; None when a turn is no text."""
    gathered: dict[str, str] = {}
    for number in range(len(record.shape.turns or ())):
        at = turn_pointer(record.shape, number)
        turn = found(record.value, at)
        if isinstance(turn, dict):
            at += "/value" if "value" in turn else "/content"
            turn = turn.get("value", turn.get("content"))
        if not isinstance(turn, str):
            return None
        gathered[at] = turn
    return gathered


def with_texts(value: Mapping[str, Any], changed: Mapping[str, str]) -> Mapping[str, Any]:
    """A copy with the texts at these pointers."""
    for pointer, text in changed.items():
        if found(value, pointer) != text:
            value = placed(value, pointer, text)
    return value


def finite(record: Record, around: Around) -> Change | None:
    """null for NaN and Infinity, which JSON does not have. Safe."""
    if not around.non_finite or _finite(record.value):
        return None
    return Change(without_nan(record.value), "D201", "NaN and Infinity are now null")


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list) else True


def without_nan(value: Any) -> Any:
    """A copy with null for every number that is not finite."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    return [without_nan(v) for v in value] if isinstance(value, list) else value


def usual_place(record: Record, around: Around) -> Change | None:
    """The placeholder that the trainer would put in front itself. Safe: the same is trained with and without.

    MiniCPM-V (finetune/dataset.py): block and line break before the first turn, of a single image. ms-swift
    (template/base.py::_add_default_tags): the missing tags before the first message. InternVL: as MiniCPM-V.
    """
    images = record.shape.images
    if around.trainer not in ("minicpmv", "internvl", "ms-swift") or record.shape.placeholders or not images:
        return None
    if not (before := texts(record)):
        return None
    if around.trainer in ("minicpmv", "internvl"):
        mark = f"{PLACEHOLDER}\n" if isinstance(record.value.get("image"), str) else ""
    elif around.trainer == "ms-swift" and record.shape.dialect in ("messages", "sharegpt", "llava"):
        mark = PLACEHOLDER * len(images)
    else:
        return None
    first, turns = next(iter(before)), record.shape.turns or []
    if not mark or turns[0].speaker != "user":
        return None
    value = with_texts(record.value, {first: mark + before[first]})
    return Change(value, "D108", "<image> stands where the trainer puts it anyway")


def missing_place(record: Record, around: Around) -> Change | None:
    """A placeholder where the trainer would ignore the image, or stop. Unsafe: something else is trained."""
    images = record.shape.images
    if record.shape.placeholders or not images or record.shape.dialect not in ("llava", "messages"):
        return None
    if not (before := texts(record)):
        return None
    if around.trainer not in (None, "llava", "qwen-vl", "qwen-vl-series", "llamafactory"):
        return None
    if around.trainer is None and record.shape.dialect == "messages":  # most readers place these themselves
        return None
    users = [p for p, turn in zip(before, record.shape.turns or [], strict=True) if turn.speaker == "user"]
    if not users:
        return None
    value = with_texts(record.value, {users[0]: f"{PLACEHOLDER}\n" * len(images) + before[users[0]]})
    return Change(value, "D108", "<image> stands in front of the first question")


def stray_markers(record: Record, around: Around) -> Change | None:
    """MiniCPM-V: image markers that would be taken for real ones. Unsafe: text is lost."""
    if around.trainer not in (None, "minicpmv") or not record.shape.dialect.startswith("minicpmv"):
        return None
    if not isinstance(record.value.get("image"), (str, dict)):
        return None
    before = texts(record)
    single = record.shape.dialect == "minicpmv" or list(record.value["image"]) == [PLACEHOLDER]
    after = {}
    for number, (pointer, text) in enumerate((before or {}).items()):
        kept = 1 if single and number == 0 else 0
        after[pointer] = _ENDS.sub("", _only(text, kept))
    if after == before or before is None:
        return None
    return Change(with_texts(record.value, after), "D109", "stray image markers are removed")


def _only(text: str, kept: int) -> str:
    """The text with its first `kept` placeholders; others go, with the line break behind them."""
    head, *rest = text.split(PLACEHOLDER)
    for number, part in enumerate(rest):
        head += PLACEHOLDER + part if number < kept else part.removeprefix("\n")
    return head


def special_tokens(record: Record, around: Around) -> Change | None:
    """Special tokens that stand in the text as text. Unsafe: text is lost."""
    before = texts(record)
    if not before or record.shape.dialect in ("text", "completion"):
        return None
    pattern = literal_pattern(around.family, record.shape.dialect)
    after = {pointer: pattern.sub("", text) for pointer, text in before.items()}
    if after == before:
        return None
    seen = {token for text in before.values() for token in pattern.findall(text)}
    code = "D114" if seen & IMAGE_TOKENS else "D220"
    return Change(with_texts(record.value, after), code, "literal special tokens are removed")
