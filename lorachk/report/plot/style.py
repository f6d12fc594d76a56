"""Colours, numbers and scales that all panels share. The colours are Okabe and Ito's, told apart by everyone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

IMAGE, TEXT, SUPERVISED, UNLABELLED = "#0072B2", "#BBBBBB", "#009E73", "#DDDDDD"
OVER, OVER_BOUND = "#D55E00", "#F3BD93"
FITS, FITS_BOUND = "#4B5D6E", "#B9C5D0"
INK, FAINT = "#222222", "#666666"
# Light to dark, for what grows.
STEPS = ("#B5D4EA", "#7FB4DA", "#3F8FC4", "#0A649E", "#00304F")
_TICKS = 3  # fewer powers of two tell no scale
_FEWEST = 20  # bins that an axis has room for
_LOG = 100  # the highest bar is this many times the lowest: a linear axis would hide the low ones

SETTINGS = {
    "text.parse_math": False,  # names of files are text
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def thousands(axis: Any) -> None:
    """Ticks such as 2,048; only whole numbers, as tokens, records and pixels are."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value == int(value) else ""))
    axis.set_minor_formatter(NullFormatter())


def counts(axes: Any, values: Sequence[int], noun: str, room: float = 1.1) -> None:
    """The axis of counts: from 0, or logarithmic where single records would vanish beside thousands.

    `room`: how far it goes on above the highest bar.
    """
    seen = [value for value in values if value > 0]
    logarithmic = bool(seen) and max(seen) > _LOG * min(seen)
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(0.6 * min(1, *seen), room**8 * max(seen))
    else:
        from matplotlib.ticker import MaxNLocator

        axes.set_ylim(0, room * max(seen, default=1))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    thousands(axes.yaxis)
    axes.set_ylabel(f"{noun} (log scale)" if logarithmic else noun)
    axes.grid(axis="y")


def span(axes: Any, low: float, high: float, bin: float) -> None:
    """The linear axis of tokens from the first bin to the last; a few bins do not fill it."""
    from matplotlib.ticker import MaxNLocator

    lacking = max(_FEWEST * bin - (high - low), 0.0) / 2
    room = max((high - low) * 0.01, lacking, 0.5)
    axes.set_xlim(max(low - room, min(low, 0.0)), high + room)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def heading(axes: Any, title: str, said: str) -> None:
    """The title of a small panel, with a sentence below it; never wider than the panel."""
    import textwrap

    axes.set_title(f"{title}\n{textwrap.fill(said, 46)}")


def doubling(axis: Any, low: float, high: float, most: int = 5) -> None:
    """Ticks of a logarithmic axis at powers of two, at most about so many as can be read."""
    from math import ceil, floor, log2

    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    first, last = ceil(log2(max(low, 1))), floor(log2(max(high, 2)))
    each = max(1, ceil((last - first) / most))
    ticks = [2.0**n for n in range(first, last + 1, each)]
    if len(ticks) < _TICKS:  # a short stretch
        ticks = [t for t in MaxNLocator(4, integer=True).tick_values(low, high) if low <= t <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    thousands(axis)
