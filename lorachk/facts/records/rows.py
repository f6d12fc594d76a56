"""Turns records into rows of the tables record, turn, image and encoding."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from lorachk.facts.collector import Row
from lorachk.facts.images import Images, Seen
from lorachk.facts.records.dialect import Reference, Shape, shape
from lorachk.facts.records.item import Item
from lorachk.facts.records.lengths import Bounds, Span, bounds, utf8_length
from lorachk.facts.records.literals import literal_pattern
from lorachk.facts.records.minicpmv_verdict import Length, Picture, Verdict, verdict
from lorachk.families.minicpmv import MAX_SLICE_NUMS, Scheme, block

_encode = msgspec.json.Encoder().encode
# Any MiniCPM-V's block, for records whose images or model version are not known: one piece of 64; slices of 96.
_LEAST = 66


class Rules(NamedTuple):
    """What of the run decides rows: the loader whose fate is foretold, the family's arithmetic, the limits."""

    trainer: str | None
    family: str | None
    scheme: Scheme | None
    llm_type: str
    max_length: int | None
    max_slice_nums: int | None

    @property
    def slices(self) -> int:
        """Largest number of slices per image."""
        return MAX_SLICE_NUMS if self.max_slice_nums is None else self.max_slice_nums


class Tally:
    """What stayed unknown, counted over all records."""

    def __init__(self) -> None:
        self.urls = 0
        self.uncounted_images = 0  # images whose tokens are not known
        self.verdicts = 0  # records whose verdict only a tokenizer could tell
        self.cuts = 0
        self.image_cuts = 0
        self.records = 0


class Rows:
    """Rows of a batch of records, by table."""

    def __init__(self) -> None:
        self.record: list[Row] = []
        self.turn: list[Row] = []
        self.image: list[Row] = []
        self.encoding: list[Row] = []


def add_rows(
    rows: Rows, items: Sequence[Item], path: str, split: str, rules: Rules, images: Images, tally: Tally
) -> None:
    """Append the rows of `items` to `rows`; looks at their images."""
    shapes = [shape(item.value) for item in items]
    seen = images.look(r.reference for s in shapes for r in s.images if r.reference is not None)
    for item, found in zip(items, shapes, strict=True):
        tally.records += 1
        _turns(rows.turn, item, found, path, rules.family)
        pictures, blocks = _images(rows.image, item, found, seen, path, rules, tally)
        # Without turns there is nothing to measure; the rules on conversations speak of such a record.
        measured = bounds(found, blocks) if rules.max_length is not None and found.turns else None
        if measured is not None and rules.scheme is not None:
            _encoding(rows.encoding, item, path, measured, rules, tally)
        fate = _fate(item, pictures, measured, rules)
        if rules.trainer == "minicpmv" and fate.kind is None:
            tally.verdicts += 1
        rows.record.append(
            {
                "path": path,
                "record": item.number,
                "line": item.line,
                "pointer": item.pointer,
                "split": split,
                "offset": item.offset,
                "dialect": found.dialect,
                "style": found.style,
                "image_field": found.image_field,
                "image_count": len(found.images),
                "placeholder_count": found.placeholders,
                "video_count": found.videos,
                "turns_with_placeholder": sum(1 for t in found.turns or () if t.placeholders),
                "turn_count": None if found.turns is None else len(found.turns),
                "verdict": fate.kind,
                "reason": fate.reason,
                "digest": _digest(item.value, found.member),
            }
        )


def _digest(value: Any, member: str) -> int | None:
    """Hash of what is trained: images and turns, not the id."""
    content = (value.get("image"), value.get("images"), value.get(member)) if isinstance(value, dict) else value
    try:
        return int.from_bytes(hashlib.blake2b(_encode(content), digest_size=8).digest(), "big")
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _turns(rows: list[Row], item: Item, found: Shape, path: str, family: str | None) -> None:
    number, previous = item.number, None
    special = literal_pattern(family, found.dialect).findall
    for position, turn in enumerate(found.turns or ()):
        text = turn.text
        rows.append(
            {
                "path": path,
                "record": number,
                "turn": position,
                "role": turn.role,
                "speaker": turn.speaker,
                "previous": previous,
                "content_type": turn.content_type,
                "characters": len(text),
                "bytes": len(text) if text.isascii() else utf8_length(text),
                "blank": not turn.placeholders and not text.strip(),
                "placeholders": turn.placeholders,
                "keys": turn.keys,
                "literals": special(text) if "<" in text else [],
            }
        )
        previous = turn.speaker


def _images(
    rows: list[Row], item: Item, found: Shape, seen: Mapping[str, Seen], path: str, rules: Rules, tally: Tally
) -> tuple[list[Picture], list[Span]]:
    """Image rows; what the loader can do with each image; and its tokens."""
    pictures: list[Picture] = []
    blocks: list[Span] = []
    sliced = 0
    for position, image in enumerate(found.images):
        there = seen.get(image.reference) if image.reference is not None else None
        facts = there.facts if there else None
        pieces = tokens = None
        if rules.scheme and facts and facts.width and facts.height and facts.decodes is not False:
            number = position if rules.scheme.image_id == "always" else sliced
            pieces, tokens = block((facts.width, facts.height), rules.scheme, rules.slices, number=number)
            sliced += pieces > 1
            blocks.append(Span(tokens, tokens))
        else:
            blocks.append(Span(_LEAST, 98 * (rules.slices + 1) + 4 + rules.slices + 8))
            tally.uncounted_images += 1
        if there and there.resolved.kind == "url":
            tally.urls += 1
        problem = _problem(image, there)
        pictures.append(_picture(image, there, problem, pieces))
        rows.append(
            {
                "path": path,
                "record": item.number,
                "position": position,
                "key": image.key,
                "pointer": image.pointer,
                "reference": _short(image.reference),
                "resolved": there.resolved.path if there else None,
                "kind": there.resolved.kind if there else None,
                "exists": there.resolved.exists if there else None,
                "near_miss": there.resolved.near_miss if there else None,
                "problem": problem,
                "pieces": pieces,
                "tokens": tokens,
                **(facts._asdict() | {"problem": problem} if facts else {}),
            }
        )
    return pictures, blocks


def _short(reference: str | None) -> str | None:
    if reference is None or len(reference) <= 400:
        return reference
    return f"{reference[:60]}… ({len(reference)} characters)"


def _problem(image: Reference, there: Seen | None) -> str | None:
    if image.reference is None:
        return "the reference is not a string"
    if there is None or there.resolved.kind == "url":
        return None
    if not there.resolved.exists:
        return "no such file"
    return there.facts.problem if there.facts else None


def _picture(image: Reference, there: Seen | None, problem: str | None, pieces: int | None) -> Picture:
    """What MiniCPM-V's loader can do with the image: it hands the string to PIL.Image.open as a path."""
    kind = there.resolved.kind if there else None
    if kind in ("url", "data"):
        return Picture(False, f"{'a URL' if kind == 'url' else 'a data: URI'} is opened as a file, which fails")
    if problem:
        return Picture(False, f"image {_short(image.reference)!r}: {problem}" if image.reference else problem)
    return Picture(True, None, pieces)


def _fate(item: Item, pictures: list[Picture], measured: Bounds | None, rules: Rules) -> Verdict:
    if rules.trainer != "minicpmv":
        return Verdict(None)
    length = None
    if measured is not None and rules.max_length is not None:
        length = Length(rules.max_length, measured.total, measured.before_labels, measured.later_images)
    return verdict(item.value, pictures, rules.llm_type, length)


def _encoding(rows: list[Row], item: Item, path: str, measured: Bounds, rules: Rules, tally: Tally) -> None:
    limit = rules.max_length
    assert limit is not None
    total, images = measured.total, measured.images
    cut = _beyond([total], limit)
    image_cut = _beyond(measured.image_ends, limit)
    tally.cuts += cut is None
    tally.image_cuts += image_cut is None
    rows.append(
        {
            "path": path,
            "record": item.number,
            "max_length": limit,
            "image_tokens": images.low if images.low == images.high else None,
            "text_tokens_min": measured.text.low,
            "text_tokens_max": measured.text.high,
            "cut": cut,
            "image_cut": image_cut,
        }
    )


def _beyond(spans: Sequence[Span], limit: int) -> bool | None:
    """Whether any span ends beyond the limit: sure, ruled out, or unknown."""
    if any(span.low > limit for span in spans):
        return True
    return False if all(span.high <= limit for span in spans) else None
