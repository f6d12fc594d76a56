"""The quick way to columns, for parts of a file in which every record is written in the one most usual way.

LLaVA's and MiniCPM-V's `conversations` and `messages` with text in every turn are decoded straight into typed objects
and taken apart list by list instead of turn by turn: a quarter of the time. Anything else in a part (other types,
unknown keys in a turn, indexed placeholders, inline images) sends that part the general way, `Tabulator.add`; tests
hold the two against each other.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from lorachk.facts.encoding.turntokens import without_images
from lorachk.facts.records.dialect import PLACEHOLDER
from lorachk.facts.records.dialects.model import SPEAKERS
from lorachk.facts.records.layout import DIALECTS, Layout
from lorachk.facts.records.lengths import utf8_length
from lorachk.facts.records.tabulate import IMAGE, Pattern, Placed, Tabulator, digest_of, problem_of, repeated_key, short
from lorachk.facts.records.typed_verdicts import SPOKEN, TypedVerdicts

_TOGETHER = 256  # records
_TAIL = 64  # bytes in which a part ends
_QWEN = {"user", "assistant"}  # as roles these make another dialect of from/value
_PATTERNS = 1000  # of the turns of a record: roles, and placeholders in them
_FIRST = {
    **dict.fromkeys(b"-0123456789", "integer"),
    ord('"'): "string",
    ord("{"): "object",
    ord("["): "array",
    ord("t"): "boolean",
    ord("f"): "boolean",
    ord("n"): "null",
}
_POINT = re.compile(rb"[.eE]")


class Group(NamedTuple):
    """Some records that stand together: start and end in their part, and where each begins, from the start on."""

    start: int
    end: int
    records: list[int]


class _OfTurns(NamedTuple):
    """What the turns tell of their records: placeholders, turns with some, pattern; those whose texts hold more."""

    placeholders: list[int]
    with_some: list[int]
    patterns: list[Pattern]
    alone: set[int]


class Typed:
    """Takes whole parts of a file (bytes of an array or of lines) that are written as `layout` says."""

    def __init__(self, layout: Layout, tabulator: Tabulator) -> None:
        self._layout = layout
        self._tabulator = tabulator
        turn = msgspec.defstruct(
            "Turn",
            [("role", str), ("text", str)],
            rename={"role": layout.role, "text": layout.content},
            gc=False,
            forbid_unknown_fields=True,
        )
        self._names = [f"extra_{i}" for i in range(len(layout.extras))]
        record = msgspec.defstruct(
            "Record",
            [
                ("turns", list[turn]),  # type: ignore[valid-type]
                ("image", str | UnsetType, UNSET),
                *((name, Raw | UnsetType, UNSET) for name in self._names),
            ],
            rename={"turns": layout.member, **dict(zip(self._names, layout.extras, strict=True))},
            gc=False,
            forbid_unknown_fields=True,
        )
        self._array = msgspec.json.Decoder(list[record])  # type: ignore[valid-type]
        self._line = msgspec.json.Decoder(record)
        self._start = re.compile(re.escape(layout.start))
        self._dialect = DIALECTS[layout.member, layout.role]
        self._verdicts = None
        if tabulator.judge is not None:
            extras = dict(zip(self._names, layout.extras, strict=True))
            keys = (layout.role, layout.content)
            self._verdicts = TypedVerdicts(tabulator.judge, tabulator.plan.settings, layout.member, keys, extras)

    def groups(self, data: bytes) -> Iterator[Group]:
        """Groups of records in `data`, small enough for the processor's cache."""
        starts = [m.start() for m in self._start.finditer(data)]
        for at in range(0, len(starts), _TOGETHER):
            begin = starts[at] if at else 0
            end = starts[at + _TOGETHER] if at + _TOGETHER < len(starts) else len(data)
            yield Group(begin, end, [start - begin for start in starts[at : at + _TOGETHER]])
        if not starts:
            yield Group(0, len(data), [])

    def add(self, data: bytes, group: Group, *, lines: bool, first: int = 0, line: int = 0) -> int | None:
        """Append the rows of all records of a group in `data`: the inside of an array, or lines.

        Gives their number; None, and nothing is appended, when the general way must be gone. The first record is
        number `first`; `line` lines come before the group.
        """
        body = data[group.start : group.end] if lines else _array(data, group.start, group.end)
        before = 0 if lines else 1  # the bracket
        starts = [start + before for start in group.records]
        try:
            records: list[Any] = (self._line.decode_lines if lines else self._array.decode)(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        counts = [len(r.turns) for r in records]
        if len(starts) != len(records) or not all(counts):
            return None
        texts = [t.text for r in records for t in r.turns]
        ends = list(accumulate(counts))
        # One text per record: looking into it is much cheaper than looking into each of its turns.
        joined = ["\0".join(texts[end - count : end]) for end, count in zip(ends, counts, strict=True)]
        marked = self._marked(texts, joined, ends, counts)
        roles = [tuple([t.role for t in r.turns]) for r in records]
        if marked is None or (self._layout.role == "from" and _QWEN & set().union(*set(roles))):
            return None
        images = [r.image for r in records]
        tables = self._tabulator.tables
        of_turns = self._turns(roles, texts, ends, marked, first)
        self._images(tables.image.lists, images, first)
        nested = self._fields(records, images, len(texts), first)
        repeated = self._repeated(body, records, starts, len(texts), nested)
        own = self._records(body, starts, images, joined, counts, of_turns, repeated)
        own |= self._judged(records, joined, of_turns)
        own["record"] = range(first, first + len(records))
        own["offset"] = [n + group.start for n in group.records]
        own["line"] = [n + line for n in own["line"]]
        for name, values in tables.record.lists.items():
            values += own[name]
        return len(records)

    def _marked(
        self, texts: list[str], joined: list[str], ends: list[int], counts: list[int]
    ) -> dict[int, list[int]] | None:
        """Record to those of its turns that may hold placeholders, special tokens or boxes.

        None: one of them names an image, which makes it another dialect.
        """
        found: dict[int, list[int]] = {}
        for number, (whole, end, count) in enumerate(zip(joined, ends, counts, strict=True)):
            square = "[" in whole
            if not square and "<" not in whole:
                continue
            start = end - count
            if not square and whole.find("<", len(texts[start])) < 0:
                found[number] = [start]  # as nearly always: the placeholder in the first turn, and nothing else
                whole = texts[start]
            else:
                found[number] = [at for at in range(start, end) if "<" in texts[at] or "[" in texts[at]]
            if "<image_" in whole or "</img>" in whole:
                return None
        return found

    def _turns(
        self,
        roles: list[tuple[str, ...]],
        texts: list[str],
        ends: list[int],
        marked: Mapping[int, list[int]],
        first: int,
    ) -> _OfTurns:
        """Append the turns."""
        patterned, patterns = self._tabulator.tables.patterned, self._tabulator.tables.patterns
        special, boxes = self._tabulator.literals(self._dialect), self._tabulator.boxes
        in_record, with_some = [0] * len(roles), [0] * len(roles)
        places: dict[int, tuple[Placed, ...]] = {}  # record to its turns with placeholders
        literals: dict[int, list[str]] = {}  # turn to the special tokens in it
        odd: set[int] = set()
        alone: set[int] = set()
        if not all(texts) or any(map(str.isspace, texts)):
            odd = {bisect_right(ends, at) for at, text in enumerate(texts) if not text or text.isspace()}
        for number, turns in marked.items():
            start = ends[number] - len(roles[number])
            for at in turns:
                text = texts[at]
                if count := text.count(PLACEHOLDER):
                    in_record[number] += count
                    with_some[number] += 1
                    places[number] = (*places.get(number, ()), (at - start, count, without_images(text)[1]))
                    if count == 1 and text.startswith(PLACEHOLDER) and text.find("<", 1) < 0 and "[" not in text:
                        continue
                alone.add(number)
                if found := special(text):
                    literals[at] = found
                    odd.add(number)
                boxes(first + number, at - start, text)
        characters = list(map(len, texts))
        sizes = characters
        if not all(map(str.isascii, texts)):
            patterned.same = False
            sizes = [n if t.isascii() else utf8_length(t) for n, t in zip(characters, texts, strict=True)]
        keys = list(zip(roles, [places.get(number, ()) for number in range(len(roles))], strict=True))
        of_record = [patterns.setdefault(key, len(patterns)) for key in keys]
        starts = [0, *ends[:-1]]
        tokens = self._tokens(roles, texts)
        if odd or len(patterns) > _PATTERNS:
            alike = []
            for number, (pattern, start, end) in enumerate(zip(of_record, starts, ends, strict=True)):
                if number in odd or pattern > _PATTERNS:
                    where = places.get(number, ())
                    of_turns = tokens[start:end] or [None] * (end - start)
                    lengths = (sizes[start:end], of_turns)
                    self._flat(first + number, roles[number], texts[start:end], lengths, where, literals, start)
                else:
                    alike.append(number)
        else:
            alike = list(range(len(roles)))
        lists = patterned.lists
        if tokens:
            lists["tokens"] += [tokens[starts[number] : ends[number]] for number in alike]
        lists["record"] += [first + number for number in alike]
        lists["pattern"] += [of_record[number] for number in alike]
        lists["characters"] += [characters[starts[number] : ends[number]] for number in alike]
        lists["bytes"] += [sizes[starts[number] : ends[number]] for number in alike]
        return _OfTurns(in_record, with_some, keys, alone | odd)

    def _judged(self, records: list[Any], joined: list[str], of_turns: _OfTurns) -> dict[str, Iterable[Any]]:
        """Columns of what the trainer's loader does with the records."""
        if self._verdicts is None:
            return {}
        spoken = {number for number, text in enumerate(joined) if any(word in text for word in SPOKEN)}
        found = self._verdicts.of(records, of_turns.patterns, of_turns.alone | spoken)
        return {"verdict": [verdict.kind for verdict in found], "reason": [verdict.reason for verdict in found]}

    def _flat(
        self,
        number: int,
        roles: tuple[str, ...],
        texts: list[str],
        lengths: tuple[list[int], list[int | None]],
        places: Sequence[Placed],
        literals: Mapping[int, list[str]],
        start: int,
    ) -> None:
        """Append the turns of a record that needs what a pattern does not tell; `lengths` are bytes and tokens."""
        lists, total = self._tabulator.tables.turn.lists, len(texts)
        speakers = [SPEAKERS.get(role) for role in roles]
        counts = {turn: count for turn, count, _ in places}
        ends = {turn: placed for turn, _, placed in places}
        nothing: list[str] = []
        lists["record"] += [number] * total
        lists["turn"] += range(total)
        lists["role"] += roles
        lists["speaker"] += speakers
        lists["previous"] += [None, *speakers[:-1]]
        lists["content_type"] += ["string"] * total
        lists["characters"] += map(len, texts)
        lists["bytes"] += lengths[0]
        lists["blank"] += [not text or text.isspace() for text in texts]
        lists["placeholders"] += [counts.get(i, 0) for i in range(total)]
        lists["keys"] += [nothing] * total
        lists["literals"] += [literals.get(start + i, nothing) for i in range(total)]
        lists["placed"] += [ends.get(i) for i in range(total)]
        lists["tokens"] += lengths[1]

    def _tokens(self, roles: list[tuple[str, ...]], texts: list[str]) -> list[int | None]:
        """Tokens of all turns; empty when they are not counted."""
        counter = self._tabulator.turn_tokens
        if counter is None:
            return []
        speakers = [SPEAKERS.get(role) for names in roles for role in names]
        return [tokens for tokens, _ in map(counter.count, texts, speakers)]

    def _images(self, lists: Mapping[str, list[Any]], images: list[Any], first: int) -> None:
        resolve = self._tabulator.resolver.resolve
        there = [(i, image) for i, image in enumerate(images, first) if image is not UNSET]
        if not there:
            return
        resolved = [resolve(image) for _, image in there]
        if any(r.kind == "data" for r in resolved):  # looked at on the spot, as the general way does
            for number, image in there:
                self._tabulator.image(number, image)
            return
        columns: dict[str, list[Any]] = {
            "record": [number for number, _ in there],
            "position": [0] * len(there),
            "key": [None] * len(there),
            "pointer": ["/image"] * len(there),
            "reference": [short(image) for _, image in there],
            "resolved": [r.path for r in resolved],
            "kind": [r.kind for r in resolved],
            "exists": [r.exists for r in resolved],
            "near_miss": [r.near_miss for r in resolved],
            "problem": [problem_of(r.kind, r.exists) for r in resolved],
        }
        for name in IMAGE:
            lists[name] += columns[name]

    def _records(
        self,
        body: bytes,
        starts: list[int],
        images: list[Any],
        joined: list[str],
        counts: list[int],
        of_turns: _OfTurns,
        repeated: Mapping[int, str],
    ) -> dict[str, Iterable[Any]]:
        """Columns of the table `record`; lines count from 1."""
        total = len(starts)
        there = [image is not UNSET for image in images]
        between = [0] * total
        if b"\n" in body:
            between = [body.count(b"\n", a, b) for a, b in zip([0, *starts], starts, strict=False)]
        dialect = [self._dialect] * total
        if self._layout.role == "from":
            pairs = zip(there, of_turns.placeholders, strict=True)
            dialect = ["llava" if image or count else "sharegpt" for image, count in pairs]
        nothing = [None] * total
        return {
            "line": [n + 1 for n in accumulate(between)],
            "dialect": dialect,
            "style": [_STYLES[self._layout.role]] * total,
            "image_field": ["string" if image else "absent" for image in there],
            "image_count": list(map(int, there)),
            "video_count": [0] * total,
            "placeholder_count": of_turns.placeholders,
            "turns_with_placeholder": of_turns.with_some,
            "turn_count": counts,
            "verdict": nothing,
            "reason": nothing,
            "digest": [
                digest_of(text, "\0" if image is UNSET else f"{image}\0\0")
                for image, text in zip(images, joined, strict=True)
            ],
            "repeated_key": [repeated.get(i) for i in range(total)] if repeated else nothing,
        }

    def _repeated(
        self, body: bytes, records: list[Any], starts: list[int], turns: int, nested: list[int]
    ) -> dict[int, str]:
        """Record (from 0) to a key that stands twice in it: where the part has more colons than keys.

        `nested`: keys inside the extra members of each record.
        """
        keys = 2 * turns + len(records) + sum(1 for r in records if r.image is not UNSET) + sum(nested)
        for name in self._names:
            keys += sum(1 for r in records if getattr(r, name) is not UNSET)
        if body.count(b'":') == keys:
            return {}
        found = {}
        for i, (record, start, end) in enumerate(zip(records, starts, [*starts[1:], len(body)], strict=True)):
            own = sum(1 for name in ("image", *self._names) if getattr(record, name) is not UNSET)
            raw = body[start:end].rstrip(b", \t\r\n]")
            if key := repeated_key(raw, 1 + own + 2 * len(record.turns) + nested[i]):
                found[i] = key
        return found

    def _fields(self, records: list[Any], images: list[Any], turns: int, first: int) -> list[int]:
        """Count types under key paths; the keys inside the extra members of each record."""
        add, total = self._tabulator.fields.add, len(records)
        member = f"/{self._layout.member}"
        add("", "object", total, first)
        add(member, "array", total, first)
        add(f"{member}/*", "object", turns, first)
        for key in (self._layout.role, self._layout.content):
            add(f"{member}/*/{key}", "string", turns, first)
        there = [i for i, image in enumerate(images, first) if image is not UNSET]
        if there:
            add("/image", "string", len(there), there[0])
        nested = [0] * total
        for name, key in zip(self._names, self._layout.extras, strict=True):
            values = [(i, bytes(v)) for i, v in enumerate([getattr(r, name) for r in records]) if v is not UNSET]
            self._extra("/" + key.replace("~", "~0").replace("/", "~1"), values, first, nested)
        return nested

    def _extra(self, pointer: str, values: list[tuple[int, bytes]], first: int, nested: list[int]) -> None:
        kinds = [_FIRST.get(value[0], "string") for _, value in values]
        if "array" in kinds or "object" in kinds:
            note = self._tabulator.fields.note_at
            for at, value in values:
                nested[at] += note(pointer, msgspec.json.decode(value), first + at)
            return
        if "integer" in kinds:
            pairs = zip(kinds, values, strict=True)
            kinds = ["number" if k == "integer" and _POINT.search(v) else k for k, (_, v) in pairs]
        for kind, count in Counter(kinds).items():
            self._tabulator.fields.add(pointer, kind, count, first + values[kinds.index(kind)][0])


def _array(data: bytes, start: int, end: int) -> bytes:
    """The array whose inside, perhaps with a comma at its end, stands there. Copied once: it is large."""
    tail = data[max(start, end - _TAIL) : end]
    kept = tail.rstrip(b" \t\r\n").removesuffix(b",")
    if not kept:
        return b"[" + data[start:end].rstrip(b" \t\r\n").removesuffix(b",") + b"]"
    return b"".join((b"[", memoryview(data)[start : end - len(tail) + len(kept)], b"]"))


_STYLES = {"from": "from/value", "role": "role/content"}
