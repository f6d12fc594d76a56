"""Turns records into columns of the tables record, turn, image and box, and counts what stands under which key.

No image file is opened here; references are resolved. What the trainer's loader does with a record is told as if every
image opened and nothing were too long; `dataset.py` lays that over it when images and lengths are known.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lorachk.facts.encoding.turntokens import Counting, TurnTokens, without_images
from lorachk.facts.imagefile import ImageFacts, inspect
from lorachk.facts.imagepaths import Resolver
from lorachk.facts.images import inline
from lorachk.facts.records.boxes import boxes
from lorachk.facts.records.columns import Columns, Patterned, Written, escaped
from lorachk.facts.records.dialect import PLACEHOLDER, Reference, Shape, Turn, shape
from lorachk.facts.records.dialects.model import SPEAKERS
from lorachk.facts.records.fields import Fields
from lorachk.facts.records.item import Item
from lorachk.facts.records.lengths import utf8_length
from lorachk.facts.records.literals import literal_pattern
from lorachk.facts.records.verdicts import Settings, loader

_DECODED = 1000  # images embedded in the data that are decoded in full; of the others header and end are looked at

_NOTHING: list[str] = []
RECORD = (
    "record",
    "line",
    "offset",
    "dialect",
    "style",
    "image_field",
    "image_count",
    "video_count",
    "placeholder_count",
    "turns_with_placeholder",
    "turn_count",
    "verdict",
    "reason",
    "digest",
    "repeated_key",
)
TURN = (
    "record",
    "turn",
    "role",
    "speaker",
    "previous",
    "content_type",
    "characters",
    "bytes",
    "blank",
    "placeholders",
    "keys",
    "literals",
    "placed",
    "tokens",
)
IMAGE = ("record", "position", "key", "pointer", "reference", "resolved", "kind", "exists", "near_miss", "problem")
_BY_PATTERN = ("turn", "role", "speaker", "previous", "placeholders", "placed")
BOX = ("record", "turn", "position", "x1", "y1", "x2", "y2", "form")
FACTS = tuple(name for name in ImageFacts._fields if name != "problem")
Placed = tuple[int, int, str | None]  # a turn with placeholders, how many, and at which end of its text
Pattern = tuple[tuple[str, ...], tuple[Placed, ...]]  # roles of the turns; those with placeholders


class Plan(NamedTuple):
    """What of the run decides columns; goes to worker processes."""

    trainer: str | None
    family: str | None
    settings: Settings
    image_root: str | None
    folders: tuple[str, ...]
    urls: bool = False
    deep: bool = False
    counting: Counting | None = None  # tokens of the turns are counted


class Tables:
    """Columns of the records seen since the last `clear`."""

    def __init__(self) -> None:
        self.record = Columns(*RECORD)
        self.turn = Columns(*TURN)
        self.patterned = Patterned("record", "pattern", "characters", "bytes", "tokens")
        self.patterns: dict[Pattern, int] = {}
        self.image = Columns(*IMAGE)
        self.inline = Columns(*IMAGE, *FACTS)  # images whose content stands in the data
        self.box = Columns(*BOX)

    def named(self) -> list[tuple[str, str, Columns]]:
        """Table, name of the part, and columns, of what is not empty."""
        parts = [
            ("record", "record", self.record),
            ("turn", "turn", self.turn),
            ("image", "image", self.image),
            ("image", "inline", self.inline),
            ("box", "box", self.box),
        ]
        return [(table, part, columns) for table, part, columns in parts if len(columns)]


class Tabulator:
    """Takes records of one file."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tables = Tables()
        self.fields = Fields()
        self.undecoded = 0  # embedded images whose pixels were not decoded
        self.resolver = Resolver(plan.image_root, plan.folders, urls=plan.urls)
        found = loader(plan.trainer)
        self.judge = found.judge if found else None
        self.turn_tokens = TurnTokens(plan.counting) if plan.counting else None
        self._embedded = 0
        self._patterns: dict[str, Any] = {}

    def restart(self) -> None:
        """Forget all records; what was found of folders is kept."""
        self.tables, self.fields, self.undecoded, self._embedded = Tables(), Fields(), 0, 0

    def clear(self) -> Tables:
        """The tables so far; the next record starts new ones."""
        tables, self.tables = self.tables, Tables()
        return tables

    def add(self, items: Iterable[Item]) -> None:
        """Append the rows of `items`."""
        plan, note, mapping = self.plan, self.fields.note, self.plan.settings.mapping
        record = self.tables.record.lists
        columns = [record[name].append for name in RECORD]
        for item in items:
            found = shape(item.value, mapping)
            keys = note(item.value, item.number)
            turns = found.turns
            with_placeholder = self._turns(item.number, found) if turns else 0
            if found.images:
                self._images(item.number, found.images)
            kind = reason = None
            if self.judge is not None:
                kind, reason = self.judge(item.value, found, plan.settings)
            values = (
                item.number,
                item.line or None,  # a Parquet file has no lines
                item.offset,
                found.dialect,
                found.style,
                found.image_field,
                len(found.images),
                found.videos,
                found.placeholders,
                with_placeholder,
                None if turns is None else len(turns),
                kind,
                reason,
                digest([i.reference for i in found.images], [t.text for t in turns or ()]) if turns else None,
                repeated_key(item.raw, keys),
            )
            for append, value in zip(columns, values, strict=True):
                append(value)

    def _turns(self, number: int, found: Shape) -> int:
        """Append the turns; how many of them have a placeholder."""
        turns = found.turns or []
        lists, total = self.tables.turn.lists, len(turns)
        # Column by column: a comprehension over a record's turns costs half of an append for each of them.
        texts = [turn.text for turn in turns]
        speakers = [turn.speaker for turn in turns]
        placeholders = [turn.placeholders for turn in turns]
        keys = [turn.keys for turn in turns]
        literals: list[list[str]] = [_NOTHING] * total
        special = self.literals(found.dialect)
        for position, text in enumerate(texts):
            if "<" in text or "[" in text:
                literals[position] = special(text)
                self.boxes(number, position, text)
        lists["record"] += [number] * total
        lists["turn"] += range(total)
        lists["role"] += [turn.role for turn in turns]
        lists["speaker"] += speakers
        lists["previous"] += [None, *speakers[:-1]]
        lists["content_type"] += [turn.content_type for turn in turns]
        lists["characters"] += map(len, texts)
        lists["bytes"] += [len(text) if text.isascii() else utf8_length(text) for text in texts]
        lists["blank"] += [
            not count and (not text or text.isspace()) for text, count in zip(texts, placeholders, strict=True)
        ]
        lists["placeholders"] += placeholders
        lists["keys"] += keys
        lists["literals"] += literals
        counted = [self._counted(turn) for turn in turns]
        lists["placed"] += [placed for _, placed in counted]
        lists["tokens"] += [tokens for tokens, _ in counted]
        if not any(placeholders) and not any(keys):
            return 0
        return sum(1 for count, names in zip(placeholders, keys, strict=True) if count or names)

    def _counted(self, turn: Turn) -> tuple[int | None, str | None]:
        """Tokens of a turn's text, and at which end of it its placeholders stand."""
        if turn.keys or turn.placeholders != turn.text.count(PLACEHOLDER):  # images stand elsewhere
            return None, None
        if self.turn_tokens is not None:
            return self.turn_tokens.count(turn.text, turn.speaker)
        return None, without_images(turn.text)[1] if turn.placeholders else None

    def literals(self, dialect: str) -> Any:
        """Finds the special tokens that stand in a text as text."""
        found = self._patterns.get(dialect)
        if found is None:
            found = self._patterns[dialect] = literal_pattern(self.plan.family, dialect).findall
        return found

    def boxes(self, number: int, position: int, text: str) -> None:
        """Append the boxes written in a turn."""
        for place, box in enumerate(boxes(text)):
            row = (number, position, place, box.x1, box.y1, box.x2, box.y2, box.form)
            for name, value in zip(BOX, row, strict=True):
                self.tables.box.lists[name].append(value)

    def image(self, number: int, reference: str) -> None:
        """Append the one image of a record."""
        self._images(number, [Reference(None, reference, "/image")])

    def _images(self, number: int, references: Sequence[Reference]) -> None:
        for position, one in enumerate(references):
            facts, kind, path, exists, near = None, None, None, None, None
            if one.content is not None:
                facts, kind, exists = self._look(one.content), "bytes", True
            elif one.reference is not None:
                path, kind, exists, near = self._resolved(one.reference)
                if kind == "data":
                    facts = inline(one.reference)
            shown = short(one.reference)
            problem = facts.problem if facts else problem_of(kind, exists)
            row = (number, position, one.key, one.pointer, shown, path, kind, exists, near, problem)
            lists = self.tables.image.lists if facts is None else self.tables.inline.lists
            for name, value in zip(IMAGE, row, strict=True):
                lists[name].append(value)
            if facts is not None:
                for name in FACTS:
                    lists[name].append(getattr(facts, name))

    def _resolved(self, reference: str) -> tuple[str | None, str, bool | None, str | None]:
        kind, path, exists, near = self.resolver.resolve(reference)
        return path, kind, exists, near

    def _look(self, content: bytes) -> ImageFacts:
        self._embedded += 1
        full = self.plan.deep or self._embedded <= _DECODED
        facts = inspect(content, full=full)
        self.undecoded += facts.decodes is None
        return facts


def problem_of(kind: str | None, exists: bool | None) -> str | None:
    """Why an image cannot be used that nobody looks at."""
    if kind is None:
        return "the reference is not a string"
    return "no such file" if exists is False else None


def short(reference: str | None) -> str | None:
    """A reference as reports show it; data: URIs are long."""
    if reference is None or len(reference) <= 400:
        return reference
    return f"{reference[:60]}… ({len(reference)} characters)"


def digest(references: Sequence[str | None], texts: Sequence[str]) -> int:
    """A 64-bit hash of what is trained."""
    return digest_of("\0".join([*[r or "" for r in references], "", *texts]))


def digest_of(text: str, before: str = "") -> int:
    """A 64-bit hash of `before` and `text`. Two checksums, as they cost half of what a cryptographic hash does."""
    head, data = before.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass")
    return zlib.crc32(data, zlib.crc32(head)) << 32 | zlib.adler32(data, zlib.adler32(head))


def repeated_key(raw: bytes, keys: int) -> str | None:
    """The first key that stands twice in one object of the record `raw`, whose value has `keys` keys in all.

    Keys are counted by their colons first: reading every record with a hook would take ten times as long.
    """
    colons = raw.count(b'":')
    if colons == keys or not raw or colons - raw.count(b'\\":') == keys:
        return None
    found: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> Mapping[str, Any]:
        made = dict(members)
        if len(made) < len(members) and not found:
            names = [name for name, _ in members]
            found.append(next(name for at, name in enumerate(names) if name in names[:at]))
        return made

    try:
        json.loads(raw, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return None
    return found[0] if found else None


def write(tables: Tables, folder: Path, stem: str) -> list[Written]:
    """Write what is not empty below `folder`, into files that begin with `stem`."""
    written = [columns.write(table, folder / f"{stem}-{part}.json") for table, part, columns in tables.named()]
    if len(tables.patterned):
        written.append(_patterned(tables, folder / f"{stem}-patterned.json"))
    return written


def _patterned(tables: Tables, file: Path) -> Written:
    """Turns of which only the lengths differ: one row per record, and what stands in their turns by pattern."""
    lists = tables.patterned.lists
    names = ["record", "pattern", "characters"]
    names += [] if tables.patterned.same else ["bytes"]
    names += ["tokens"] if lists["tokens"] else []
    size = tables.patterned.dump(file, tuple(names))
    by_column: dict[str, list[list[Any]]] = {n: [] for n in _BY_PATTERN}
    for roles, places in tables.patterns:
        speakers = [SPEAKERS.get(role) for role in roles]
        counts = {turn: count for turn, count, _ in places}
        ends = {turn: placed for turn, _, placed in places}
        by_column["turn"].append(list(range(len(roles))))
        by_column["role"].append(escaped(list(roles)))
        by_column["speaker"].append(speakers)
        by_column["previous"].append([None, *speakers[:-1]])
        by_column["placeholders"].append([counts.get(i, 0) for i in range(len(roles))])
        by_column["placed"].append([ends.get(i) for i in range(len(roles))])
    constants = {"content_type": "string", "blank": False, "keys": [], "literals": []}
    return Written("turn", file, size, tuple(names), constants, {}, by_column)
