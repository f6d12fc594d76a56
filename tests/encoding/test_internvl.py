"""InternVL's encoder against a plain re-statement of its preprocess functions, on drawn dialogues."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from lorachk.facts.encoding.internvl import make
from lorachk.facts.encoding.tokenizer import open_tokenizer
from lorachk.facts.encoding.types import ImageBlock, Message, Settings, Unencodable
from tests.encoding.drawn import text
from tests.encoding.vocabularies import byte_level, sentencepiece

IGNORE = -100
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
SPECIALS += ["<img>", "</img>", "<IMG_CONTEXT>"]
MARKS = ("<|im_end|>", "<image>", "<|im_start|>assistant\n", "<|end|>", "</s>")
OLD = "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。"
NEW = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
USER, ASSISTANT = "<|im_start|>user\n", "<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vocabularies")
    return {
        "bytes": byte_level(root / "bytes", SPECIALS, eos="<|endoftext|>"),
        "bos": sentencepiece(root / "bos", SPECIALS),
    }


class Refused(Exception):
    """The loader catches it and takes another line."""


class Restated:
    """dataset.py, with every image written out."""

    def __init__(self, style: str, tokenizer: Any, limit: int, features: list[int]) -> None:
        self.style, self.tokenizer, self.limit, self.features = style, tokenizer, limit, features

    def ids(self, string: str) -> list[int]:
        found: list[int] = self.tokenizer(string).input_ids
        return found

    def filled(self, string: str, placed: int) -> tuple[str, int]:
        while "<image>" in string and placed < len(self.features):
            string = string.replace("<image>", f"<img>{'<IMG_CONTEXT>' * self.features[placed]}</img>", 1)
            placed += 1
        return string, placed

    def encode(self, turns: list[tuple[str, str]]) -> tuple[list[int], list[int], bool]:
        turns = list(turns)
        if len(self.features) == 1 and "<image>" not in turns[0][1]:
            turns[0] = (turns[0][0], "<image>\n" + turns[0][1])
        ids, labels, mismatch = self.new(turns) if self.style == "internvl2_5" else self.old(turns)
        ends = ids.count(self.tokenizer.convert_tokens_to_ids("</img>"))
        if self.features and ends != len(self.features):
            raise Refused("image tokens are truncated")
        return ids, labels, mismatch

    def new(self, turns: list[tuple[str, str]]) -> tuple[list[int], list[int], bool]:
        bos = bool(getattr(self.tokenizer, "add_bos_token", False))
        batches = [("system", f"<|im_start|>system\n{NEW}<|im_end|>\n")]
        placed = 0
        for role, value in turns:
            if role == "human":
                value, placed = self.filled(value, placed)
            batches.append((role, f"{USER if role == 'human' else ASSISTANT}{value}<|im_end|>\n"))
        if placed != len(self.features):
            raise Refused("fewer <image> than images")
        ids: list[int] = []
        labels: list[int] = []
        skipped = len(self.ids(ASSISTANT)) - bos
        for number, (role, batch) in enumerate(batches):
            more = self.ids((self.tokenizer.bos_token if bos and not number else "") + batch)[int(bos) :]
            ids += more
            masked = list(more)
            masked[:skipped] = [IGNORE] * len(masked[:skipped])
            masked[-1] = IGNORE
            labels += masked if role == "gpt" else [IGNORE] * len(more)
        return ids[: self.limit], labels[: self.limit], False

    def old(self, turns: list[tuple[str, str]]) -> tuple[list[int], list[int], bool]:
        phi = self.style == "phi3-chat"
        roles = ("<|user|>\n", "<|assistant|>\n") if phi else (USER, ASSISTANT)
        sep = "<|end|>" if phi else "<|im_end|>"
        prompt = f"{'<|system|>' if phi else '<|im_start|>system'}\n{OLD}{sep}"
        for n, (_, value) in enumerate(turns):
            value = value.strip() if self.style == "internlm2-chat" else value
            prompt += roles[n % 2] + (value + sep if value else "")
        prompt, _ = self.filled(prompt, 0)
        ids = self.ids(prompt)[: self.limit]
        labels = list(ids)
        total = sum(token != self.tokenizer.pad_token_id for token in ids)
        if phi:
            end = self.tokenizer.convert_tokens_to_ids("<|endoftext|>")
            labels = [IGNORE if token == end else token for token in labels]
        at = 0 if self.style == "Hermes-2" else 1
        labels[:at] = [IGNORE] * len(labels[:at])

        def mask(start: int, end: int) -> None:
            labels[start:end] = [IGNORE] * len(labels[start:end])

        if self.style == "internlm2-chat":
            parts = prompt.split(roles[1])
            size = len(self.ids(parts[0] + roles[1])) - 1
            mask(at, at + size)
            at += size
            for part in parts[1:-1]:
                if part.count(roles[0]) != 1:
                    raise Refused("values to unpack")
                answer, question = part.split(roles[0])
                at += len(self.ids(answer)) - 1
                size = len(self.ids(roles[0] + question + roles[1])) - 1
                mask(at, at + size)
                at += size
            at += len(self.ids(parts[-1])) - 1
        else:
            pieces = prompt.split(sep)
            rounds = [sep.join(pieces[:3])] + [sep.join(pieces[n : n + 2]) for n in range(3, len(pieces), 2)]
            for n, each in enumerate(rounds):
                halves = each.split(sep + roles[1])
                if not each or len(halves) != 2:
                    break
                size, asked = len(self.ids(each)), len(self.ids(halves[0] + sep + roles[1]))
                size, asked = (size - bool(n), asked - 1 - bool(n)) if phi else (size + 1, asked)
                mask(at, at + asked)
                at += size
        mask(at, len(labels))
        mismatch = at < self.limit and at != total
        return ids, [IGNORE] * len(ids) if mismatch else labels, mismatch


@pytest.mark.parametrize("kind", ["bytes", "bos"])
@pytest.mark.parametrize("style", ["Hermes-2", "internlm2-chat", "phi3-chat", "internvl2_5"])
def test_drawn_dialogues(style: str, kind: str, folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    draw = random.Random(f"{style} {kind}")
    theirs = AutoTokenizer.from_pretrained(folders[kind])
    ours = open_tokenizer(folders[kind])
    if kind == "bos":
        theirs.add_bos_token = True
        ours.config = {**ours.config, "add_bos_token": True}
    fates: set[str] = set()
    for _ in range(300):
        marks = MARKS if draw.random() < 0.2 else ()
        turns: list[tuple[str, str]] = []
        for _ in range(draw.randint(1, 3)):
            turns += [("human", text(draw, marks) or "q"), ("gpt", text(draw, marks) or "a")]
        count = draw.choice([0, 1, 1, 2])
        for _ in range(count):
            place = draw.randrange(0, len(turns), 2)
            turns[place] = ("human", draw.choice(["<image>", "<image>\n", ""]) + turns[place][1])
        features = [draw.choice([1, 4, 16]) for _ in range(count)]
        messages, used = [], 0
        for role, value in turns:
            parts: list[str | int] = []
            for n, piece in enumerate(value.split("<image>")):
                if n:
                    parts.append(used if used < count else "<image>")
                    used += 1
                parts.append(piece)
            messages.append(Message(role, None, tuple(parts)))
        images = [ImageBlock(each + 2, each, 1, 1, 1, 1) for each in features]
        limit = draw.choice([20, 80, 150, 300, 600])
        encoder = make(ours, None, Settings(template=style))
        try:
            ids, labels, mismatch = Restated(style, theirs, limit, features).encode(turns)
        except Refused:
            fates.add("replaced")
            found = encoder.encode_all([(messages, images)])[0]
            given_up = found if isinstance(found, Unencodable) else encoder.cut(found, images, limit)
            assert given_up.fate == "replaced"
            continue
        encoded = encoder.encode(messages, images)
        cut = encoder.cut(encoded, images, limit)
        assert encoded.ids[:limit] == ids
        assert cut.supervised == sum(label != IGNORE for label in labels)
        assert (cut.fate == "dropped") == mismatch
        if not mismatch:
            assert [t if on else IGNORE for t, on in zip(ids, encoded.supervised, strict=False)] == labels
        context = theirs.convert_tokens_to_ids("<IMG_CONTEXT>")
        assert [encoded.ids[start:end].count(context) for start, end in encoded.images] == features
        fates.add(cut.fate)
    assert {"changed", "replaced"} <= fates


def test_a_record_that_just_fits(folders: dict[str, Path]) -> None:
    encoder = make(open_tokenizer(folders["bytes"]), None, Settings(template="internvl2_5"))
    messages = [Message("human", "user", (0, "\nTotal?")), Message("gpt", "assistant", ("12",))]
    image = [ImageBlock(258, 256, 1, 1, 1, 1)]
    encoded = encoder.encode(messages, image)
    fits = encoder.cut(encoded, image, len(encoded.ids))
    assert (fits.fate, fits.features, fits.starts, fits.ends, fits.ends_with_eos) == ("kept", 256, 1, 1, True)
    assert encoder.cut(encoded, image, len(encoded.ids) - 2).ends_with_eos is False
    gone = encoder.cut(encoded, image, 200)
    assert (gone.fate, gone.supervised, gone.ends) == ("replaced", 0, 0)
    assert gone.reason == "AssertionError: image tokens are truncated: 0 of 1 </img> are left"


def test_names(folders: dict[str, Path]) -> None:
    tokens = open_tokenizer(folders["bytes"])
    with pytest.raises(Unencodable, match="KeyError: --conv_style vicuna"):
        make(tokens, None, Settings(template="vicuna"))
    with pytest.raises(Unencodable, match="no --conv_style is given"):
        make(tokens, None, Settings())
    with pytest.raises(Unencodable, match="internvl_zh"):
        make(tokens, None, Settings(template="internvl_zh"))
    encoder = make(tokens, None, Settings(template="internvl2_5"))
    with pytest.raises(Unencodable, match="0 != 1"):
        encoder.encode([Message("gpt", "assistant", ("hi",))], [ImageBlock(3, 1)])
