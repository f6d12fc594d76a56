"""What modelscope/ms-swift (3602360) does with a record, without --strict.

dataset/preprocessor/core.py rewrites the record and deletes what fails (*dropped*: "There are errors in the dataset,
the data will be deleted"). template/base.py encodes it: for a multimodal model while training, where another random
record takes the place of what fails (*replaced*); for a text model before, which deletes it too.

Columns are those of the whole file in ms-swift, of the record here.

Compared with its own preprocessors, StdTemplateInputs and message merging on 45,000 random records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lorachk.facts.records.dialect import PLACEHOLDER, Shape
from lorachk.facts.records.verdicts.types import (
    KEPT,
    Loader,
    Settings,
    Verdict,
    changed,
    crash,
    dropped,
    named,
    replaced,
    short,
    unknown,
)

_USER, _ASSISTANT = ("user", "human"), ("assistant", "gpt", "bot")
_ROLES = {
    **dict.fromkeys(_USER, "user"),
    **dict.fromkeys(_ASSISTANT, "assistant"),
    "system": "system",
    "tool": "tool",
    "tool_call": "tool",
    "tool_response": "tool",
    "function_call": "tool",
    "function-call": "tool",
    "function_response": "tool",
    "function-response": "tool",
    "observation": "tool",
    "observations": "tool",
}
_QUERY = ("query", "prompt", "input", "instruction", "question", "problem")
_RESPONSE: tuple[str, ...] = (
    "response",
    "answer",
    "output",
    "targets",
    "target",
    "answer_key",
    "answers",
    "solution",
    "text",
)
_RESPONSE += ("completion", "content")
Messages = list[tuple[str, Any]]  # role (user, assistant, system, tool), content


def judge(value: Any, _shape: Shape, settings: Settings) -> Verdict:
    """The fate of one record, every image opened."""
    if not isinstance(value, dict):
        return crash(f"datasets reads no record that is {named(value)}")
    if "rejected_response" in value or "rejected_messages" in value:
        return unknown("preference data is not judged")
    found = _messages(value)
    if isinstance(found, Verdict):
        return found
    if value.get("objects") is not None and (fault := _objects(value["objects"])):
        return dropped(fault)
    if any(role == "tool" for role, _ in found):
        return unknown("tool calls and results are written by the agent template")
    images = value.get("images", value.get("image"))
    if not (images is None or isinstance(images, (str, list, dict))):
        return unknown(f"images is {named(images)}, neither a path nor a list")
    later = dropped if settings.multimodal is False else replaced
    return _encoded(found, images, value, later) or KEPT


def _column(value: dict[str, Any], name: str, others: tuple[str, ...]) -> Any:
    """A column under its own name, or under the only other one there is."""
    there = [key for key in others if key in value]
    if len(there) > 1 or name in there:
        return value.get(name)
    return value[there[0]] if there else value.get(name)


def _messages(value: dict[str, Any]) -> Messages | Verdict:
    if "messages" in value:
        turns = value["messages"]
    elif "conversations" in value or "conversation" in value:
        if "conversations" in value and "conversation" in value:
            return dropped("KeyError: 'messages'")
        turns = value.get("conversations", value.get("conversation"))
    else:
        return _pairs(value)
    if not turns:
        return dropped("no turns: the record is deleted without a word")
    if isinstance(turns, str):
        return unknown("messages is text, which is read as a Python literal")
    if not isinstance(turns, list):
        return dropped(f"messages is {named(turns)}, not a list")
    system = _column(value, "system", ("system", "system_prompt"))
    return _standard(turns, system)


def _standard(turns: list[Any], system: Any) -> Messages | Verdict:
    found: Messages = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict):
            return dropped(f"AttributeError: turn {number} is {named(turn)}, not an object")
        if turn.get("tool_calls"):
            return unknown("tool calls and results are written by the agent template")
        role = turn["from"] if "from" in turn else turn.get("role")
        content = turn["value"] if "value" in turn else turn.get("content")
        if role is None:
            if not found and content is None:
                return _two_keys(turns, system)
            return dropped(f"role of turn {number} is missing")
        name = _ROLES.get(role) if isinstance(role, str) else None
        if name is None:
            return dropped(f"role of turn {number} is {short(role)}, which ms-swift does not know")
        if content is None:
            return dropped(f"content of turn {number} is missing or null")
        if isinstance(turn.get("content"), list) and (odd := _blocks(turn["content"], number)):
            return odd
        found.append((name, content))
    if system is not None and found[0][0] != "system":
        found.insert(0, ("system", system))
    return found


def _blocks(content: list[Any], number: int) -> Verdict | None:
    """What is found out about typed parts before they are read."""
    for block in content:
        if not isinstance(block, dict):
            return dropped(f"AttributeError: a part of turn {number} is {named(block)}, not an object")
        if block.get("type") in ("tool_use", "tool_result") or (block.get("type") == "image" and "source" in block):
            return unknown(f"turn {number} has Anthropic content blocks")
    return None


def _two_keys(turns: list[Any], system: Any) -> Messages | Verdict:
    """The form {"user": ..., "assistant": ...}, a question and its answer in one object."""
    found: Messages = [] if system is None else [("system", system)]
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict):
            return dropped(f"AttributeError: turn {number} is {named(turn)}, not an object")
        for name, keys in (("user", _USER), ("assistant", _ASSISTANT)):
            text = next((turn[key] for key in reversed(keys) if key in turn), None)
            if text is None:
                return dropped(f"turn {number} has neither role nor {name}")
            found.append((name, text))
    return found


def _pairs(value: dict[str, Any]) -> Messages | Verdict:
    """query/response/history and their many other names; instruction/input/output."""
    response = _column(value, "response", _RESPONSE)
    if "instruction" in value and "input" in value:
        response = value["output"] if value.get("output") is not None else response
        first, second = value["instruction"], value["input"]
        query = f"{first}\n{second}" if first and second else first or second
        if not isinstance(query, str):
            return dropped(f"AssertionError: the question is {named(query)}, not text")
    else:
        query = _column(value, "query", _QUERY)
    if isinstance(response, list):
        if not response:
            return dropped("IndexError: the answer is an empty list")
        response = response[0]
    history = value.get("history") or []
    if isinstance(history, str):
        return unknown("history is text, which is read as a Python literal")
    if not isinstance(history, list):
        return dropped(f"AttributeError: history is {named(history)}, not a list")
    system = _column(value, "system", ("system", "system_prompt"))
    found: Messages = [] if system is None else [("system", system)]
    for pair in [*history, [query, response]]:
        if not isinstance(pair, list) or len(pair) < 2:
            return dropped("AssertionError: history is not a list of pairs")
        found += [(name, text) for name, text in zip(("user", "assistant"), pair, strict=False) if text is not None]
    return found or dropped("AssertionError: neither a question nor an answer")


def _objects(objects: Any) -> str | None:
    """_check_objects: boxes of grounding data."""
    if not isinstance(objects, dict):
        return f"AttributeError: objects is {named(objects)}, not an object"
    if "bbox" not in objects:
        return "KeyError: 'bbox' in objects"
    boxes = objects["bbox"]
    if not isinstance(boxes, list):
        return f"TypeError: bbox of objects is {named(boxes)}, not a list"
    for box in boxes:
        if not isinstance(box, list):
            return f"a box is {named(box)}, not a list"
        if len(box) not in (2, 4):
            return f"AssertionError: len(box): {len(box)}, neither 2 nor 4"
        if len(box) == 4 and not all(isinstance(n, (int, float)) for n in box):
            return "TypeError: a box holds something else than numbers"
    return None


def _encoded(found: Messages, images: Any, value: dict[str, Any], later: Callable[[str], Verdict]) -> Verdict | None:
    system = found[0][1] if found[0][0] == "system" else None
    turns = found[1:] if found[0][0] == "system" else found
    if not turns:
        return later("IndexError: nothing but a system turn")
    if system and not isinstance(system, str):
        return later(f"AssertionError: the system prompt is {named(system)}, not text")
    texts: list[str] = []
    brought, answered, joined, last = 0, False, None, ""
    for number, (role, content) in enumerate(turns):
        if isinstance(content, str):
            texts.append(content)
        else:
            if role == "assistant" and _token_ids(content):
                return unknown(f"answer {number} is given as token ids")
            text, more = _parts(content)
            if text is None:
                return later(f"content of turn {number} is neither text nor a list of parts")
            texts.append(text)
            brought += more
        if role == "system":
            return later('AssertionError: query_role: "system": a system turn after the first')
        answered = answered or role == "assistant"
        if role == last:
            joined = joined or changed(f"two turns of {role} in a row become one")
        last = role
    fault = _tags(texts, system, images, value, brought, later)
    if fault is not None and fault.kind != "changed":
        return fault
    if not answered:
        return dropped("no answer: nothing of the record is trained")
    return fault or joined


def _token_ids(content: Any) -> bool:
    if isinstance(content, list):
        return bool(content) and isinstance(content[0], int)
    return isinstance(content, dict) and "token_ids" in content


def _parts(content: Any) -> tuple[str | None, int]:
    """Text of typed parts with a tag for each image, and how many images they bring; None: it fails."""
    if not isinstance(content, list):
        return ("", 0) if content == {} else (None, 0)
    text, images = "", 0
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            return None, 0
        kind = part["type"]
        held = part.get(kind)
        if kind == "text":
            if not isinstance(held, str):
                return None, 0
            text += held
            continue
        kind = kind.removesuffix("_url")
        if isinstance(held, dict):
            if "url" not in held:
                return None, 0
            held = held["url"]
        if held and kind not in ("image", "audio", "video"):
            return None, 0
        text += f"<{kind}>"
        images += bool(held) and kind == "image"
    return text, images


def _tags(
    texts: list[str], system: Any, images: Any, value: dict[str, Any], brought: int, later: Callable[[str], Verdict]
) -> Verdict | None:
    """Placeholders against images."""
    there = len(images) if isinstance(images, list) else int(images is not None)
    if brought and there:
        return later("AssertionError: images stand both in the parts and in images")
    there += brought
    tags = sum(text.count(PLACEHOLDER) for text in texts if "<" in text)
    if isinstance(system, str):
        tags += system.count(PLACEHOLDER)
    if not there:
        if any("<img>" in text and "</img>" in text for text in texts):
            return unknown("<img>path</img> is taken for an image where the file exists")
        multi = value.get("videos") or value.get("video") or value.get("audios") or value.get("audio")
        return changed(f"{PLACEHOLDER} without an image is trained as text") if tags and not multi else None
    for each in images if isinstance(images, list) else () if images is None else (images,):
        if not isinstance(each, str) and not (isinstance(each, dict) and (each.get("path") or each.get("bytes"))):
            return later(f"images holds {named(each)} that is no path")
    if tags > there:
        return changed(f"{tags} {PLACEHOLDER} for {there} image(s): the rest is trained as text")
    if 0 < tags < there:
        return changed(f"{tags} {PLACEHOLDER} for {there} images: the others are put in front, which shifts the images")
    return None


LOADER = Loader("ms-swift", judge, "replaced", False, urls=True, data_uris=True, container=None)
