"""The panels of images: their sizes with what they cost, and the tokens they take by pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lorachk.facts.encoding.imagesizes import PIECES, Block, Point, Sizes
from lorachk.report.plot.style import IMAGE, STEPS, counts, doubling, heading, span, thousands
from lorachk.report.words import plural

_LARGEST, _SMALLEST = 220, 8  # square points


def draw_sizes(axes: Any, sizes: Sizes, points: Sequence[Point]) -> None:
    """One dot per size: the larger, the more images; the darker, the more tokens each."""
    most = max(p.images for p in points)
    area = [_SMALLEST + (_LARGEST - _SMALLEST) * (p.images / most) ** 0.5 * (most > 1) for p in points]
    shape = {"s": area, "alpha": 0.75, "linewidth": 0.3, "edgecolor": "white"}
    widths, heights = [p.width for p in points], [p.height for p in points]
    tokens = [p.tokens for p in points]
    known = [t for t in tokens if t is not None]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    if known and len(set(known)) > 1:
        from matplotlib.colors import LinearSegmentedColormap

        values = [float("nan") if t is None else t for t in tokens]
        colors = LinearSegmentedColormap.from_list("tokens", STEPS)
        dots = axes.scatter(widths, heights, c=values, cmap=colors, plotnonfinite=True, **shape)
        bar = axes.figure.colorbar(dots, ax=axes, pad=0.02, fraction=0.06)
        bar.outline.set_visible(False)
        thousands(bar.ax.yaxis)
        bar.set_label("tokens per image")
    else:
        axes.scatter(widths, heights, c=IMAGE, **shape)
    low, high = min(*widths, *heights) / 1.3, max(*widths, *heights) * 1.3
    for axis, limit in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        limit(low, high)
        doubling(axis, low, high)
    axes.plot([low, high], [low, high], color="#CCCCCC", linewidth=0.8, zorder=0)
    axes.grid(visible=True)
    axes.set_xlabel("width (pixels, log scale)")
    axes.set_ylabel("height (pixels, log scale)")
    count = "dots grow with the number of images" if most > 1 else "one dot per image"
    heading(axes, f"Sizes of {plural(sizes.sized, 'image')}", count)


def draw_tokens(axes: Any, blocks: Sequence[Block]) -> None:
    """Images by their tokens, stacked by pieces."""
    left = [b.low - 1 for b in blocks]
    width = [b.high - b.low + 1 for b in blocks]
    base = [0] * len(blocks)
    bounds = (0, *PIECES)
    for number, color in enumerate(STEPS):
        height = [b.images[number] for b in blocks]
        if any(height):
            low, high = bounds[number] + 1, PIECES[number] if number < len(PIECES) else None
            words = f"{low} or more pieces" if high is None else f"{low} to {high} pieces" if low < high else None
            words = words or plural(low, "piece")
            axes.bar(
                left, height, width, base, align="edge", color=color, label=words, edgecolor="white", linewidth=0.4
            )
            base = [b + h for b, h in zip(base, height, strict=True)]
    legend = axes.legend(loc="upper right")
    counts(axes, [max(base)], "images", 1.1 + 0.09 * len(legend.get_texts()))
    span(axes, left[0], left[-1] + width[-1], width[0])
    thousands(axes.xaxis)
    axes.set_xlabel("tokens per image, markers included")
    heading(axes, "Tokens per image", "by the pieces it is cut into")
