"""The words about lengths, the same on screen, in Markdown and in the picture."""

from __future__ import annotations

from lorachk.engine.finding import percent
from lorachk.facts.encoding.histogram import Lengths
from lorachk.facts.encoding.imagesizes import Sizes
from lorachk.report.words import plural


def beyond(lengths: Lengths) -> str:
    """ "133 of 665,000 records (0.02 %) are longer"."""
    if lengths.longer:
        return f"{_of(lengths.longer, lengths.records)} {'is' if lengths.longer == 1 else 'are'} longer"
    if lengths.undecided:
        return f"{_of(lengths.undecided, lengths.records)} may be longer"
    return "none is longer"


def longest(lengths: Lengths) -> str:
    """ "the longest has 3,012"."""
    bound = {"least": "at least ", "most": "at most "}.get(lengths.longest_meant, "")
    return f"the longest has {bound}{lengths.longest:,}"


def undecided(lengths: Lengths) -> str | None:
    """How many records only a tokenizer could judge; None for none."""
    if not lengths.undecided:
        return None
    more = " more" if lengths.longer else ""
    return f"{_of(lengths.undecided, lengths.records)}{more} may be longer: only a tokenizer could tell"


def _of(count: int, total: int) -> str:
    return f"{count:,} of {plural(total, 'record')} ({percent(count, total)})"


def known(lengths: Lengths) -> str | None:
    """How much of it is exact; None when all is."""
    bounds = []
    if lengths.most:
        bounds.append(f"{lengths.most:,} at their upper bound (a token per byte of text at most)")
    if lengths.least:
        bounds.append(f"{lengths.least:,} at their lower bound (longer than the limit whatever the text)")
    if lengths.unknown:
        bounds.append(f"{lengths.unknown:,} left out (no number is known)")
    if not bounds:
        return None
    first = f"{lengths.exact:,} of {plural(lengths.records, 'record')} exact" if lengths.exact else "no record exact"
    return f"{first}; {', '.join(bounds)}"


def pictures(sizes: Sizes) -> str:
    """ "48 images, 224 x 224 to 2,000 x 1,400 pixels, 1 to 10 pieces and 66 to 665 tokens each (median 334)"."""
    first, last = sizes.smallest, sizes.largest
    parts = [plural(sizes.images, "image")]
    if first and last:
        same = first == last
        pixels = _pixels(first) if same else f"{_pixels(first)} to {_pixels(last)}"
        parts.append(f"{'all ' if same and sizes.images > 1 else ''}{pixels} pixels")
    if sizes.pieces:
        low, high = sizes.pieces
        parts.append(_span(low, high, "piece"))
    text = ", ".join(parts)
    if sizes.tokens:
        low, middle, high = sizes.tokens
        text += f"{' and' if sizes.pieces else ','} {_span(low, high, 'token')}"
        text += " each" if sizes.images > 1 else ""
        text += f" (median {middle:,})" if low != high else ""
    elif sizes.pieces and sizes.images > 1:
        text += " each"
    if left := sizes.images - sizes.sized:
        text += f"; {left:,} could not be read"
    return text


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]:,} x {size[1]:,}"


def _span(low: int, high: int, noun: str) -> str:
    return plural(low, noun) if low == high else f"{low:,} to {plural(high, noun)}"
