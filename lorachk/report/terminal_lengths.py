"""The histogram of the terminal report: bars by length, the limit as a line through them, and a line on the images."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from lorachk.facts.encoding.histogram import Bin, Lengths
from lorachk.facts.encoding.imagesizes import Sizes
from lorachk.report.bars import ASCII_SLIVER, KINDS, SLIVER, Kind, amounts, cells, kinds_in, segments
from lorachk.report.lengths import beyond, known, longest, pictures, undecided
from lorachk.report.terminal_layout import block, line
from lorachk.report.words import plural

_WIDEST = 100  # characters; longer bars say no more
_NARROWEST = 10  # of a bar


def histogram(console: Console, lengths: Lengths, sizes: Sizes | None) -> None:
    """Title, bars with the limit, legend, what is exact, and the images."""
    plain = console.options.ascii_only
    title = f"Tokens per record: {plural(lengths.records, 'record')}, {longest(lengths)}"
    block(console, Text(title, style="bold"))
    labels = [f"{b.low:,}{'-' if plain else '–'}{b.high:,}" if b.low < b.high else f"{b.high:,}" for b in lengths.bins]
    counts = [f"{b.records:,}" for b in lengths.bins]
    first, last = max(map(len, labels)), max(map(len, counts))
    width = max(min(console.width, _WIDEST) - first - last - 6, _NARROWEST)
    marked = False
    for row, label, count, length in zip(lengths.bins, labels, counts, cells(lengths.bins, width), strict=True):
        if lengths.limit is not None and row.low > lengths.limit and not marked:
            line(console, _limit(lengths, first, width + last + first + 6, plain))
            marked = True
        text = Text(f"  {label:>{first}}  ")
        text.append_text(_bar(row, length, plain))
        text.append(" " * (width - text.cell_len + first + 4))
        line(console, text.append(f"  {count:>{last}}", style="" if row.records else "dim"))
    if lengths.limit is not None and not marked:
        line(console, _limit(lengths, first, width + last + first + 6, plain))
    _legend(console, kinds_in(lengths.bins), plain)
    for said in (undecided(lengths), known(lengths)):
        if said:
            block(console, Text(said, style="dim"), indent=2)
    if sizes is not None:
        block(console, Text(pictures(sizes)), indent=2)
    line(console, Text())


def _bar(row: Bin, length: int, plain: bool) -> Text:
    if not length:
        return Text((ASCII_SLIVER if plain else SLIVER) if row.records else "")
    text = Text()
    shared = segments(amounts(row), length)
    for kind in KINDS:
        text.append((kind.ascii if plain else kind.block) * shared[kind.name], style=kind.style)
    if not text:  # records without any token
        text.append(ASCII_SLIVER if plain else SLIVER)
    return text


def _limit(lengths: Lengths, first: int, width: int, plain: bool) -> Text:
    """A line from edge to edge, with the limit and what lies beyond it."""
    mark = "=" if plain else "━"
    words = f"  {mark * max(first - 6, 2)} limit {lengths.limit:,}: {beyond(lengths)} "
    style = "bold red" if lengths.longer else "bold yellow" if lengths.undecided else "bold"
    return Text(words + mark * (width - len(words)), style=style)


def _legend(console: Console, kinds: Sequence[Kind], plain: bool) -> None:
    text = Text()
    for kind in kinds:
        text.append("   " if text else "")
        text.append(kind.ascii if plain else kind.block, style=kind.style)
        text.append(f" {kind.words}")
    if text:
        block(console, text, indent=2)
