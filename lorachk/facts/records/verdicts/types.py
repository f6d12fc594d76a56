"""What a trainer's loader does with one record, and what must be known of the run to say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from lorachk.facts.records.dialect import Shape


class Verdict(NamedTuple):
    """The fate of a record, and why in a short clause.

    kept: trained as written. changed: trained, but not what is written. dropped: nothing of it is trained. replaced:
    another record is trained in its place. crash: the run stops. None: not known; `reason` says what would tell.
    """

    kind: str | None
    reason: str | None = None


KEPT = Verdict("kept")


class Settings(NamedTuple):
    """What a loader's verdict depends on besides the record; None where it is not known."""

    llm_type: str = "qwen"  # MiniCPM-V: --llm_type
    template: str | None = None  # LLaVA: --version, InternVL: --conv_style
    multimodal: bool | None = None  # the model takes images
    family: str | None = None  # run.family
    mapping: Any = None  # LLaMA-Factory: the entry of dataset_info.json (datasetinfo.Mapping_)


class Loader(NamedTuple):
    """How a trainer reads records.

    `judge` speaks as if every image opened and nothing were too long. Where an image of the record does not open,
    `bad_image` is the record's kind (None: not known): over any verdict of `judge` with `bad_image_first`, else only
    over kept, changed and unknown.
    """

    trainer: str
    judge: Callable[[Any, Shape, Settings], Verdict]
    bad_image: str | None
    bad_image_first: bool
    urls: bool
    data_uris: bool
    container: str | None  # array, lines; None: both


def crash(reason: str) -> Verdict:
    """The run stops."""
    return Verdict("crash", reason)


def dropped(reason: str) -> Verdict:
    """Nothing of the record is trained."""
    return Verdict("dropped", reason)


def replaced(reason: str) -> Verdict:
    """Another record is trained in its place."""
    return Verdict("replaced", reason)


def changed(reason: str) -> Verdict:
    """The record is trained, but not as it is written."""
    return Verdict("changed", reason)


def unknown(reason: str) -> Verdict:
    """What happens depends on something that is not known here."""
    return Verdict(None, reason)


def unread(value: Mapping[str, Any]) -> Verdict | None:
    """For trainers that read `image` alone: what else is trained as text."""
    if value.get("images") and "image" not in value:
        return changed("images is not read: the trainer takes image")
    return None


_NAMES = {
    list: "a list",
    dict: "an object",
    str: "text",
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def named(value: Any) -> str:
    """The JSON type of a value in words: 'a list', 'null'."""
    return _NAMES.get(type(value), type(value).__name__)


def short(value: Any) -> str:
    """A value as it would be quoted in a message, cut at 40 characters."""
    return f"{value!r:.40}" if isinstance(value, (str, int, float, type(None))) else named(value)
