"""LLaVA's and FastChat's encoders against a plain re-statement of their preprocess functions, on drawn dialogues."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from lorachk.facts.encoding.llava import IMAGE, make, make_fastchat
from lorachk.facts.encoding.tokenizer import open_tokenizer
from lorachk.facts.encoding.types import ImageBlock, Message, Settings, Unencodable
from tests.encoding.drawn import text
from tests.encoding.vocabularies import byte_level, sentencepiece

IGNORE = -100
MARKS = ("</s>", " ASSISTANT: ", "[/INST] ", "<|im_end|>", "<image>", "ASSISTANT")
USER = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
HUMAN = USER.replace("user", "human")
LLAVA = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
VERSIONS = ["v1", "llava_v1", "llava_llama_2", "chatml_direct", "plain", "llava_v0", "fastchat"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vocabularies")
    specials = ["<|im_start|>", "<|im_end|>"]
    return {
        "legacy": sentencepiece(root / "legacy", specials),
        "first": sentencepiece(root / "first", specials, legacy=False),
        "bytes": byte_level(root / "bytes", specials, eos="<|endoftext|>"),
    }


class Restated:
    """train.py of both: a prompt, its tokens, and the rounds found again."""

    def __init__(self, version: str, tokenizer: Any, legacy: bool, limit: int, features: int | None) -> None:
        self.version, self.tokenizer, self.legacy, self.limit = version, tokenizer, legacy, limit
        self.features = features

    def tokens(self, string: str) -> list[int]:
        if self.features is None:
            found: list[int] = self.tokenizer(string).input_ids
            return found
        chunks = [self.tokenizer(chunk).input_ids for chunk in string.split("<image>")]
        out = list(chunks[0])
        for chunk in chunks[1:]:
            out += [IMAGE, *(chunk[1:] if chunk[:1] == [self.tokenizer.bos_token_id] else chunk)]
        return out

    def prompt(self, values: list[str]) -> str:
        out = ""
        if self.version == "llava_llama_2":
            for i, value in enumerate(values):
                value = f"<<SYS>>\n{LLAVA}\n<</SYS>>\n\n{value}" if i == 0 else value
                out += f" {value} </s>" if i % 2 and value else f"<s>[INST] {value} [/INST]" if value else ""
            return out.lstrip("<s>")
        if self.version == "chatml_direct":
            out = "<|im_start|>system\nAnswer the questions.<|im_end|>"
            for i, value in enumerate(values):
                role = "<|im_start|>assistant\n" if i % 2 else "<|im_start|>user\n"
                out += role + (value + "<|im_end|>" if value else "")
            return out
        out = (HUMAN if self.version == "llava_v1" else USER) + " "
        for i, value in enumerate(values):
            out += ("ASSISTANT:" if i % 2 else "USER:") + (f" {value}{'</s>' if i % 2 else ' '}" if value else "")
        return out

    def encode(self, turns: list[tuple[str, str]]) -> tuple[list[int], list[int], bool]:
        """Ids and labels as the model gets them, and whether there was a mismatch."""
        values = [value for _, value in turns]
        if self.features is not None:
            for i, value in enumerate(values):
                if "<image>" in value:
                    values[i] = ("<image>\n" + value.replace("<image>", "").strip()).strip()
        mismatch = False
        if self.version == "plain":
            ids = self.tokens(f"<image>{values[1]}\n")
            labels = [IGNORE] * len(self.tokens("<image>")) + ids[len(self.tokens("<image>")) :]
        elif self.version == "llava_v0":
            ids, labels = self.v0(turns, values)
        else:
            ids, labels, mismatch = self.rounds(values)
        ids, labels = ids[: self.limit], labels[: self.limit]
        if self.features is None:
            return ids, labels, mismatch
        new_ids: list[int] = []
        new_labels: list[int] = []
        for token, label in zip(ids, labels, strict=True):
            new_ids += [IMAGE] * self.features if token == IMAGE else [token]
            new_labels += [IGNORE] * self.features if token == IMAGE else [label]
        return new_ids[: self.limit], new_labels[: self.limit], mismatch

    def v0(self, turns: list[tuple[str, str]], values: list[str]) -> tuple[list[int], list[int]]:
        lines = [
            f"### {'Human' if role == 'human' else 'Assistant'}: {value}\n"
            for (role, _), value in zip(turns, values, strict=True)
        ]
        ids = self.tokens(f"{HUMAN}\n\n{''.join(lines)}### ")
        labels = list(ids)
        at = len(self.tokens(f"{HUMAN}\n\n"))
        labels[:at] = [IGNORE] * at
        for (role, _), line in zip(turns, lines, strict=True):
            size = len(self.tokens(line))
            if role == "human":
                for n in range(at + 2, min(at + size, len(labels))):
                    labels[n] = IGNORE
            at += size
        return ids, labels

    def rounds(self, values: list[str]) -> tuple[list[int], list[int], bool]:
        prompt = self.prompt(values)
        ids = self.tokens(prompt)
        if self.features is None:
            ids = ids[: self.limit]
        labels = list(ids)
        total = sum(token != self.tokenizer.unk_token_id for token in ids)
        mpt = self.version == "chatml_direct"
        if mpt:
            pieces, split = prompt.split("<|im_end|>"), "<|im_end|><|im_start|>assistant\n"
            rounds = ["<|im_end|>".join(pieces[:3])]
            rounds += ["<|im_end|>".join(pieces[i : i + 2]) for i in range(3, len(pieces), 2)]
        else:
            rounds = prompt.split("</s>")
            split = "[/INST] " if self.version == "llava_llama_2" else " ASSISTANT: "
        at = 0 if mpt else 1
        labels[:at] = [IGNORE] * at
        for i, each in enumerate(rounds):
            parts = each.split(split)
            if not each or len(parts) != 2:
                break
            size = len(self.tokens(each))
            asked = len(self.tokens(parts[0] + split)) - (1 if mpt else 2)
            if i and mpt and self.legacy:
                size, asked = size + 1, asked + 1
            elif i and not mpt and self.version != "llava_llama_2" and not self.legacy:
                size, asked = size - 1, asked - 1
            for n in range(at, min(at + asked, len(labels))):
                labels[n] = IGNORE
            at += size
        labels[at:] = [IGNORE] * len(labels[at:])
        mismatch = at < self.limit and at != total
        return ids, [IGNORE] * len(ids) if mismatch else labels, mismatch


@pytest.mark.parametrize("kind", ["legacy", "first"])
@pytest.mark.parametrize("version", VERSIONS)
def test_drawn_dialogues(version: str, kind: str, folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    draw = random.Random(f"{version} {kind}")
    theirs = AutoTokenizer.from_pretrained(folders[kind])
    ours = open_tokenizer(folders[kind])
    mismatches = 0
    for _ in range(260):
        marks = MARKS if draw.random() < 0.2 else ()
        pictured = version == "plain" or (version != "fastchat" and draw.random() < 0.5)
        turns: list[tuple[str, str]] = []
        for _ in range(1 if version == "plain" else draw.randint(1, 3)):
            turns.append(("human", text(draw, marks) or "q"))
            turns.append(("gpt", "" if draw.random() < 0.05 else text(draw, marks) or "a"))
        if version == "plain":
            turns[0] = ("human", "<image>")
            turns[1] = ("gpt", turns[1][1].replace("<image>", ""))
        elif pictured and all("<image>" not in value for _, value in turns):
            turns[0] = ("human", turns[0][1] + "<image>")
        features = draw.choice([4, 25, 144])
        limit = draw.choice([10, 60, 120, 250, 500])
        messages, used = [], False
        for role, value in turns:
            parts: list[str | int] = []
            for n, piece in enumerate(value.split("<image>")):
                if n:
                    parts.append("<image>" if used or not pictured else 0)
                    used = True
                parts.append(piece)
            messages.append(Message(role, "user" if role == "human" else "assistant", tuple(parts)))
        image = [ImageBlock(features, features)] if pictured else []
        restated = Restated(version, theirs, kind == "legacy", limit, features if pictured else None)
        ids, labels, mismatch = restated.encode(turns)
        encoder = make_fastchat(ours, None, Settings()) if version == "fastchat" else None
        encoder = encoder or make(ours, None, Settings(template=version))
        encoded = encoder.encode(messages, image)
        cut = encoder.cut(encoded, image, limit)
        assert encoded.ids[:limit] == ids
        if sum("<image>" in value for _, value in turns) > 1 and pictured:
            assert cut.fate == "crash"
            continue
        assert (cut.kept, cut.features) == (len(ids), ids.count(IMAGE))
        assert cut.supervised == sum(label != IGNORE for label in labels)
        assert (cut.fate == "dropped") == mismatch
        if not mismatch:
            assert [t if on else IGNORE for t, on in zip(ids, encoded.supervised, strict=False)] == labels
        mismatches += mismatch
    assert version in ("plain", "llava_v0") or mismatches


def test_an_image_pushes_the_answer_over_the_limit(folders: dict[str, Path]) -> None:
    encoder = make(open_tokenizer(folders["legacy"]), None, Settings(template="v1"))
    messages = [Message("human", "user", (0, "\nTotal?")), Message("gpt", "assistant", ("12",))]
    image = [ImageBlock(576, 576)]
    encoded = encoder.encode(messages, image)
    assert encoder.cut(encoded, image, len(encoded.ids))[-3:] == (True, "kept", None)
    cut = encoder.cut(encoded, image, 576)
    assert (cut.supervised, cut.fate) == (0, "changed")
    assert 0 < cut.features < 576


def test_what_stops_the_run(folders: dict[str, Path]) -> None:
    tokens = open_tokenizer(folders["legacy"])
    with pytest.raises(Unencodable, match="no unknown token"):
        make(open_tokenizer(folders["bytes"]), None, Settings(template="v1"))
    make(open_tokenizer(folders["bytes"]), None, Settings())  # --version v0 adds a padding token of its own
    encoder = make(tokens, None, Settings(template="v1"))
    with pytest.raises(Unencodable, match="neither human nor gpt"):
        encoder.encode([Message("user", "user", ("hi",))], [])
    with pytest.raises(Unencodable, match="do not take turns"):
        encoder.encode([Message("human", "user", ("hi",))] * 2, [])
    with pytest.raises(Unencodable, match="first message should not be none"):
        make(tokens, None, Settings(template="llava_llama_2")).encode([Message("human", "user", ("",))], [])
    with pytest.raises(Unencodable, match="two turns"):
        make(tokens, None, Settings(template="plain")).encode([Message("human", "user", (0,))], [ImageBlock(4, 4)])
