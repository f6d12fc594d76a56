"""The table of the heaviest records in words, the same on screen and in Markdown; a bound shows as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorachk.engine.finding import Place
from lorachk.report.escape import clipped, sentence
from lorachk.report.words import spot

Row = Mapping[str, Any]
HEAD = ("tokens", "text", "image", "images", "kept", "supervised")
_REASON = 60  # characters


def cells(row: Row, *, ascii: bool = False) -> tuple[str, ...]:
    """The numbers of one record under HEAD."""
    limit, low, high = row.get("max_length"), row.get("tokens_min"), row.get("tokens_max")
    longer = row.get("longer")
    kept = _kept(row, ascii)
    return (
        _number(row.get("tokens"), low, high, lower=bool(longer), ascii=ascii),
        _number(
            row.get("text_tokens"), row.get("text_tokens_min"), row.get("text_tokens_max"), lower=False, ascii=ascii
        ),
        _plain(row.get("image_tokens")),
        _plain(row.get("images")),
        kept if limit is not None or row.get("kept") is not None else "-",
        _plain(row.get("supervised")),
    )


def _kept(row: Row, ascii: bool) -> str:
    if row.get("kept") is not None:
        return _plain(row["kept"])
    limit, high = row.get("max_length"), row.get("tokens_max")
    known = [n for n in (limit, high) if n is not None]
    return _number(None, None, min(known, default=None), lower=False, ascii=ascii)


def _number(exact: int | None, low: int | None, high: int | None, *, lower: bool, ascii: bool) -> str:
    """ "1,234", "≤1,234" or "≥1,234"; the lower bound where it is the one that tells something."""
    if exact is not None:
        return f"{exact:,}"
    if low is not None and low == high:
        return f"{low:,}"
    if high is not None and not lower:
        return f"{'<=' if ascii else '≤'}{high:,}"
    return "-" if low is None else f"{'>=' if ascii else '≥'}{low:,}"


def _plain(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def verdict(row: Row) -> str:
    """ "kept", "replaced": what the trainer does with it; "-" when that is not known."""
    return sentence(str(row["verdict"])) if row.get("verdict") else "-"


def where(row: Row, root: Path | None = None) -> str:
    """ "train.json:91 record 7"."""
    return f"{spot(Place(row.get('path'), row.get('line')), root)} record {row.get('record')}"


def why(row: Row) -> str:
    """The reason of a verdict that is not "kept", shortened; "" without one."""
    return clipped(sentence(str(row["reason"])), _REASON) if row.get("reason") else ""


def caption(rows: Sequence[Row]) -> str:
    """ "The 20 heaviest records"."""
    return "The heaviest record" if len(rows) == 1 else f"The {len(rows):,} heaviest records"
