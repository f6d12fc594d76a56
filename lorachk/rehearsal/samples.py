"""The first usable records of the user's dataset as chat messages with images, for the rehearsal's batches.

Records are read as the dataset rules read them; what is not understood is skipped, and what is wrong with it is those
rules' business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from lorachk.errors import UsageError
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.dialect import shape
from lorachk.facts.records.inputs import expand
from lorachk.facts.records.reader import Reader

_HEAD = 2000  # records looked at of each file
_LARGEST_SIDE = 672  # pixels; larger images only make the miniature slower
_SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
_ROLES = ("system", "user", "assistant", "tool")
_PLACEHOLDER = re.compile(r"<image(?:_\d+)?>")

Message = dict[str, Any]


@dataclass
class Sample:
    """One conversation: messages of content parts, and its images (RGB) in the order of the image parts."""

    messages: list[Message]
    images: list[Any] = field(default_factory=list)


def head_records(file: DataFile | Path) -> Iterator[dict[str, Any]]:
    """Objects at the head of a dataset file, as far as they can be read."""
    try:
        for item in islice(Reader(file), _HEAD):
            if isinstance(item.value, dict):
                yield item.value
    except OSError:
        return


def first_samples(
    files: list[str], image_root: str | None, *, with_images: bool, mixed: bool, count: int, trainer: str | None = None
) -> list[Sample]:
    """Up to `count` samples. With `with_images` those that have images; `mixed` also keeps text-only ones between."""
    pictures: list[Sample] = []
    texts: list[Sample] = []
    for name in files:
        try:
            found = expand([name], "train", trainer=trainer)
        except UsageError:
            continue
        for file in found:
            folder = Path(file.local).parent
            root = image_root or file.image_root
            for record in head_records(file):
                sample = read_sample(record, folder, root if with_images else None, load=with_images)
                if sample is None:
                    sample = _by_dialect(record, file)
                if sample is None:
                    continue
                (pictures if sample.images else texts).append(sample)
                if len(pictures) >= count or (len(texts) >= count and not with_images):
                    break
    if not with_images or not pictures:
        return texts[:count]
    if not mixed or not texts:
        return pictures[:count]
    return [s for pair in zip(pictures, texts, strict=False) for s in pair][:count]


def _by_dialect(record: dict[str, Any], file: DataFile) -> Sample | None:
    """A record without a list of turns (alpaca, query and response, prompt and completion), when it is text alone."""
    found = shape(record, file.mapping)
    if found.member in ("conversations", "messages") or found.images or found.videos or not found.turns:
        return None
    if len(found.turns) < 2 or not all(turn.speaker in _ROLES for turn in found.turns):
        return None
    messages = [{"role": t.speaker, "content": [{"type": "text", "text": t.text}]} for t in found.turns]
    return Sample(messages)


def read_sample(record: dict[str, Any], folder: Path, image_root: str | None, *, load: bool = True) -> Sample | None:
    """A record as a sample; None when it has no conversation of known form or an image cannot be read."""
    turns = record.get("conversations") or record.get("messages")
    references = record.get("image", record.get("images"))
    if not isinstance(turns, list) or len(turns) < 2:
        return None
    named = references if isinstance(references, dict) else {}
    queue = list(references) if isinstance(references, list) else [references] if isinstance(references, str) else []
    plain = len(queue)
    messages: list[Message] = []
    paths: list[Any] = []
    for turn in turns:
        role = turn.get("role", turn.get("from")) if isinstance(turn, dict) else None
        role = _SPEAKERS.get(str(role), role)
        content = turn.get("content", turn.get("value")) if isinstance(turn, dict) else None
        if role not in _ROLES or not isinstance(content, (str, list)):
            return None
        if isinstance(content, list):
            queue += [r for part in content if (r := _reference(part))]
            plain = len(queue)
        parts: list[dict[str, str]] = []
        for piece in _pieces(content):
            if piece is None or piece in named or (piece == "<image>" and plain):
                source = named[piece] if piece in named else _next(queue)
                if source is None:
                    return None
                paths.append(source)
                parts.append({"type": "image"})
            elif piece:
                parts.append({"type": "text", "text": piece})
        messages.append({"role": role, "content": parts or [{"type": "text", "text": ""}]})
    # MiniCPM-V puts the image in front when no turn names it; elsewhere that is a data rule's finding.
    if queue and not paths:
        messages[0]["content"][:0] = [{"type": "image"} for _ in queue]
        paths, queue = queue, []
    if queue:
        return None
    if not load:
        return Sample(messages) if not paths else None
    images = [_open(p, folder, image_root) for p in paths]
    return Sample(messages, images) if all(i is not None for i in images) else None


def _next(queue: list[Any]) -> Any:
    return queue.pop(0) if queue else None


def _reference(part: Any) -> str | None:
    """File that an image part names itself ({"type": "image", "image": path})."""
    if not isinstance(part, dict):
        return None
    for key in ("image", "path", "image_url"):
        value = part.get(key)
        value = value.get("url") if isinstance(value, dict) else value
        if isinstance(value, str):
            return value
    return None


def _pieces(content: str | list[Any]) -> Iterator[str | None]:
    """Text and placeholders in order; None for an image part without a name."""
    if isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and "text" in part:
                yield str(part["text"])
            elif isinstance(part, dict) and str(part.get("type", "")).startswith("image"):
                yield None
        return
    at = 0
    for match in _PLACEHOLDER.finditer(content):
        yield content[at : match.start()]
        yield match.group()
        at = match.end()
    yield content[at:]


def _open(reference: Any, folder: Path, image_root: str | None) -> Any:
    """The image as RGB, at most 672 pixels a side; None when it is not a readable file."""
    from PIL import Image

    if not isinstance(reference, str):
        return None
    for base in (image_root, folder, "."):
        path = Path(base or ".") / reference
        if path.is_file():
            try:
                with Image.open(path) as image:
                    rgb = image.convert("RGB")
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                return None
            rgb.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
            return rgb
    return None
