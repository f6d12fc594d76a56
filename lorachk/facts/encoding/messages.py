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
    own = {ref.pointer: n for n, ref in enumerate(shape.images) if n not in images}
    turns: list[tuple[Any, list[str | int | None], bool]] = []  # None: a place for the next image
    included = False
    for number, message in enumerate(content):
        if not isinstance(message, dict):
            raise Unencodable(f"message {number} is not an object")
        # maybe_convert_to_chatml renames the keys and leaves the roles: `human` stays `human`.
        key = "content" if "content" in message or "value" not in message else "value"
        role, said = message.get("role", message.get("from")), message.get(key)
        if isinstance(said, str):
            first = vision and role == "user" and not included
            included = included or first
            turns.append((role, [*([None] * len(images) if first else []), said], vision))
        elif isinstance(said, list):
            at = f"/{column}/{number}/{key}"
            turns.append((role, [_part(part, own.get(f"{at}/{place}")) for place, part in enumerate(said)], True))
        elif said is None and message.get("tool_calls"):
            raise Unencodable("what the template makes of tool calls is not modelled", None)
        else:
            raise Unencodable(f"content of message {number} is neither text nor a list of parts")
    places = sum(parts.count(None) for _, parts, _ in turns)
    if places != len(images):
        raise Unencodable(
            f"Number of images provided ({len(images)}) does not match number of image placeholders ({places})."
        )
    if images and any(isinstance(part, int) for _, parts, _ in turns for part in parts):
        raise Unencodable("a part brings an image of its own, which the processor is not given")
    waiting = iter(images)
    return [
        _message(role, tuple(next(waiting) if part is None else part for part in parts), typed=typed)
        for role, parts, typed in turns
    ]


def _part(part: Any, own: int | None) -> str | int | None:
    """Text, an image of the part's own, or None for a place that takes the next image of the record."""
    if isinstance(part, str):
        return part
    if own is not None:
        return own
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "image":
        return None
    text = part.get("text") if isinstance(part, dict) else None
    if isinstance(text, str):
        return text
    raise Unencodable(f"what the template makes of a part of type {kind!r:.40} is not known", None)


def _placeholders(value: Mapping[str, Any], shape: Shape) -> list[Message]:
    """Every <image> is the next image, as LLaVA, InternVL and LLaMA-Factory take it; what is over stays text."""
    del value
    if shape.turns is None:
        raise Unencodable("the record has no conversation")
    waiting = list(range(len(shape.images)))
    found: list[Message] = []
    for turn in shape.turns:
        if turn.content_type == "parts":
            raise Unencodable("content is a list of parts, not text")
        found.append(Message(turn.role, turn.speaker, _in_order(turn.text, waiting)))
    return found


def _swift(value: Mapping[str, Any], shape: Shape) -> list[Message]:
    """ms-swift (3602360): parts become tags in one text (template_inputs.py remove_messages_media); images without a
    tag get one in front of the first message that is no system message (template/base.py _add_default_tags).
    """
    if shape.turns is None:
        raise Unencodable("the record has no conversation")
    texts = [_tagged(value, shape, number) for number in range(len(shape.turns))]
    new = len(shape.images) - sum(text.count(PLACEHOLDER) for text in texts)
    first = next((n for n, turn in enumerate(shape.turns) if turn.speaker != "system"), 0)
    if new > 0 and texts:
        texts[first] = PLACEHOLDER * new + texts[first]
    waiting = list(range(len(shape.images)))
    return [Message(t.role, t.speaker, _in_order(text, waiting)) for t, text in zip(shape.turns, texts, strict=True)]


def _tagged(value: Mapping[str, Any], shape: Shape, number: int) -> str:
    assert shape.turns is not None
    turn = shape.turns[number]
    if turn.content_type != "parts":
        return turn.text
    entry: Any = value
    for key in (turn.pointer or f"/{shape.member}/{number}").split("/")[1:]:
        entry = entry[int(key)] if isinstance(entry, list) else entry[key]
    parts = entry.get("content", entry.get("value")) if isinstance(entry, dict) else entry
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise Unencodable("what ms-swift makes of this content is not known", None)
    return "".join(str(part.get("text", "")) if part.get("type") == "text" else PLACEHOLDER for part in parts)


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
