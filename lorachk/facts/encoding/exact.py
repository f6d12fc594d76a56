"""Encodes records as a whole: rendered, tokenised, masked and cut as the trainer does it. Slow, and always right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from lorachk.facts.encoding.blocks import blocks
from lorachk.facts.encoding.messages import messages_of
from lorachk.facts.encoding.setup import Recipe, Setup, setup
from lorachk.facts.encoding.types import Cut, ImageBlock, Message, Unencodable
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.dialect import shape
from lorachk.facts.records.fetch import fetch
from lorachk.families.visual import Refused, Size

_TOGETHER = 256  # records tokenised in one call


class Asked(NamedTuple):
    """A record to encode: number, byte offset, and the sizes of its images (None: one of them is not known)."""

    record: int
    offset: int | None
    sizes: tuple[Size, ...] | None


class Answer(NamedTuple):
    """What became of it: the numbers at the limit, or why there are none and what the trainer then does."""

    record: int
    cut: Cut | None
    fate: str | None = None
    reason: str | None = None


class Job(NamedTuple):
    """Records of one file to encode; plain data."""

    recipe: Recipe
    file: DataFile
    limit: int | None
    asked: Sequence[Asked]


_latest: tuple[Recipe, Setup] | None = None  # of this process: opening a tokenizer takes longer than using it


def encode(job: Job) -> list[Answer]:
    """Encode the records of a job."""
    global _latest
    if _latest is None or _latest[0] != job.recipe:
        _latest = (job.recipe, setup(job.recipe))
    return list(answers(_latest[1], job, fetch(job.file, job.asked)))


def answers(used: Setup, job: Job, records: Iterable[tuple[Asked, Any]]) -> Iterator[Answer]:
    """An answer for each of `records`, which stand in the job's file."""
    waiting: list[tuple[int, list[Message], list[ImageBlock]]] = []
    for one, value in records:
        if one.sizes is None:
            yield Answer(one.record, None, None, "an image of the record could not be read")
            continue
        try:
            found = shape(value, job.file.mapping)
            messages = messages_of(job.recipe.trainer, value, found)
            waiting.append((one.record, messages, blocks_of(used, one.sizes)))
        except Unencodable as problem:
            yield Answer(one.record, None, problem.fate, str(problem))
        except Refused as problem:
            yield Answer(one.record, None, None, f"an image is refused: {problem}")
        if len(waiting) >= _TOGETHER:
            yield from _encoded(used, waiting, job.limit)
            waiting = []
    yield from _encoded(used, waiting, job.limit)


def blocks_of(used: Setup, sizes: Sequence[Size]) -> list[ImageBlock]:
    """The blocks of a record's images. Raises Unencodable and Refused."""
    if not sizes:
        return []
    if used.images is None:
        raise Unencodable(f"its images are not counted: {used.no_images}", None)
    images = used.images
    settings = images.settings if images.per_record is None else images.per_record(images.settings, len(sizes))
    return blocks([images.resize(size) for size in sizes], settings)


def _encoded(
    used: Setup, waiting: list[tuple[int, list[Message], list[ImageBlock]]], limit: int | None
) -> Iterator[Answer]:
    encoder = used.encoder
    assert encoder is not None
    if not waiting:
        return
    found = encoder.encode_all([(messages, given) for _, messages, given in waiting])
    for (number, _, given), encoded in zip(waiting, found, strict=True):
        if isinstance(encoded, Unencodable):
            yield Answer(number, None, encoded.fate, str(encoded))
        else:
            yield Answer(number, encoder.cut(encoded, given, limit))


def columns(answer: Answer, *, labels: bool) -> dict[str, Any]:
    """The answer as columns of the table `encoding`; without `labels`, what is learnt and done is left out."""
    cut = answer.cut
    if cut is None:
        return {"verdict": answer.fate, "reason": answer.reason}
    row: dict[str, Any] = {
        "image_tokens": cut.image_tokens,
        "text_tokens": cut.text_tokens,
        "text_tokens_min": cut.text_tokens,
        "text_tokens_max": cut.text_tokens,
        "tokens": cut.total,
        "features_wanted": cut.features_wanted,
    }
    if labels:
        row |= {name: getattr(cut, name) for name in ("kept", "starts", "ends", "features", "supervised")}
        row |= {"supervised_before": cut.supervised_before, "ends_with_eos": cut.ends_with_eos}
        row |= {"verdict": cut.fate, "reason": cut.reason}
    return row
