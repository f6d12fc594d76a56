"""Bars of characters: how long each is, and which kind of token each of its cells stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lorachk.facts.encoding.histogram import Bin


class Kind(NamedTuple):
    """A kind of token: its field in `Bin`, how a cell of it looks, and what it is called."""

    name: str
    block: str
    ascii: str
    style: str
    words: str


# Neighbours differ without colour, too.
KINDS = (
    Kind("image", "█", "#", "blue", "image"),
    Kind("text", "░", "-", "", "text"),
    Kind("supervised", "▓", "=", "green", "supervised text (labels)"),
    Kind("unlabelled", "▒", "~", "", "text"),
)
SLIVER, ASCII_SLIVER = "▏", "."  # some records, but less than half a cell


def cells(bins: Sequence[Bin], width: int) -> list[int]:
    """The length of each bin's bar; the fullest bin has `width`. 0 is for half a cell and less."""
    most = max((b.records for b in bins), default=0)
    return [(2 * b.records * width + most) // (2 * most) if most else 0 for b in bins]


def segments(amounts: Mapping[str, int], length: int) -> dict[str, int]:
    """`length` cells shared out in proportion to the amounts: whole cells that add up, the largest rests first."""
    total = sum(amounts.values())
    if total <= 0:
        return dict.fromkeys(amounts, 0)
    shared = {name: divmod(amount * length, total) for name, amount in amounts.items()}
    rest = length - sum(whole for whole, _ in shared.values())
    order = sorted(shared, key=lambda name: -shared[name][1])
    return {name: whole + (name in order[:rest]) for name, (whole, _) in shared.items()}


def amounts(row: Bin) -> dict[str, int]:
    """Tokens of a bin by kind."""
    return {kind.name: int(getattr(row, kind.name)) for kind in KINDS}


def kinds_in(bins: Sequence[Bin]) -> list[Kind]:
    """The kinds that there are any tokens of; text that nobody labelled is told apart only beside text that is."""
    found = [kind for kind in KINDS if any(getattr(b, kind.name) for b in bins)]
    names = {kind.name for kind in found}
    if "unlabelled" not in names or not names & {"text", "supervised"}:
        return found
    told = {"text": "text that is not trained on", "unlabelled": "text that was not tokenised"}
    return [kind._replace(words=told.get(kind.name, kind.words)) for kind in found]
