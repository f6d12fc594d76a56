"""Conversations drawn at random, and how each dialect writes them into a file.

Most are ordinary, so that many share a form and are counted by it; some have what goes wrong: special tokens written
out, blanks and line ends at the ends of texts, images in the middle.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

MARK = "<image>"
Size = tuple[int, int]
_TEXT = (
    "What is the total? A cat sits on the mat, and 12 dogs run. It's 148.20 EUR (incl. 19 %); über façade Ελλάδα "
    'Read the label! assistant user def f(x): "quoted" well-known a 猫が座っている。 字 東京 😀 👩‍👩‍👧 e\u0301 '
    "Übergröße x1 3.14159 $5 & more… – end"
)
_WORDS = _TEXT.split()
_SEPARATORS = (" ",) * 40 + ("  ", "\n", "\n\n", "\t", ", ", ".\n")
_ENDS = ("",) * 60 + ("\n", " ", "\n\n", " \n", "  ")
_STARTS = ("",) * 80 + ("\n", " ", "\t")


@dataclass
class Talk:
    """A conversation: texts of user and assistant in turn; where each image stands: (question, characters before)."""

    texts: list[str]
    images: list[int] = field(default_factory=list)  # numbers of the pool
    places: list[tuple[int, int]] = field(default_factory=list)
    system: str | None = None

    def pieces(self, question: int) -> list[str | int]:
        """Text of a turn, with the record's images by their numbers; only what is written is there."""
        text, last, found = self.texts[question], 0, []
        for image, (turn, at) in enumerate(self.places):
            if turn == question:
                found += [*([text[last:at]] if text[last:at] else []), image]
                last = at
        return [*found, *([text[last:]] if text[last:] else [])]

    def marked(self, question: int, mark: str = MARK) -> str:
        """A turn with every image as `mark`; one at its start stands on a line of its own."""
        pieces = self.pieces(question)
        out = ""
        for n, piece in enumerate(pieces):
            if isinstance(piece, str):
                out += piece
            else:
                front = all(isinstance(each, int) for each in pieces[: n + 1])
                out += f"{mark}\n" if front else mark
        return out


def text(draw: random.Random, literals: Sequence[str], *, most: int = 40) -> str:
    """A text of up to `most` words, mostly short."""
    count = min(draw.randint(1, most), draw.randint(1, most))
    out = draw.choice(_STARTS)
    for n in range(count):
        out += (draw.choice(_SEPARATORS) if n else "") + draw.choice(_WORDS)
    if literals and draw.random() < 0.04:
        out += draw.choice(("", " ")) + draw.choice(literals) + draw.choice(("", " then"))
    return out + draw.choice(_ENDS)


def talks(
    seed: str,
    *,
    count: int = 500,
    literals: Sequence[str] = (),
    pool: int = 40,
    images: Sequence[int] = (0, 0, 1, 1, 1, 1, 2, 3),
    middle: float = 0.2,
    system: float = 0.0,
    most: int = 40,
) -> list[Talk]:
    """Conversations of one to three rounds; `middle`: how often an image stands elsewhere than in front of all."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        rounds = draw.choice((1, 1, 1, 1, 2, 2, 3))
        talk = Talk([text(draw, literals, most=most) for _ in range(2 * rounds)])
        if draw.random() < system:
            talk.system = draw.choice(("Be brief.", "You read charts."))
        for _ in range(draw.choice(images)):
            talk.images.append(draw.randrange(pool))
            place = (0, 0)
            if draw.random() < middle:
                question = 2 * draw.randrange(rounds)
                place = (question, draw.randint(0, len(talk.texts[question])))
            talk.places.append(place)
        talk.places.sort()
        found.append(talk)
    return found


def pool(folder: Path, seed: str = "sizes", *, count: int = 40, most: int = 1400) -> list[Size]:
    """Sizes of images, each an image file of one colour in `folder`/images, named by its number."""
    draw = random.Random(seed)
    sizes = [(draw.randint(60, most), draw.randint(60, most)) for _ in range(count - 6)]
    sizes += [(448, 448), (449, 448), (1344, 336), (336, 1008), (64, 700), (224, 224)]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(sizes):
        Image.new("L", size).save(folder / name(number))
    return sizes


def name(number: int) -> str:
    return f"images/{number}.png"


def _paths(talk: Talk) -> dict[str, list[str]]:
    return {"images": [name(number) for number in talk.images]} if talk.images else {}


ROLES = ("user", "assistant")


def messages(talk: Talk) -> dict[str, Any]:
    """TRL: plain texts; the images go in front of the first question."""
    said = [{"role": ROLES[n % 2], "content": each} for n, each in enumerate(talk.texts)]
    if talk.system is not None:
        said.insert(0, {"role": "system", "content": talk.system})
    return {"messages": said, **_paths(talk)}


def typed(talk: Talk) -> dict[str, Any]:
    """TRL: lists of parts, the images where they stand."""
    said = []
    for n in range(len(talk.texts)):
        parts = [
            {"type": "text", "text": piece} if isinstance(piece, str) else {"type": "image"} for piece in talk.pieces(n)
        ]
        said.append({"role": ROLES[n % 2], "content": parts})
    if talk.system is not None:
        said.insert(0, {"role": "system", "content": [{"type": "text", "text": talk.system}]})
    return {"messages": said, **_paths(talk)}


def completion(talk: Talk) -> dict[str, Any]:
    """TRL: the last answer apart."""
    found = messages(talk)
    said = found.pop("messages")
    return {"prompt": said[:-1], "completion": said[-1:], **found}


def text_column(talk: Talk) -> dict[str, Any]:
    return {"text": "".join(talk.texts)}


def text_completion(talk: Talk) -> dict[str, Any]:
    return {"prompt": talk.texts[0], "completion": talk.texts[1]}


def minicpmv(talk: Talk) -> dict[str, Any]:
    """MiniCPM-V: one image, or several by their keys."""
    several = len(talk.images) > 1
    said = []
    for n in range(len(talk.texts)):
        content = "".join(
            piece if isinstance(piece, str) else f"<image_{piece:02d}>\n" if several else "<image>\n"
            for piece in talk.pieces(n)
        )
        said.append({"role": ROLES[n % 2], "content": content})
    if several:
        image: Any = {f"<image_{n:02d}>": name(number) for n, number in enumerate(talk.images)}
    else:
        image = name(talk.images[0]) if talk.images else {}
    return {"image": image, "conversations": said}


def sharegpt(talk: Talk) -> dict[str, Any]:
    """LLaMA-Factory."""
    return {"conversations": _human(talk), **_paths(talk)}


def tagged(talk: Talk) -> dict[str, Any]:
    """ms-swift."""
    said = [{"role": ROLES[n % 2], "content": talk.marked(n)} for n in range(len(talk.texts))]
    if talk.system is not None:
        said.insert(0, {"role": "system", "content": talk.system})
    return {"messages": said, **_paths(talk)}


def llava(talk: Talk) -> dict[str, Any]:
    """LLaVA, InternVL and Qwen's script: a path, or a list of them."""
    if not talk.images:
        return {"conversations": _human(talk)}
    paths = [name(number) for number in talk.images]
    return {"image": paths[0] if len(paths) == 1 else paths, "conversations": _human(talk)}


def _human(talk: Talk) -> list[dict[str, str]]:
    said = [{"from": ("human", "gpt")[n % 2], "value": talk.marked(n)} for n in range(len(talk.texts))]
    if talk.system is not None:
        said.insert(0, {"from": "system", "value": talk.system})
    return said


Dialect = Callable[[Talk], dict[str, Any]]


def write(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return path
