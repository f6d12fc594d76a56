"""What one image becomes: the answer of the visual-token arithmetic, and the refusal."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

Size = tuple[int, int]  # (width, height) in pixels, everywhere in this package

# Runs of newlines are one token in every tokenizer of these families, a digit is one token, and a word takes its blank
# along; true of what the processors write around images, not of text in general.
_ASSUMED = re.compile(r"\n+|\d| ?[^\s\d]+| +")


class Refused(ValueError):
    """The model's own processor raises for this image or these settings; the message says why."""


class Visual(NamedTuple):
    """One image, as the vision tower and the sequence get it.

    `pieces`: crops the vision tower sees, thumbnail or whole image included. `features`: rows of visual features that
    are put in the places of as many placeholder tokens (1 in mllama, which attends to its tiles elsewhere). `tokens`:
    all that the image takes in the sequence, with markers, newlines and id. `starts`, `ends`: start and end markers of
    images and slices, 0 where a family has none. `size`: the whole image after resizing. `text`: the stretches of
    ordinary text within the block, which `tokens` counts by rule and `exact` by the tokenizer. `outside`: how many of
    `tokens` the chat template writes, not the processor.
    """

    pieces: int
    features: int
    tokens: int
    starts: int
    ends: int
    size: Size
    text: tuple[str, ...] = ()
    outside: int = 0


def visual(
    pieces: int,
    features: int,
    markers: int,
    size: Size,
    *,
    starts: int = 0,
    ends: int = 0,
    text: Sequence[str] = (),
    outside: int = 0,
) -> Visual:
    """A Visual whose tokens are features, `markers` (special tokens) and the text's tokens."""
    features = max(
        features, 0
    )  # settings that do not fit together repeat the placeholder less than 0 times: not at all
    tokens = features + markers + sum(_assumed(stretch) for stretch in text)
    return Visual(pieces, features, tokens, starts, ends, size, tuple(text), outside)


def behind(found: Visual, text: str) -> Visual:
    """The image with ordinary text directly behind it, which a trainer writes for each image."""
    return found._replace(tokens=found.tokens + _assumed(text), text=(*found.text, text))


def exact(found: Visual, count_text: Callable[[str], int]) -> int:
    """Tokens of the block with its ordinary text counted by a tokenizer (which adds no special tokens).

    Text at the block's two ends may still merge with what stands beside it.
    """
    return found.tokens + sum(count_text(stretch) - _assumed(stretch) for stretch in found.text)


def _assumed(stretch: str) -> int:
    return len(_ASSUMED.findall(stretch))
