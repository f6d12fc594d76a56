"""What axolotl-ai-cloud/axolotl (067b021) does with a record, where its configuration leaves no doubt.

With images (`processor_type`), processing_strategies.py rewrites the record in the collator: only the first image of a
list is used. Without, `type: chat_template` hands it to the model's chat template. Nothing is caught.

Compared with its own ProcessingStrategy.__call__ on 30,000 random records; chat templates were not run.
"""

from __future__ import annotations

from typing import Any

from lorachk.facts.records.dialect import PLACEHOLDER, Shape
from lorachk.facts.records.verdicts.types import (
    KEPT,
    Loader,
    Settings,
    Verdict,
    changed,
    crash,
    named,
    short,
    unknown,
)

_FIELD = "which column holds the messages, field_messages and type of the configuration say"


def judge(value: Any, shape: Shape, settings: Settings) -> Verdict:
    """The fate of one record, every image opened."""
    if not isinstance(value, dict):
        return crash(f"datasets reads no record that is {named(value)}")
    old = value.get("messages") is None and "conversations" in value
    messages = value.get("conversations") if old else value.get("messages")
    if messages is None:
        return unknown(_FIELD)
    pictured = value.get("images", value.get("image")) is not None
    if settings.multimodal or pictured or shape.images:
        return _multimodal(messages, value, old)
    return _turns(messages)


def _multimodal(messages: Any, value: dict[str, Any], old: bool) -> Verdict:
    if not isinstance(messages, list) or not messages:
        return (
            crash(f"the messages are {named(messages)}, not a list") if messages else unknown("there are no messages")
        )
    speaker, holder = ("from", "value") if old else ("role", "content")
    bare = losses = 0
    unsaid = False
    literal = lost = asked = None
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            return crash(f"TypeError: message {number} is {named(message)}, not an object")
        if holder not in message:
            return crash(f"KeyError: message {number} has no {holder}")
        content = message[holder]
        if speaker not in message:
            if old or isinstance(content, (str, list)):
                return crash(f"KeyError: message {number} has no {speaker}")
            lost, losses = number, losses + 1
            continue
        role = message[speaker]
        if isinstance(role, (list, dict)):
            if old:
                return crash(f"TypeError: from of message {number} is {named(role)}")
            return unknown(f"role of message {number} is {named(role)}")
        unsaid = unsaid or role is None
        asked = asked or role in ("user", "human")
        if isinstance(content, str):
            literal = number if PLACEHOLDER in content else literal
        elif not isinstance(content, list):
            lost, losses = number, losses + 1
        elif not all(isinstance(part, dict) and "type" in part for part in content):
            return crash(f"KeyError: a part of message {number} has no type")
        else:
            bare += sum(part["type"] == "image" and not _given(part) for part in content)
    column, fault = _column(value)
    if fault:
        return fault
    if column and losses == len(messages):
        return crash("IndexError: no message is left to put the image into")
    if literal is not None:
        return unknown(f"whether {PLACEHOLDER} in message {literal} counts as an image, only the processor can tell")
    if bare > min(column, 1):
        return crash(f"{bare} image parts without a file, and {min(column, 1)} image is put in")
    if unsaid:
        return unknown("whether the template takes a message without a role is not known")
    if lost is not None:
        return changed(f"message {lost} is left out: its content is neither text nor a list")
    if column > 1:
        return changed(f"Found {column} images in a sample. Using the first one.")
    return KEPT if asked else unknown("whether the template takes these roles is not known")


def _given(part: dict[str, Any]) -> bool:
    return any(key in part for key in ("image", "url", "path", "base64"))


def _column(value: dict[str, Any]) -> tuple[int, Verdict | None]:
    """Images of the column, of which the first is used."""
    images = value["images"] if "images" in value else value.get("image")
    if images is None:
        return 0, None
    if isinstance(images, str):
        return 0, crash("images is text, not a list: its first character is opened as an image")
    if not isinstance(images, list):
        return 0, crash(f"images is {named(images)}, not a list")
    if not images:
        return 0, crash("IndexError: images is an empty list")
    if not isinstance(images[0], str):
        return len(images), unknown(f"the first image is {named(images[0])}, not a path")
    return len(images), None


def _turns(messages: Any) -> Verdict:
    """Without images: what any chat template takes is kept."""
    if not isinstance(messages, list):
        return unknown(_FIELD)
    last = ""
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            return unknown(f"message {number} is {named(message)}, not an object")
        role, content = message.get("role"), message.get("content")
        if "role" not in message:
            return unknown("from and value are read where message_property_mappings says so")
        if not isinstance(content, str):
            return unknown(f"what the template makes of {named(content)} in message {number} is not known")
        speaker = {"human": "user", "gpt": "assistant"}.get(role, role) if isinstance(role, str) else None
        if speaker not in ("user", "assistant") and (speaker != "system" or number):
            return unknown(f"whether the template takes role {short(role)} of message {number} is not known")
        if speaker == last or (speaker == "assistant" and last in ("", "system")):
            return unknown(f"whether the template takes message {number} out of turn is not known")
        last = str(speaker)
    if last != "assistant":
        return unknown("the last message is no answer: what is trained depends on roles_to_train")
    return KEPT


LOADER = Loader("axolotl", judge, "crash", False, urls=True, data_uris=True, container=None)
