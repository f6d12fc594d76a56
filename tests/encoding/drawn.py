"""Dialogues drawn at random, with the texts that go wrong: special tokens, stray marks, empty turns, line ends."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lorachk.facts.encoding.types import ImageBlock, Message

WORDS = ("hi", " there", "\n", "the cat", "  ", "42", "é", "猫", ". ", "The stamp moved;", " a", "#")


def text(draw: random.Random, marks: Sequence[str] = (), most: int = 10) -> str:
    """Up to `most` words; `marks` are a fifth of them."""
    return "".join(
        draw.choice(marks) if marks and draw.random() < 0.2 else draw.choice(WORDS)
        for _ in range(draw.randint(0, most))
    )


def dialogue(
    draw: random.Random,
    marks: Sequence[str] = (),
    *,
    images: bool = True,
    system: float = 0.3,
    least: int = 0,
) -> tuple[list[Message], int]:
    """Turns of human and gpt, and the number of images in them. `least`: characters of an answer."""
    messages: list[Message] = []
    count = 0
    if draw.random() < system:
        messages.append(Message("system", "system", (text(draw, marks) or "Be terse.",)))
    for _ in range(draw.randint(1, 3)):
        parts: list[str | int] = [text(draw, marks)]
        while images and draw.random() < 0.4:
            parts += [count, text(draw, marks, 3)]
            count += 1
        answer = text(draw, marks)
        answer += "x" * (least - len(answer))
        messages += [Message("human", "user", tuple(parts)), Message("gpt", "assistant", (answer,))]
    return messages, count


def blocks(draw: random.Random, count: int, sizes: Sequence[int] = (1, 4, 9, 16)) -> list[ImageBlock]:
    """Images of that many features, each between a start and an end marker."""
    features = [draw.choice(sizes) for _ in range(count)]
    return [ImageBlock(each + 2, each, 1, 1, 1, 1) for each in features]
