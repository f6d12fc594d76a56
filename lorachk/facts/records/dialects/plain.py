"""Records without one list of turns: alpaca, query and response, prompt and completion, preferences, plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from lorachk.facts.records.dialects.chat import STYLES, Taken
from lorachk.facts.records.dialects.media import any_turn, count_videos, image_field
from lorachk.facts.records.dialects.model import ABSENT, Reference, Shape, Turn, escaped

# ms-swift's ResponsePreprocessor takes any of these columns for the question and the answer.
_QUESTIONS = ("query", "prompt", "question", "problem", "input")
_ANSWERS = ("response", "answer", "solution", "output")


class Gathered:
    """Turns that are gathered from columns, with the images their parts bring along."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.value = value
        self.turns: list[Turn] = []
        self.images: list[Reference] = []
        self.videos = 0

    def turn(self, speaker: str | None, content: Any, pointer: str) -> None:
        """One turn whose content stands at `pointer`."""
        turn, images, videos = any_turn(None, speaker, content, pointer, pointer)
        self.turns.append(turn)
        self.images += images
        self.videos += videos

    def system(self, column: str | None) -> None:
        """The system prompt, when there is one."""
        if column and (text := self.value.get(column)):
            self.turn("system", text, f"/{escaped(column)}")

    def question(self, *columns: str | None) -> None:
        """The columns that are not empty, joined by line feeds as one turn of the user; the first one's pointer."""
        filled = [c for c in columns if c and self.value.get(c)]
        named = next((c for c in columns if c and c in self.value), None)
        contents = [self.value[c] for c in filled]
        if len(filled) > 1 and all(isinstance(c, str) for c in contents):
            self.turn("user", "\n".join(contents), f"/{escaped(filled[0])}")
        elif column := (filled[0] if filled else named):
            self.turn("user", self.value.get(column), f"/{escaped(column)}")

    def history(self, column: str | None) -> None:
        """Pairs of question and answer."""
        rounds = self.value.get(column) if column else None
        for number, pair in enumerate(rounds if isinstance(rounds, list) else ()):
            speakers: Iterable[str | None] = ("user", "assistant")
            at = f"/{escaped(column)}/{number}"
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                self.turn(None, pair if isinstance(pair, (int, float)) else {}, at)  # no pair, no text
                continue
            for side, (speaker, content) in enumerate(zip(speakers, pair, strict=True)):
                self.turn(speaker, content, f"{at}/{side}")

    def shape(self, dialect: str, style: str, media: tuple[str, list[Reference]] | None = None) -> Shape:
        """The record's shape; `media` is the image field when it is not the usual one."""
        field, images = media or image_field(self.value)
        videos = self.videos + count_videos(self.value)
        placeholders = sum(turn.placeholders for turn in self.turns)
        return Shape(dialect, style, field, images + self.images, videos, self.turns, "", placeholders)


def alpaca(value: Mapping[str, Any]) -> Shape:
    """Stanford Alpaca's columns, as LLaMA-Factory and ms-swift read them."""
    gathered = Gathered(value)
    gathered.system("system")
    gathered.history("history")
    gathered.question("instruction", "input")
    answer = next((c for c in ("output", "response", "chosen") if c in value), None)
    if answer is not None:
        gathered.turn("assistant", value[answer], f"/{answer}")
    return gathered.shape("alpaca", "alpaca")


def query(value: Mapping[str, Any], question: str | None, answer: str | None) -> Shape:
    """ms-swift's query, response, history and system."""
    gathered = Gathered(value)
    gathered.system("system")
    gathered.history("history")
    if question:
        gathered.turn("user", value[question], f"/{question}")
    if answer:
        content = value[answer]
        if isinstance(content, list) and content and isinstance(content[0], str):
            content = content[0]  # the first of several answers is trained
        gathered.turn("assistant", content, f"/{answer}")
    return gathered.shape("query", "query")


def completion(value: Mapping[str, Any], answer: str | None) -> Shape:
    """TRL's prompt and completion (or chosen) as strings."""
    gathered = Gathered(value)
    gathered.turn("user", value["prompt"], "/prompt")
    if answer:
        gathered.turn("assistant", value[answer], f"/{answer}")
    return gathered.shape("completion", "completion")


def conversational(value: Mapping[str, Any], members: list[str]) -> Shape:
    """TRL's conversational prompt, completion and chosen: lists of messages, one after the other.

    What is rejected is no part of the conversation that is learned, and left out.
    """
    gathered = Gathered(value)
    style, parts = "role", False
    for member in members:
        content = value[member]
        if not isinstance(content, list):
            gathered.turn("user" if member == "prompt" else "assistant", content, f"/{member}")
            continue
        taken = Taken(content, member, keyed=False, pointers=True)
        gathered.turns += taken.turns
        gathered.images += taken.images
        gathered.videos += taken.videos
        style, parts = taken.style or style, parts or taken.parts
    dialect = "sharegpt" if style == "from" else "parts" if parts else "messages"
    found = gathered.shape(dialect, STYLES[style])
    if dialect == "sharegpt" and (found.images or found.placeholders or found.videos):
        found = found._replace(dialect="llava")
    return found


def plain(value: Mapping[str, Any]) -> Shape:
    """The shape of a record without a list of turns under conversations or messages."""
    if "instruction" in value and not value.keys().isdisjoint(("input", "output", "response", "chosen")):
        return alpaca(value)
    answer = next((c for c in ("completion", "chosen") if c in value), None)
    members = [c for c in ("prompt", answer) if c and c in value]
    if any(_is_messages(value[member]) for member in members):
        return conversational(value, members)
    if answer and isinstance(value.get("prompt"), str):
        return completion(value, answer)
    question = next((c for c in _QUESTIONS if _is_text(value.get(c, ABSENT))), None)
    answer = next((c for c in _ANSWERS if _is_text(value.get(c, ABSENT))), None)
    if answer is None and "response" in value:
        answer = "response"
    if "query" in value or "response" in value or (question and answer):
        return query(value, "query" if "query" in value else question, answer)
    if isinstance(value.get("prompt"), str) and "text" not in value:
        return completion(value, None)
    if isinstance(value.get("text"), str):
        gathered = Gathered(value)
        gathered.turn("assistant", value["text"], "/text")  # every token of it is trained
        return gathered.shape("text", "text")
    field, images = image_field(value)
    return Shape("unknown", None, field, images, count_videos(value), None, "", 0)


def _is_text(content: Any) -> bool:
    return isinstance(content, str)


def _is_messages(content: Any) -> bool:
    """Whether a column is a list of messages; its first ones tell."""
    if not isinstance(content, list):
        return False
    return any(isinstance(m, dict) and ("role" in m or "from" in m) for m in islice(content, 3))
