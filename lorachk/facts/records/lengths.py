"""Bounds on a record's tokens without a tokenizer: images exactly, text between one token and its bytes.

A byte-level tokenizer makes at most one token of each UTF-8 byte; a turn with text makes at least one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from lorachk.facts.records.dialect import KEY, PLACEHOLDER, Shape, Turn

# ChatML: <|im_start|> role \n ... <|im_end|> \n.
# llama3: <|start_header_id|> role <|end_header_id|> \n\n ... <|eot_id|>.
TURN_TOKENS = (4, 6)
# A system prompt the template adds, BOS, an empty <think> block.
FRAME_TOKENS = (0, 32)


class Span(NamedTuple):
    """Tokens of one image block: at least, at most."""

    low: int
    high: int


class Bounds(NamedTuple):
    """Bounds on a record: text with its template, images, tokens before the first answer, ends of image blocks."""

    text: Span
    images: Span
    before_labels: Span
    image_ends: list[Span]
    later_images: bool

    @property
    def total(self) -> Span:
        """Bounds on the whole record."""
        return Span(self.text.low + self.images.low, self.text.high + self.images.high)


def utf8_length(text: str) -> int:
    """UTF-8 bytes, of the NFC form when that is longer: Qwen's tokenizers normalise first."""
    if text.isascii():
        return len(text)
    size = len(text.encode("utf-8", "replace"))
    if unicodedata.is_normalized("NFC", text):
        return size
    return max(size, len(unicodedata.normalize("NFC", text).encode("utf-8", "replace")))


def bounds(shape: Shape, blocks: Sequence[Span]) -> Bounds:
    """Bounds of a record; `blocks` in the order of `shape.images`."""
    placed = _placements(shape, blocks)
    low, high = FRAME_TOKENS
    text = images = before = Span(low, high)
    images = Span(0, 0)
    found_label, later = False, False
    ends: list[Span] = []
    for number, turn in enumerate(shape.turns or []):
        if turn.speaker == "assistant" and not found_label:
            found_label = True
            before = Span(text.low + images.low + 2, text.high + images.high + 4)
        for offset, block in placed.get(number, ()):
            images = Span(images.low + block.low, images.high + block.high)
            # Newlines that are put around an image are at most two tokens each.
            text = text._replace(high=text.high + 2)
            ends.append(Span(text.low + images.low + 1, text.high + images.high + offset + 4))
            later = later or found_label
        size = utf8_length(turn.text)
        least = TURN_TOKENS[0] + (1 if _has_text(turn) else 0)
        text = Span(text.low + least, text.high + size + TURN_TOKENS[1])
    if not found_label:
        before = Span(text.low + images.low, text.high + images.high)
    return Bounds(text, images, before, ends, later)


def _has_text(turn: Turn) -> bool:
    text = turn.text
    if turn.placeholders or turn.keys:
        text = KEY.sub("", text.replace(PLACEHOLDER, ""))
    return bool(text.strip())


def _placements(shape: Shape, blocks: Sequence[Span]) -> dict[int, list[tuple[int, Span]]]:
    """Turn to the blocks in it, each with the bytes of text before it."""
    placed: dict[int, list[tuple[int, Span]]] = {}
    turns = shape.turns or []
    if shape.dialect == "minicpmv-multi":
        by_key = {image.key: block for image, block in zip(shape.images, blocks, strict=True)}
        for number, turn in enumerate(turns):
            for match in KEY.finditer(turn.text) if turn.keys else ():
                if (block := by_key.get(match.group())) is not None:
                    placed.setdefault(number, []).append((utf8_length(turn.text[: match.start()]), block))
        if not placed and PLACEHOLDER in by_key and len(by_key) == 1:
            placed[0] = [(max(0, turns[0].text.find(PLACEHOLDER)) * 4, by_key[PLACEHOLDER])] if turns else []
        return placed
    rest = list(blocks)
    for number, turn in enumerate(turns):
        at = -1
        for _ in range(min(turn.placeholders, len(rest))):
            at = turn.text.find(PLACEHOLDER, at + 1)
            before = utf8_length(turn.text if at < 0 else turn.text[:at])
            placed.setdefault(number, []).append((before, rest.pop(0)))
    if rest and turns:  # without a placeholder an image goes in front of the first turn
        placed[0] = [(0, block) for block in rest] + placed.get(0, [])
    return placed
