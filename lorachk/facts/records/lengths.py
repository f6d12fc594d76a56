"""Bounds on a record's tokens without a tokenizer: images exactly, text between one token and its bytes.

A byte-level tokenizer makes at most one token of each UTF-8 byte; a turn with text makes at least one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from lorachk.facts.records.dialect import PLACEHOLDER

# ChatML: <|im_start|> role \n ... <|im_end|> \n.
# llama3: <|start_header_id|> role <|end_header_id|> \n\n ... <|eot_id|>.
TURN_TOKENS = (4, 6)
# A system prompt the template adds, BOS, an empty <think> block.
FRAME_TOKENS = (0, 32)
# Any MiniCPM-V's block, for an image that could not be read: one piece of 64; slices of 96.
LEAST = 66
_BLANKS = 2  # characters beside placeholders that may be white space, which templates trim


class Span(NamedTuple):
    """Tokens: at least, at most."""

    low: int
    high: int


class TurnSize(NamedTuple):
    """A turn as the table `turn` holds it."""

    speaker: str | None
    characters: int
    bytes: int
    placeholders: int
    keys: Sequence[str]


class Measured(NamedTuple):
    """Bounds on a record: text with its template, images, tokens before the first answer, ends of image blocks."""

    text: Span
    images: Span
    before_labels: Span
    image_ends: list[Span]
    later_images: bool  # an image stands after the first answer

    @property
    def total(self) -> Span:
        """Bounds on the whole record."""
        return Span(self.text.low + self.images.low, self.text.high + self.images.high)

    def beyond(self, spans: Sequence[Span], limit: int) -> bool | None:
        """Whether any span ends beyond the limit: sure, ruled out, or unknown."""
        if any(span.low > limit for span in spans):
            return True
        return False if all(span.high <= limit for span in spans) else None


def utf8_length(text: str) -> int:
    """UTF-8 bytes, of the NFC form when that is longer: Qwen's tokenizers normalise first."""
    if text.isascii():
        return len(text)
    size = len(text.encode("utf-8", "replace"))
    if unicodedata.is_normalized("NFC", text):
        return size
    return max(size, len(unicodedata.normalize("NFC", text).encode("utf-8", "replace")))


def measure(
    select: Callable[[str], Iterable[tuple[Any, ...]]], max_slice_nums: int
) -> Iterator[tuple[str, int, Measured]]:
    """Path, record and bounds of every record with turns, from the tables `turn` and `image`.

    `select` runs a query on the facts; `max_slice_nums` bounds the images that could not be read.
    """
    largest = 98 * (max_slice_nums + 1) + 4 + max_slice_nums + 8
    turns = select(
        "SELECT path::VARCHAR, record, speaker, characters, bytes, placeholders, keys FROM turn "
        "ORDER BY path::VARCHAR, record, turn"
    )
    images = groupby(
        select("SELECT path::VARCHAR, record, key, tokens FROM image ORDER BY path::VARCHAR, record, position"),
        key=lambda row: (row[0], row[1]),
    )
    there = next(images, None)
    for place, rows in groupby(turns, key=lambda row: (row[0], row[1])):
        sizes = [TurnSize(*row[2:]) for row in rows]
        while there is not None and there[0] < place:
            there = next(images, None)
        blocks: list[tuple[str | None, Span]] = []
        if there is not None and there[0] == place:
            for _, _, key, tokens in there[1]:
                blocks.append((key, Span(LEAST, largest) if tokens is None else Span(tokens, tokens)))
        yield (*place, bounds(sizes, blocks))


def bounds(turns: Sequence[TurnSize], blocks: Sequence[tuple[str | None, Span]]) -> Measured:
    """Bounds of a record; `blocks` are its images in order, each with its key (MiniCPM-V's image object) or None."""
    placed = _placements(turns, blocks)
    low, high = FRAME_TOKENS
    text = before = Span(low, high)
    images = Span(0, 0)
    found_label, later = False, False
    ends: list[Span] = []
    for number, turn in enumerate(turns):
        if turn.speaker == "assistant" and not found_label:
            found_label = True
            before = Span(text.low + images.low + 2, text.high + images.high + 4)
        for block in placed.get(number, ()):
            images = Span(images.low + block.low, images.high + block.high)
            # Newlines that are put around an image are at most two tokens each.
            text = text._replace(high=text.high + 2)
            ends.append(Span(text.low + images.low + 1, text.high + images.high + turn.bytes + 4))
            later = later or found_label
        least = TURN_TOKENS[0] + (1 if _has_text(turn) else 0)
        text = Span(text.low + least, text.high + turn.bytes + TURN_TOKENS[1])
    if not found_label:
        before = Span(text.low + images.low, text.high + images.high)
    return Measured(text, images, before, ends, later)


def _has_text(turn: TurnSize) -> bool:
    marks = turn.placeholders * len(PLACEHOLDER) + sum(map(len, turn.keys))
    blanks = _BLANKS * (turn.placeholders + len(turn.keys)) if marks else 0
    return turn.characters > marks + blanks + (0 if marks else _BLANKS)


def _placements(turns: Sequence[TurnSize], blocks: Sequence[tuple[str | None, Span]]) -> dict[int, list[Span]]:
    """Turn to the blocks in it."""
    placed: dict[int, list[Span]] = {}
    by_key = {key: block for key, block in blocks if key is not None}
    if by_key:
        for number, turn in enumerate(turns):
            for key in turn.keys:
                if (block := by_key.get(key)) is not None:
                    placed.setdefault(number, []).append(block)
        if not placed and PLACEHOLDER in by_key and len(by_key) == 1:
            placed[0] = [by_key[PLACEHOLDER]] if turns else []
        return placed
    rest = [block for _, block in blocks]
    for number, turn in enumerate(turns):
        for _ in range(min(turn.placeholders, len(rest))):
            placed.setdefault(number, []).append(rest.pop(0))
    if rest and turns:  # without a placeholder an image goes in front of the first turn
        placed[0] = rest + placed.get(0, [])
    return placed
