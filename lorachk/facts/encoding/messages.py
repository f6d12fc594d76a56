"""From a record to the messages an encoder reads: what each trainer takes for a turn, and where it puts the images.

An image is its number among the record's images (`Shape.images`, the order of `list[ImageBlock]`). Everything raises
Unencodable with the trainer's own complaint and what it does then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lorachk.facts.encoding.types import Message, Unencodable
from lorachk.facts.records.dialects.model import KEY, PLACEHOLDER, SPEAKERS, Shape

_KEYED = re.compile(f"({KEY.pattern})")
_MEDIA = re.compile("(<image>|<video>)")
_SERIES = re.compile(r"\n?<image>\n?")


def messages_of(trainer: str | None, value: Any, shape: Shape) -> list[Message]:
    """The messages of a record as the trainer's loader makes them. Raises Unencodable."""
    if not isinstance(value, dict):
        raise Unencodable("the record is not an object")
    if shape.videos:
        raise Unencodable("the tokens of videos are not counted", None)
    return _BY_TRAINER.get(trainer or "", _placeholders)(value, shape)


def _minicpmv(value: Mapping[str, Any], shape: Shape) -> list[Message]:
    """finetune/dataset.py `preprocess`: <image> in the first turn alone, or <image_00> keys everywhere."""
    image, turns = value.get("image"), value.get("conversations")
    if not isinstance(image, (str, dict)):
        raise Unencodable("the record has no image", "replaced")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns) or not turns:
        raise Unencodable("conversations is not a list of turns", "replaced")
    texts = [turn.get("content") for turn in turns]
    if not all(isinstance(text, str) for text in texts):
        raise Unencodable("content is not text", "replaced")
    keys = [reference.key for reference in shape.images]
    if isinstance(image, str) or keys == [PLACEHOLDER]:
        first = texts[0]
        assert isinstance(first, str)
        parts = _filled(first, 0) if PLACEHOLDER in first else (0, "\n", first)
        contents = [parts, *((text,) for text in texts[1:])]
    else:
        contents = [_keyed(str(text), keys) for text in texts]
    roles = [turn.get("role") for turn in turns]
    return [_message(role, parts) for role, parts in zip(roles, contents, strict=True)]


def _keyed(text: str, keys: list[str | None]) -> tuple[str | int, ...]:
    """Text around the keys, all of it joined by line feeds."""
    parts: list[str | int] = []
    for number, piece in enumerate(_KEYED.split(text)):
        if number:
            parts.append("\n")
        if number % 2 == 0:
            parts.append(piece)
        elif piece in keys:
            parts.append(keys.index(piece))
        else:
            raise Unencodable(f"not found {piece} in image dict", "replaced")
    return tuple(parts)


def _filled(text: str, image: int) -> tuple[str | int, ...]:
    """Every <image> of the text is the same image."""
    parts: list[str | int] = []
    for number, piece in enumerate(text.split(PLACEHOLDER)):
        parts += [image, piece] if number else [piece]
    return tuple(parts)


def _qwen_vl(value: Mapping[str, Any], shape: Shape) -> list[Message]:
    """qwen-vl-finetune data_processor.py `_build_messages`: `human` is the user, anything else the assistant."""
    turns, waiting = _conversations(value, "replaced"), list(range(len(shape.images)))
    found: list[Message] = []
    for turn in turns:
        text = turn["value"]
        if turn["from"] != "human":
            found.append(Message("assistant", "assistant", (text,), typed=True))
            continue
        parts: list[str | int] = []
        for piece in _MEDIA.split(text):
            if piece == PLACEHOLDER:
                if not waiting:
                    raise Unencodable(
                        "Number of <image> placeholders exceeds the number of provided images", "replaced"
                    )
                parts.append(waiting.pop(0))
            elif piece == "<video>":
                raise Unencodable("Number of <video> placeholders exceeds the number of provided videos", "replaced")
            elif piece.strip():
                parts.append(piece.strip())
        found.append(Message("user", "user", tuple(parts), typed=True))
    if waiting:
        raise Unencodable(f"{len(waiting)} image(s) remain unused (not consumed by placeholders)", "replaced")
    return found


def _qwen_series(value: Mapping[str, Any], shape: Shape) -> list[Message]:
    """2U1's data_utils.py `llava_to_openai`: a line feed on either side of <image> goes with it.

    Every turn's <image> becomes a placeholder; those of questions take images in order, the others stay placeholders.
    """
    names = {"human": "user", "gpt": "assistant"}
    waiting = list(range(len(shape.images)))
    found: list[Message] = []
    for number, turn in enumerate(_conversations(value, "crash")):
        parts: list[str | int] = []
        for place, piece in enumerate(_SERIES.split(turn["value"])):
            if place:
                inside = number % 2 == 0 and bool(waiting)
                parts.append(waiting.pop(0) if inside else "<|vision_start|><|image_pad|><|vision_end|>")
            parts.append(piece)
        found.append(_message(names.get(turn["from"], turn["from"]), tuple(parts)))
    return found


def _conversations(value: Mapping[str, Any], fate: str) -> list[dict[str, str]]:
    turns = value.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise Unencodable("conversations is not a list of turns", fate)
    for turn in turns:
        if not (isinstance(turn, dict) and isinstance(turn.get("from"), str) and isinstance(turn.get("value"), str)):
            raise Unencodable("a turn has no text in from and value", fate)
    return turns


def _trl(value: Mapping[str, Any], shape: Shape) -> list[Message]:
    """TRL's columns: messages; prompt and completion, as text or messages; text. `conversations` becomes messages.

    data_utils.py `prepare_multimodal_messages`: with images, text content becomes typed parts, and all images go in
    front of the first question that is text; otherwise they fill the places of parts that name none.
    """
    vision = "image" in value or "images" in value
    images = [number for number, ref in enumerate(shape.images) if ref.pointer.split("/")[1] in ("image", "images")]
    found: list[Message] = []
    columns = ["messages"] if "messages" in value else [c for c in ("prompt", "completion") if c in value]
    columns = columns or [c for c in ("conversations", "text") if c in value][:1]
    for column in columns:
        content = value[column]
        completion = column == "completion"
        if isinstance(content, str):
            found.append(Message(None, None, (content,), False, completion))
        elif isinstance(content, list):
            taken = [] if completion else images
            found += [m._replace(completion=completion) for m in _typed(content, taken, shape, column, vision)]
        else:
            raise Unencodable(f"{column} is neither text nor messages")
    if not found:
        raise Unencodable("KeyError: neither messages, text nor prompt and completion")
    return found


def _axolotl(value: Mapping[str, Any], shape: Shape) -> list[Message]:
    """The messages, with the column `system` in front when they have none of their own (get_conversation_thread)."""
    found = _trl(value, shape)
    system = value.get("system")
    if isinstance(system, str) and found[0].role not in (None, "system"):
        return [Message("system", "system", (system,)), *found]
    return found


def _typed(content: list[Any], images: list[int], shape: Shape, column: str, vision: bool) -> list[Message]:
    own = {ref.pointer: n for n, ref in enumerate(shape.images)}
    waiting = list(images)
    places = 0
    found: list[Message] = []
    included = False
    for number, message in enumerate(content):
        if not isinstance(message, dict):
            raise Unencodable(f"message {number} is not an object")
        # maybe_convert_to_chatml renames the keys and leaves the roles: `human` stays `human`.
        key = "content" if "content" in message or "value" not in message else "value"
        role, said = message.get("role", message.get("from")), message.get(key)
        if isinstance(said, str):
            parts: list[str | int] = []
            if vision and role == "user" and not included:
                parts += waiting
                places += len(waiting)
                waiting, included = [], True
            found.append(_message(role, (*parts, said), typed=vision))
        elif isinstance(said, list):
            parts = []
            for place, part in enumerate(said):
                kind = part.get("type") if isinstance(part, dict) else None
                at = own.get(f"/{column}/{number}/{key}/{place}")
                if isinstance(part, str):
                    parts.append(part)
                elif at is not None:
                    parts.append(at)
                elif kind == "image":
                    places += 1
                    if not waiting:
                        raise Unencodable(_mismatch(len(images), "more"))
                    parts.append(waiting.pop(0))
                elif isinstance(text := (part or {}).get("text"), str):
                    parts.append(text)
            found.append(_message(role, tuple(parts), typed=True))
        elif said is None and message.get("tool_calls"):
            raise Unencodable("what the template makes of tool calls is not modelled", None)
        else:
            raise Unencodable(f"content of message {number} is neither text nor a list of parts")
    if vision and waiting:
        raise Unencodable(_mismatch(len(images), str(places)))
    return found


def _mismatch(images: int, places: str) -> str:
    return f"Number of images provided ({images}) does not match number of image placeholders ({places})."


def _placeholders(value: Mapping[str, Any], shape: Shape) -> list[Message]:
    """Every <image> is the next image, as LLaVA, InternVL and LLaMA-Factory take it; what is over stays text."""
    del value
    if shape.turns is None:
        raise Unencodable("the record has no conversation")
    waiting = list(range(len(shape.images)))
    found: list[Message] = []
    for turn in shape.turns:
        if turn.content_type == "parts" and turn.placeholders:
            raise Unencodable("where the images of typed parts stand is not known here", None)
        found.append(Message(turn.role, turn.speaker, _in_order(turn.text, waiting)))
    return found


def _swift(value: Mapping[str, Any], shape: Shape) -> list[Message]:
    """ms-swift: images without a placeholder go in front of the first message (template/base.py _add_default_tags)."""
    placed = _placeholders(value, shape)
    used = [part for message in placed for part in message.parts if isinstance(part, int)]
    new = len(shape.images) - len(used)
    if new <= 0 or not placed:
        return placed
    # The tags in front take the first images, and those in the text the rest.
    first = next((n for n, message in enumerate(placed) if message.speaker != "system"), 0)
    moved = [
        message._replace(parts=tuple(part + new if isinstance(part, int) else part for part in message.parts))
        for message in placed
    ]
    moved[first] = moved[first]._replace(parts=(*range(new), *moved[first].parts))
    return moved


def _in_order(text: str, waiting: list[int]) -> tuple[str | int, ...]:
    pieces = text.split(PLACEHOLDER)
    parts: list[str | int] = [pieces[0]] if pieces[0] else []
    for piece in pieces[1:]:
        parts.append(waiting.pop(0) if waiting else PLACEHOLDER)
        if piece:
            parts.append(piece)
    return tuple(parts) or ("",)


def _message(role: Any, parts: tuple[str | int, ...], *, typed: bool = False) -> Message:
    name = role if isinstance(role, str) else None
    return Message(name, SPEAKERS.get(name) if name else None, parts, typed)


_BY_TRAINER: dict[str, Callable[[Mapping[str, Any], Shape], list[Message]]] = {
    "minicpmv": _minicpmv,
    "qwen-vl": _qwen_vl,
    "qwen-vl-series": _qwen_series,
    "trl": _trl,
    "hf": _trl,
    "axolotl": _axolotl,
    "ms-swift": _swift,
}
