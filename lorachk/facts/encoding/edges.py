"""Where the bins of a histogram begin and end: round numbers, and the token limit is always one of them."""

from __future__ import annotations

import math

_LONG_TAIL = 8  # the largest value is this many times the middle one: bins grow with the values


def edges(low: int, middle: int, high: int, limit: int | None, many: int) -> list[int]:
    """Rising whole numbers around values from `low` to `high`; bin i holds what is above edge i and up to edge i + 1.

    There are about `many` bins at most. `middle` is the median; where the values have a long tail, bins grow with them.
    """
    if low > 0 and middle * _LONG_TAIL < high:
        found = _growing(low, high, limit or 1, many)
    elif limit and (steps := many * limit // max(high - low, 1)):
        found = _parts(low, high, limit, min(steps, limit))
    else:
        found = _round(low, high, many)
    found = sorted({max(edge, -1) for edge in found})
    if limit and found[0] < limit < found[-1] and limit not in found:
        found = sorted({*found, limit})
    return found


def growing(found: list[int]) -> bool:
    """Whether the bins grow with the values."""
    return len(found) > 2 and found[-1] - found[-2] > 2 * (found[1] - found[0])


def _parts(low: int, high: int, limit: int, most: int) -> list[int]:
    """Equal parts of the limit, as many as divide it without a rest."""
    parts = next((k for k in range(most, most // 2, -1) if limit % k == 0), most)
    first, last = math.ceil(low * parts / limit) - 1, math.ceil(high * parts / limit)
    return [limit * n // parts for n in range(first, last)] + [max(limit * last // parts, high)]


def _round(low: int, high: int, many: int) -> list[int]:
    """Steps of 1, 2 or 5 times a power of ten."""
    least = max((high - low) / many, 1)
    power = 10 ** math.floor(math.log10(least))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= least)
    first, last = math.ceil(low / step) - 1, math.ceil(high / step)
    return [step * n for n in range(first, last + 1)]


def _growing(low: int, high: int, anchor: int, many: int) -> list[int]:
    """Each edge is the same multiple of the one before; powers of two away from the anchor are among them."""
    octaves = max(math.log2(high / low), 1)
    each = max(1.0, float(int(many / (octaves + 1)))) if many >= octaves + 1 else 1 / math.ceil((octaves + 1) / many)
    first = math.ceil(math.log2(low / anchor) * each) - 1
    last = math.ceil(math.log2(high / anchor) * each)
    found = [math.floor(anchor * 2 ** (n / each) + 0.5) for n in range(first, last + 1)]
    return [min(found[0], low - 1), *(edge for edge in found[1:-1] if edge >= low), max(found[-1], high)]
