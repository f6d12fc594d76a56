"""Puts the panels that have something to show onto one figure, and turns it into a file's bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from lorachk.facts.encoding.drawing import Drawing
from lorachk.report.escape import clipped, sentence, visible
from lorachk.report.lengths import known, undecided
from lorachk.report.plot import images, labels, lengths
from lorachk.report.plot.style import FAINT, SETTINGS

_WIDTH = 11.0  # inches
_HIGH, _LOW = 5.0, 3.2
_DPI = 150
_DATES = {"svg": "Date", "pdf": "CreationDate"}  # left out: when it was drawn is no fact about the data


def picture(drawing: Drawing, format: str) -> bytes:
    """The whole picture as png, svg or pdf. Neither pyplot nor the user's matplotlib settings take part in it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a file name in a script that the font lacks, above all
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        figure = Figure(layout="constrained", dpi=_DPI)
        _fill(figure, drawing)
        out = io.BytesIO()
        dates = {_DATES[format]: None} if format in _DATES else None
        figure.savefig(out, format=format, metadata=dates)
    return out.getvalue()


def _fill(figure: Any, drawing: Drawing) -> None:
    small: list[Callable[[Any], None]] = []
    if (found := drawing.labels) is not None:
        small.append(lambda axes: labels.draw(axes, found))
    if (known_sizes := drawing.sizes) is not None:
        small.append(lambda axes: images.draw_sizes(axes, known_sizes, drawing.points))
        if drawing.blocks:
            small.append(lambda axes: images.draw_tokens(axes, drawing.blocks))
    heights = [*([_HIGH] if drawing.lengths else []), *([_LOW] if small else [])]
    figure.set_size_inches(_WIDTH, sum(heights) + 0.9)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
    parts = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat)
    if drawing.lengths:
        top, below = parts[0].subplots(2, 1, sharex=True, height_ratios=(2.3, 1))
        lengths.draw(top, below, drawing.lengths)
    # A single small panel keeps its size: the others' places stay empty.
    places = parts[-1].subplots(1, max(len(small), 2), squeeze=False)[0] if small else []
    for axes, draw in zip(places, small, strict=False):
        draw(axes)
    for axes in places[len(small) :]:
        axes.set_axis_off()
    figure.suptitle(_title(drawing), x=0.012, ha="left", fontsize=12, fontweight="bold")
    if said := _said(drawing):
        figure.supxlabel(said, x=0.012, ha="left", fontsize=8, color=FAINT)


def _title(drawing: Drawing) -> str:
    what = "Tokens per record" if drawing.lengths else "Image sizes"
    names = [clipped(visible(PurePath(name).name or name), 50) for name in drawing.files]
    more = f" and {len(names) - 1:,} more files" if len(names) > 2 else f" and {names[1]}" if len(names) == 2 else ""
    return f"{what}: {names[0]}{more}" if names else what


def _said(drawing: Drawing) -> str:
    """What is not exact, and what is not known."""
    if drawing.lengths is None:
        return f"Tokens are not known: {clipped(sentence(drawing.missing), 150)}" if drawing.missing else ""
    texts = [undecided(drawing.lengths), known(drawing.lengths)]
    return "\n".join(f"{text[0].upper()}{text[1:]}." for text in texts if text)
