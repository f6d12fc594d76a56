"""Tokenises text into which image blocks are written out (MiniCPM-V's scripts), and finds the blocks' tokens.

A block begins and ends with special tokens, so that it is tokenised the same in any text: its ids are made once, and
the text is tokenised in pieces around it. Where a tokenizer treats the beginning of a text in another way, or its
markers are no special tokens, the whole text is tokenised and blocks are found by their characters.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Sequence

from lorachk.facts.encoding.types import Ids, Span, Text, Tokens

_CACHED = 4096  # blocks; a block is about 700 ids

Written = Generator[list[Text], list[Ids], tuple[list[int], list[Span]]]


class Writer:
    """Tokenises texts with blocks in them. `markers` are the tokens that blocks begin and end with."""

    def __init__(self, tokens: Tokens, markers: Sequence[str]) -> None:
        self._tokens = tokens
        self._apart = tokens.independent and all(map(tokens.is_special, markers))
        self._ids: dict[str, list[int]] = {}

    def written(self, text: str, blocks: Sequence[str], *, special: bool = False) -> Written:
        """Ids of the text and the spans of its blocks; `blocks` are their texts in the order of the text.

        A block that a template removed has no span.
        """
        places = _places(text, blocks)
        if special or not self._apart:
            return (yield from self._whole(text, places, special))
        return (yield from self._pieces(text, places))

    def _pieces(self, text: str, places: list[tuple[int, int]]) -> Written:
        blocks = [text[start:end] for start, end in places]
        new = [block for block in dict.fromkeys(blocks) if block not in self._ids]
        cuts = [0, *(at for place in places for at in place), len(text)]
        between = [text[start:end] for start, end in zip(cuts[::2], cuts[1::2], strict=True)]
        found = yield [Text(piece) for piece in (*between, *new)]
        if len(self._ids) > _CACHED:
            self._ids.clear()
        self._ids.update(zip(new, (one.ids for one in found[len(between) :]), strict=True))
        known = {block: self._ids.get(block) for block in blocks}
        ids = list(found[0].ids)
        spans: list[Span] = []
        for block, after in zip(blocks, found[1:], strict=False):
            of_block = known[block]
            assert of_block is not None
            spans.append(Span(len(ids), len(ids) + len(of_block)))
            ids += of_block
            ids += after.ids
        return ids, spans

    def _whole(self, text: str, places: list[tuple[int, int]], special: bool) -> Written:
        found = (yield [Text(text, special, offsets=bool(places))])[0]
        if found.offsets is None:
            return found.ids, []
        starts = [start for start, _ in found.offsets]
        ends = [end for _, end in found.offsets]
        # Offsets of tokens the post-processor adds are (0, 0), at the end as well.
        last = len(ends) - (special and len(ends) > 1 and found.offsets[-1] == (0, 0))
        return found.ids, [
            Span(bisect_right(ends, start, 0, last), bisect_left(starts, end, 0, last)) for start, end in places
        ]


def _places(text: str, blocks: Sequence[str]) -> list[tuple[int, int]]:
    """Characters of each block that is in the text."""
    found: list[tuple[int, int]] = []
    at = 0
    for block in blocks:
        start = text.find(block, at)
        if start >= 0:
            at = start + len(block)
            found.append((start, at))
    return found
