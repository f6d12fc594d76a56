"""Image blocks of trainers that write an image into the text of its turn before it is tokenised.

A stand-in is written first, then one placeholder token between the block's markers. Once the text is tokenised that one
token is repeated, which gives the same tokens: around a special token text is tokenised apart. A placeholder that the
user's own text holds is told from ours by counting.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lorachk.facts.encoding.cutting import positions
from lorachk.facts.encoding.pieces import BlockIds, minicpm_text
from lorachk.facts.encoding.types import ImageBlock, Span, Tokens, Unencodable

_STANDIN = re.compile("\0(\\d+)\0")


class Layout(NamedTuple):
    """How an image is written: `around[0]`, `start`, the placeholders, `end`, `around[1]`; `{n}` is its number from 1.

    `starts` and `ends` are the markers whose tokens are counted, where they are more than `start` and `end`. `rows`:
    the placeholders stand in rows, with the first token after each and the second after the last (Pixtral). `whole`:
    the block's own text is written. `front`: placeholders stand before all text. `exact`: the model raises when it
    finds another number of placeholders than features.
    """

    placeholder: str
    start: str = ""
    end: str = ""
    around: tuple[str, str] = ("", "")
    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    rows: tuple[str, str] | None = None
    whole: bool = False
    front: bool = False
    exact: bool = True


class Place(NamedTuple):
    """An image written into a text: its number, and which occurrence of the layout's token in the text is its own."""

    image: int
    occurrence: int


def standin(image: int) -> str:
    """What stands for an image until its text is written."""
    return f"\0{image}\0"


class Writer:
    """Writes images by a layout and finds their tokens again."""

    def __init__(self, layout: Layout, tokens: Tokens) -> None:
        self.layout = layout
        self.tokens = tokens
        self.token = layout.start if layout.whole else layout.placeholder  # repeated, or replaced by the whole block
        identity = tokens.id_of(self.token)
        placeholder = tokens.id_of(layout.placeholder)
        if identity is None or placeholder is None or identity not in tokens.encode(f"a{self.token}a"):
            missing = layout.placeholder if placeholder is None else self.token
            raise Unencodable(f"the tokenizer has no token {missing}, which stands for images")
        self.id, self.placeholder_id = identity, placeholder
        self.start_ids = self._markers(layout.starts or (layout.start,))
        self.end_ids = self._markers(layout.ends or (layout.end,))
        if layout.whole and not self.end_ids:
            raise Unencodable(f"the tokenizer has no token {(layout.ends or (layout.end,))[0]}, which ends images")
        self._encoded = BlockIds(tokens)
        self._image_id = tokens.id_of("<image_id>") is not None
        # How many tokens of the block stand before and after the placeholders.
        self._before, self._after = (0, 0) if layout.whole else (self._length(layout.start), self._length(layout.end))

    def _markers(self, markers: tuple[str, ...]) -> frozenset[int]:
        found = (self.tokens.id_of(marker) for marker in markers if marker)
        return frozenset(each for each in found if each is not None)

    def _length(self, text: str) -> int:
        return len(self.tokens.encode(text)) if text else 0

    def write(self, text: str, blocks: list[ImageBlock]) -> tuple[str, list[Place]]:
        """The text with every stand-in replaced, and where the images are in it."""
        if "\0" not in text:
            return text, []
        if self.layout.front:
            return _STANDIN.sub("", text), []
        parts: list[str] = []
        places: list[Place] = []
        seen = last = 0
        for found in _STANDIN.finditer(text):
            image = int(found.group(1))
            parts.append(text[last : found.start()])
            before, after = self._surroundings(image, blocks)
            parts.append(before)
            seen += parts[-2].count(self.token) + before.count(self.token)
            places.append(Place(image, seen))
            seen += 1
            parts += [self.token, after]
            last = found.end()
            seen += after.count(self.token)
        parts.append(text[last:])
        return "".join(parts), places

    def _surroundings(self, image: int, blocks: list[ImageBlock]) -> tuple[str, str]:
        before, after = self.layout.around
        if self.layout.whole:
            # Text that follows the block's last marker is tokenised with what comes after it.
            written = self._text(image, blocks[image])
            return before, written[written.rfind(">") + 1 :] + after
        number = str(image + 1)
        return before.replace("{n}", number) + self.layout.start, self.layout.end + after

    def expand(self, ids: list[int], places: list[Place], blocks: list[ImageBlock]) -> tuple[list[int], list[Span]]:
        """The tokens with each image's own token expanded, and the spans of the blocks."""
        if not places:
            return ids, []
        own = {place.occurrence: place.image for place in places}
        out: list[int] = []
        spans: list[Span] = []
        last = 0
        for occurrence, place in enumerate(positions(ids, self.id)):
            image = own.get(occurrence)
            if image is None:
                continue
            out += ids[last:place]
            start = len(out) - self._before
            out += self._expansion(image, blocks[image])
            spans.append(Span(start, len(out) + self._after))
            last = place + 1
        out += ids[last:]
        return out, spans

    def _text(self, image: int, block: ImageBlock) -> str:
        return minicpm_text(block, image, self.layout.placeholder, image_id=self._image_id)

    def _expansion(self, image: int, block: ImageBlock) -> list[int]:
        if self.layout.whole:
            text = self._text(image, block)
            return self._encoded(text[: text.rfind(">") + 1])
        features = [self.placeholder_id] * block.features
        if self.layout.rows is not None and block.tokens > block.features:
            newline, end = (self.tokens.id_of(token) or 0 for token in self.layout.rows)
            rows = block.tokens - block.features
            row = [*features[: block.features // rows], newline]
            return [*(row * rows)[:-1], end]
        return features
