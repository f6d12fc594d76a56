"""The panel of supervised tokens: what there is to learn from in a record, and what the limit leaves of it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from lorachk.facts.encoding.labels import Labels
from lorachk.report.plot.style import OVER, SUPERVISED, counts, doubling, heading, span, thousands
from lorachk.report.words import plural


def draw(axes: Any, labels: Labels) -> None:
    """Filled: what the limit leaves. Outlined: what there was before it."""
    edges = [float(max(edge, 0.8 if labels.growing else 0)) for edge in labels.edges]
    width = [last - first for first, last in pairwise(edges)]
    cut = labels.emptied or labels.shortened
    shape = {"align": "edge", "edgecolor": "white", "linewidth": 0.4}
    axes.bar(edges[:-1], labels.left, width, color=SUPERVISED, label="after the limit" if cut else None, **shape)
    if labels.growing:
        axes.set_xscale("log", base=2)
    if cut:
        axes.stairs(labels.before, edges, color=OVER, linewidth=1.2, label="before", baseline=None)
        axes.legend(loc="upper right")
    counts(axes, [*labels.before, *labels.left], "records", 1.3 if cut else 1.1)
    if labels.growing:
        doubling(axes.xaxis, edges[0], edges[-1])
    else:
        span(axes, edges[0], edges[-1], width[0])
    thousands(axes.xaxis)
    axes.set_xlabel(f"supervised tokens per record{' (log scale)' if labels.growing else ''}")
    heading(axes, "Supervised tokens", _said(labels))


def _said(labels: Labels) -> str:
    parts = []
    if labels.unlabelled:
        parts.append(f"{plural(labels.unlabelled, 'record')} without any")
    if labels.emptied:
        parts.append(f"{labels.emptied:,} with none left after the limit")
    if labels.shortened:
        parts.append(f"{labels.shortened:,} cut short")
    return ", ".join(parts) or f"of {plural(labels.records, 'record')}, none is cut"
