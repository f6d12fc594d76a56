"""Verdicts on records that are written the most usual way: one for all that differ in nothing a loader looks at.

Of a record whose texts hold no marks, loaders look at roles, placeholders, the kind of image and which keys there are;
the first record of each kind is judged as a whole. Records with anything else in their texts are judged one by one;
tests hold both against judging every record.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from lorachk.facts.records.dialect import shape
from lorachk.facts.records.verdicts import Settings, Verdict

# What some loaders look for in texts, beside marks in brackets: where an answer begins.
SPOKEN = ("assistant", "ASSISTANT:")
Judge = Callable[[Any, Any, Settings], Verdict]
_Key = tuple[Any, ...]


class TypedVerdicts:
    """Judges typed records: `turns`, `image`, and extra members under `names`, whose keys are `extras`."""

    def __init__(
        self, judge: Judge, settings: Settings, member: str, keys: tuple[str, str], extras: dict[str, str]
    ) -> None:
        self._judge, self._settings = judge, settings
        self._member, self._keys, self._extras = member, keys, extras
        self._known: dict[_Key, Verdict] = {}

    def of(self, records: Sequence[Any], patterns: Sequence[_Key], alone: Collection[int]) -> list[Verdict]:
        """The verdicts of records with these patterns (roles and placeholders); those in `alone` one by one."""
        found = []
        for number, (record, pattern) in enumerate(zip(records, patterns, strict=True)):
            if number in alone:
                found.append(self._judged(record))
                continue
            there = tuple([getattr(record, name) is UNSET for name in self._extras])
            key = (pattern, _kind(record.image), there)
            verdict = self._known.get(key)
            if verdict is None:
                verdict = self._known[key] = self._judged(record)
            found.append(verdict)
        return found

    def _judged(self, record: Any) -> Verdict:
        role, content = self._keys
        value: dict[str, Any] = {
            key: msgspec.json.decode(bytes(raw))
            for name, key in self._extras.items()
            if (raw := getattr(record, name)) is not UNSET
        }
        if record.image is not UNSET:
            value["image"] = record.image
        value[self._member] = [{role: turn.role, content: turn.text} for turn in record.turns]
        return self._judge(value, shape(value), self._settings)


def _kind(image: Any) -> str | None:
    """What loaders may tell apart of an image's reference."""
    if image is UNSET:
        return None
    if not image:
        return ""
    return "data" if image.startswith("data:") else "url" if "://" in image else "file"
