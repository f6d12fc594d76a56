"""The large panel: records by their tokens, the limit through them; below, what the tokens of each length are."""

from __future__ import annotations

from typing import Any

from lorachk.facts.encoding.histogram import Lengths
from lorachk.report.bars import kinds_in
from lorachk.report.lengths import beyond, longest
from lorachk.report.plot.style import (
    FITS,
    FITS_BOUND,
    IMAGE,
    OVER,
    OVER_BOUND,
    SUPERVISED,
    TEXT,
    UNLABELLED,
    counts,
    doubling,
    span,
    thousands,
)
from lorachk.report.words import plural

_FILLS = {"image": IMAGE, "text": TEXT, "supervised": SUPERVISED, "unlabelled": UNLABELLED}
_NEAR = 1.6  # a limit beyond the records by up to this factor still has its place on the axis


def draw(top: Any, below: Any, lengths: Lengths) -> None:
    """Both panels; they share the axis of tokens."""
    low, high = _axis(top, lengths)
    _records(top, lengths)
    _kinds(below, lengths)
    thousands(top.xaxis)
    if lengths.growing:
        doubling(top.xaxis, low, high, 9)
    top.tick_params(labelbottom=False)
    below.set_xlabel(f"tokens per record, template and images included{' (log scale)' if lengths.growing else ''}")
    if lengths.limit is not None:
        _limit(top, below, lengths, low, high)


def _axis(axes: Any, lengths: Lengths) -> tuple[float, float]:
    """The span of the axis: all bins, and the limit when it is near."""
    low, high = float(lengths.bins[0].low - 1), float(lengths.bins[-1].high)
    if lengths.growing:
        low = max(low, 0.8)
    limit, near = lengths.limit, _NEAR**4 if lengths.growing else _NEAR
    if limit is not None and high < limit <= high * near:
        high = limit * (1.3 if lengths.growing else 1.05)
    elif limit is not None and low > limit >= (low / near if lengths.growing else low - 2 * (high - low)):
        low = limit * (0.8 if lengths.growing else 1)
    if lengths.growing:
        axes.set_xscale("log", base=2)
        axes.set_xlim(low, high)
    else:
        span(axes, low, high, lengths.bins[0].high - lengths.bins[0].low + 1.0)
    return low, high


def _records(axes: Any, lengths: Lengths) -> None:
    bins = [b for b in lengths.bins if b.records]
    limit = lengths.limit if lengths.limit is not None else bins[-1].high
    bounds = any(b.sure < b.records for b in bins)
    fits = "within the limit" if lengths.limit is not None else "tokenised"
    groups = (
        ([b for b in bins if b.low <= limit], (fits, FITS), (f"{fits}, at most this long", FITS_BOUND)),
        ([b for b in bins if b.low > limit], ("longer than the limit", OVER), ("perhaps longer", OVER_BOUND)),
    )
    for group, (sure, dark), (perhaps, light) in groups:
        left, width = [max(b.low - 1, 0.8 if lengths.growing else -1) for b in group], [0.0] * len(group)
        width = [b.high - start for b, start in zip(group, left, strict=True)]
        shape = {"align": "edge", "edgecolor": "white", "linewidth": 0.4}
        # Behind the sure ones, not on top of them: so it can be read on a logarithmic axis, too.
        if any(b.sure < b.records for b in group):
            axes.bar(left, [b.records for b in group], width, color=light, label=perhaps, **shape)
        if any(b.sure for b in group):
            axes.bar(left, [b.sure for b in group], width, color=dark, label=sure, **shape)
    counts(axes, [b.records for b in bins], "records", 1.25)
    told = bounds or any(b.low > limit for b in bins)
    axes.set_title(f"{plural(lengths.records, 'record')}; {longest(lengths)}", pad=24 if told else 8)
    if told:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, borderaxespad=0.1)


def _kinds(axes: Any, lengths: Lengths) -> None:
    bins = [b for b in lengths.bins if b.tokens]
    left = [max(b.low - 1, 0.8 if lengths.growing else -1) for b in bins]
    width = [b.high - start for b, start in zip(bins, left, strict=True)]
    base = [0.0] * len(bins)
    for kind in kinds_in(lengths.bins):
        share = [100 * getattr(b, kind.name) / b.tokens for b in bins]
        hatch = "////" if kind.name == "unlabelled" else None
        axes.bar(
            *(left, share, width, base),
            align="edge",
            color=_FILLS[kind.name],
            label=kind.words,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.4,
        )
        base = [b + s for b, s in zip(base, share, strict=True)]
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    axes.set_ylabel("of the tokens")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, borderaxespad=0.1)


def _limit(top: Any, below: Any, lengths: Lengths, low: float, high: float) -> None:
    """The limit as a line through both panels, or an arrow to where it would be; what lies beyond it beside it."""
    limit = lengths.limit
    assert limit is not None
    color = OVER if lengths.longer or lengths.undecided else FITS
    words, style = beyond(lengths), {"va": "top", "color": color, "fontweight": "bold", "linespacing": 1.4}
    if not low <= limit <= high:
        above = limit > high
        words = f"limit {limit:,} →\n{words}" if above else f"← limit {limit:,}\n{words}"
        place = {"x": 0.995, "ha": "right"} if above else {"x": 0.005, "ha": "left"}
        top.text(y=0.97, s=words, transform=top.transAxes, **place, **style)
        return
    for axes in (top, below):
        axes.axvspan(limit, top.get_xlim()[1], color=OVER, alpha=0.07, linewidth=0, zorder=0)
        axes.axvline(limit, color=color, linewidth=1.6, zorder=3)
    where = top.transData.transform((limit, 1))[0]
    right = top.transAxes.inverted().transform((where, 0))[0] > 0.7
    top.annotate(
        f"limit {limit:,}\n{words}",
        (limit, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if right else 5, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        bbox={"facecolor": "white", "alpha": 0.8 if right else 0.0, "linewidth": 0, "pad": 1.5},
        **style,
    )
