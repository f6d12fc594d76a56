"""Boxes written in questions and answers, in the spellings that vision-language models are trained on.

Only what says that it is a box counts: tags, a bbox key, or a text that is nothing but four numbers in brackets.
Citations ([1], [1, 2, 3]) and other lists are no boxes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

_NUMBER = r"[-+]?\d{1,7}(?:\.\d{1,9})?"
_GAP = r"[\s,]{1,4}"
_FOUR = rf"({_NUMBER}){_GAP}({_NUMBER}){_GAP}({_NUMBER}){_GAP}({_NUMBER})"
_PAIRS = rf"\(\s?({_NUMBER})\s?,\s?({_NUMBER})\s?\)\s?,?\s?\(\s?({_NUMBER})\s?,\s?({_NUMBER})\s?\)"


class Box(NamedTuple):
    """Corners as written, and the spelling: box-tag, qwen-box, bbox-key, list."""

    x1: float
    y1: float
    x2: float
    y2: float
    form: str


# In <box>: `x1 y1 x2 y2` (MiniCPM-V), `(x1,y1),(x2,y2)` (Qwen-VL), `[[x1, y1, x2, y2]]` (InternVL)
_TAG = re.compile(r"<box>([^<]{3,2000})</box>")
_PLAIN = re.compile(rf"\s*{_FOUR}\s*")
_PAIR = re.compile(_PAIRS)
_LISTED = re.compile(rf"\[\s?{_FOUR}\s?\]")
_QWEN = re.compile(rf"<\|box_start\|>\s?{_PAIRS}\s?<\|box_end\|>")
_KEY = re.compile(rf"[\"']?bbox(?:_2d)?[\"']?\s?[:=]\s?\[\s?{_FOUR}\s?\]", re.IGNORECASE)
_WHOLE = re.compile(rf"\s*\[\s?{_FOUR}\s?\]\s*")


def boxes(text: str) -> list[Box]:
    """Boxes in the text, in order of their spelling; costs next to nothing when there are none."""
    found: list[Box] = []
    if "<box>" in text:
        for tag in _TAG.finditer(text):
            found += _in_tag(tag[1])
    if "<|box_start|>" in text:
        found += _all(_QWEN.finditer, text, "qwen-box")
    if "bbox" in text:
        found += _all(_KEY.finditer, text, "bbox-key")
    elif text[:1] in "[ \n" and len(text) < 200 and (whole := _WHOLE.fullmatch(text)):
        found.append(_box(whole, "list"))
    return found


def _in_tag(inner: str) -> list[Box]:
    if plain := _PLAIN.fullmatch(inner):
        return [_box(plain, "box-tag")]
    return _all(_LISTED.finditer, inner, "box-tag") or _all(_PAIR.finditer, inner, "qwen-box")


def _all(find: Callable[[str], object], text: str, form: str) -> list[Box]:
    return [_box(match, form) for match in find(text)]  # type: ignore[attr-defined]


def _box(match: re.Match[str], form: str) -> Box:
    x1, y1, x2, y2 = match.groups()
    return Box(float(x1), float(y1), float(x2), float(y2), form)
