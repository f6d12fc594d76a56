"""Unsafe: records that are left out because the trainer would not train them, or because they stand twice."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache

import msgspec

from lorachk.facts.records.dialects.model import Reference
from lorachk.fixes.fixer import Around, Change, Record

_LOST = ("dropped", "replaced", "crash")


def not_trained(record: Record, around: Around) -> Change | None:
    """A record that the trainer would drop, replace by another, or stop at. Token limits are not looked at."""
    loader = around.loader
    if loader is None:
        return None
    verdict = loader.judge(record.value, record.shape, around.settings)
    kind = verdict.kind
    if kind not in _LOST and loader.bad_image in _LOST and not all(_opens(i, around) for i in record.shape.images):
        kind = loader.bad_image
    if kind not in _LOST:
        return None
    does = {"dropped": "drop", "replaced": "replace by another", "crash": "stop at"}[str(kind)]
    return Change(None, "D202" if kind == "crash" else "D106", f"left out, as {around.trainer} would {does} it")


def _opens(image: Reference, around: Around) -> bool:
    loader = around.loader
    assert loader
    if image.content is not None:
        return True
    if image.reference is None:
        return False
    if image.reference.startswith("data:"):
        return loader.data_uris
    if "://" in image.reference and not image.reference.startswith("file://"):
        return loader.urls
    return _file_opens(image.reference.removeprefix("file://"), tuple(around.folders))


@lru_cache(maxsize=100_000)
def _file_opens(reference: str, folders: tuple[str, ...]) -> bool:
    from lorachk.facts.imagefile import inspect

    if "\0" in reference:
        return False
    for folder in folders:
        path = os.path.join(folder, reference)  # noqa: PTH118
        if os.path.isfile(path):  # noqa: PTH113
            facts = inspect(path, full=False)
            return facts.decodes is not False and facts.problem is None
    return False


class Twice:
    """Records that were seen before, by a hash of what is trained (not the id): 8 bytes and a set entry for each."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def __call__(self, record: Record, _: Around) -> Change | None:
        """The record left out when the same stood before."""
        shape = record.shape
        if not shape.turns:
            return None
        trained = (
            [(t.speaker, t.text, t.content_type) for t in shape.turns],
            [(i.key, i.reference) for i in shape.images],
        )
        digest = hashlib.blake2b(msgspec.json.encode(trained), digest_size=8).digest()
        number = int.from_bytes(digest, "little")
        if number in self._seen:
            return Change(None, "D208", "left out, as the same stood before")
        self._seen.add(number)
        return None
