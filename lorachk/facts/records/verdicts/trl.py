"""What TRL's SFTTrainer (1.16) does with a record.

A record with an image or images goes to DataCollatorForVisionLanguageModeling while training: roles are checked, and
placeholders are compared with images (data_utils.prepare_multimodal_messages). One without is tokenized before
training by the model's chat template, which alone says what roles it takes. Nothing is caught.

Compared with its own prepare_multimodal_messages on 24,000 random records with images.
What the processor and the chat template do after it was read, not run.
"""

from __future__ import annotations

from typing import Any

from lorachk.facts.records.dialect import PLACEHOLDER, Shape
from lorachk.facts.records.verdicts.types import KEPT, Loader, Settings, Verdict, crash, named, short, unknown

_ROLES = ("user", "assistant", "system", "tool")


def judge(value: Any, _shape: Shape, settings: Settings) -> Verdict:
    """The fate of one record, every image opened."""
    if not isinstance(value, dict):
        return crash(f"datasets reads no record that is {named(value)}")
    if "image" in value or "images" in value:
        if settings.multimodal is False:
            return crash("The dataset appears to be vision-related, and the model takes no images")
        return _vision(value)
    return _text(value)


def _vision(value: dict[str, Any]) -> Verdict:
    images = [value["image"]] if "image" in value else value["images"]
    if images and not isinstance(images, list):
        return crash(f"images is {named(images)}, not a list")
    images = images or []
    if "messages" in value:
        fault = _multimodal(value["messages"], images) or _literal(value["messages"])
        return fault or (KEPT if value["messages"] else unknown("what the template makes of no messages is not known"))
    if "text" in value:
        return unknown("whether the text has a placeholder for each image, only the processor can tell")
    if "prompt" in value and "completion" in value:
        prompt, completion = value["prompt"], value["completion"]
        if not isinstance(prompt, list):
            return unknown("whether the prompt has a placeholder for each image, only the processor can tell")
        fault = _multimodal(prompt, images) or _multimodal(completion, [])
        return fault or _literal(prompt) or KEPT
    return crash("KeyError: Unexpected input keys in examples: neither messages, text nor prompt and completion")


def _multimodal(messages: Any, images: list[Any]) -> Verdict | None:
    """prepare_multimodal_messages: images are put in front of the first question that is text."""
    if messages in ("", {}):
        return unknown(f"what the template makes of {named(messages)} for messages is not known")
    if not isinstance(messages, list):
        return crash(f"TypeError: the messages are {named(messages)}, not a list")
    places, waiting = 0, len(images)
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            return crash(f"TypeError: message {number} is {named(message)}, not an object")
        if "role" not in message:
            return crash(f"KeyError: message {number} has no role")
        role, content = message["role"], message.get("content")
        if role == "user":
            if "content" not in message:
                return crash(f"KeyError: message {number} has no content")
        elif isinstance(role, (list, dict)):
            return crash(f"TypeError: role of message {number} is {named(role)}")
        elif role not in _ROLES:
            return crash(f"Invalid role in message: {short(role)}")
        if isinstance(content, str):
            if role == "user":
                places += waiting
                waiting = 0
        elif content and role != "tool":
            count = _places(content)
            if count is None:
                return crash(f"content of message {number} is neither text nor a list of parts with a type")
            places += count
    if places != len(images):
        given = f"Number of images provided ({len(images)})"
        return crash(f"{given} does not match number of image placeholders ({places})")
    return None


def _places(content: Any) -> int | None:
    if not isinstance(content, list):
        return None
    count = 0
    for part in content:
        if not isinstance(part, dict) or "type" not in part:
            return None
        count += part["type"] == "image" and "image" not in part
    return count


def _literal(messages: list[Any]) -> Verdict | None:
    """What only the processor and its template can tell of a record whose counts agree."""
    for number, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, str):
            if PLACEHOLDER in content:
                return unknown(
                    f"whether {PLACEHOLDER} in message {number} counts as an image, only the processor can tell"
                )
        elif not isinstance(content, list):
            return unknown(f"what the template makes of {named(content)} in message {number} is not known")
        elif not all(part.get("type") in ("text", "image") for part in content):
            return unknown(f"whether the template knows the parts of message {number} is not known")
    return None


def _text(value: dict[str, Any]) -> Verdict:
    messages = value.get("messages", value.get("conversations"))
    if "prompt" in value:
        return _completion(value)
    if messages is None:
        if "text" not in value:
            return crash("KeyError: 'text': neither messages, text nor prompt and completion")
        text = value["text"]
        return KEPT if isinstance(text, str) else crash(f"AttributeError: text is {named(text)}, not text")
    if not isinstance(messages, list):
        return unknown(f"messages is {named(messages)}, not a list")
    if not messages:
        return crash("IndexError: messages is empty")
    return _template(messages)


def _completion(value: dict[str, Any]) -> Verdict:
    if "completion" not in value:
        return crash("KeyError: 'completion'")
    prompt, completion = value["prompt"], value["completion"]
    if isinstance(prompt, str) and isinstance(completion, str):
        return KEPT
    if isinstance(prompt, list) and isinstance(completion, list) and prompt and completion:
        return _template(prompt + completion)
    if type(prompt) is not type(completion):
        return crash(f"TypeError: prompt is {named(prompt)}, completion is {named(completion)}")
    return unknown(f"prompt and completion are {named(prompt)}")


def _template(messages: list[Any]) -> Verdict:
    """A chat template takes user and assistant in turn after a system message; of all else it alone decides."""
    last = ""
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            return unknown(f"message {number} is {named(message)}, not an object")
        role, content = message.get("role", message.get("from")), message.get("content", message.get("value"))
        if not isinstance(content, str):
            return unknown(f"whether the template takes {named(content)} in message {number} is not known")
        if role not in ("user", "assistant") and (role != "system" or number):
            return unknown(f"whether the template takes role {short(role)} of message {number} is not known")
        if role == last or (role == "assistant" and last in ("", "system")):
            return unknown(f"whether the template takes message {number} out of turn is not known")
        last = role
    return KEPT


LOADER = Loader("trl", judge, "crash", False, urls=True, data_uris=True, container=None)
