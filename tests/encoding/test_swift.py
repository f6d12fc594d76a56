"""ms-swift's encoder against a plain re-statement of its template backend, on drawn dialogues."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from lorachk.facts.encoding.swift import make
from lorachk.facts.encoding.swift_templates import OTHERS, TEMPLATES
from lorachk.facts.encoding.tokenizer import open_tokenizer
from lorachk.facts.encoding.types import ImageBlock, Message, Settings, Unencodable
from tests.encoding.drawn import blocks, dialogue
from tests.encoding.vocabularies import byte_level, sentencepiece

IGNORE = -100
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
SPECIALS += ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>", "</image>"]
SPECIALS += ["<slice>", "</slice>", "<image_id>", "</image_id>", "<unk>", "<img>", "</img>", "<IMG_CONTEXT>"]
SPECIALS += ["<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"]
MARKS = ("<|im_end|>\n", "<think>\n", "</think>", "</s>", "<|eot_id|>", "{}", "<think>\n\n</think>\n\n")
CHATML = ("<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n", "<|im_end|>\n")
CHATML_SYSTEM = "<|im_start|>system\n%s<|im_end|>\n"
HEADER = "<|start_header_id|>%s<|end_header_id|>\n\n"
# name: (prompt, separator, suffix), opening with a system message, opening without, default system message
FORMS: dict[str, tuple[tuple[str, str, str], str, str, str | None]] = {
    "qwen2_vl": (CHATML, CHATML_SYSTEM, "", "You are a helpful assistant."),
    "qwen3_vl": (CHATML, CHATML_SYSTEM, "", None),
    "qwen3": (CHATML, CHATML_SYSTEM, "", None),
    "minicpmv2_6": (CHATML, CHATML_SYSTEM, "", "You are a helpful assistant."),
    "minicpmv4_5": (CHATML, CHATML_SYSTEM, "", None),
    "internvl3_5": (CHATML, CHATML_SYSTEM, "", None),
    "chatml": (CHATML, CHATML_SYSTEM, "", None),
    "llama3": (
        (f"{HEADER % 'user'}%s<|eot_id|>{HEADER % 'assistant'}", "<|eot_id|>", "<|eot_id|>"),
        f"<|begin_of_text|>{HEADER % 'system'}%s<|eot_id|>",
        "<|begin_of_text|>",
        None,
    ),
    "llava1_5_hf": (("USER: %s\nASSISTANT:", "</s>", "</s>"), "<s>%s\n", "<s>", None),
    "default": (
        ("### Human:\n%s\n\n### Assistant:\n", "\n\n", "EOS"),
        "%s\n\n",
        "",
        "You are a helpful assistant.",
    ),
    "gemma3_vision": (
        ("<start_of_turn>user\n%s<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>\n", "<end_of_turn>"),
        "<bos><start_of_turn>system\n%s<end_of_turn>\n",
        "<bos>",
        None,
    ),
}
ADDS_BOS = ("chatml", "internvl3_5", "default")
STOPS = dict.fromkeys(FORMS, ("<|im_end|>", "<|endoftext|>")) | {"llama3": ("<|eot_id|>",), "default": ()}
STOPS |= {"llava1_5_hf": ("</s>",), "gemma3_vision": ("<end_of_turn>",), "chatml": ("<|im_end|>",)}
STOPS |= {"internvl3_5": ("<|im_end|>",)}
THOUGHTLESS = "<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vocabularies")
    return {
        "bytes": byte_level(root / "bytes", SPECIALS, eos="<|endoftext|>", bos="<s>"),
        "legacy": sentencepiece(root / "legacy", [each for each in SPECIALS if each != "<unk>"]),
    }


def slices(number: int, features: int, columns: int, rows: int) -> str:
    """An image of MiniCPM-V 2.6 as its processor writes it."""
    pad = "<unk>" * features
    row = f"<slice>{pad}</slice>" * columns
    return f"<image_id>{number}</image_id><image>{pad}</image>" + "\n".join([row] * rows)


class Restated:
    """swift/template/base.py, again: a list of [text or ids, weight], neighbours joined, then tokenised."""

    def __init__(self, name: str, tokenizer: Any, settings: Settings, images: list[str | int]) -> None:
        self.name, self.tokenizer, self.settings, self.images = name, tokenizer, settings, images
        self.placeholders = {"<|image_pad|>", "<unk>", "<IMG_CONTEXT>", "<image>", "<start_of_image>"}
        self.placeholders &= {
            {"qwen2_vl": "<|image_pad|>", "qwen3_vl": "<|image_pad|>", "llava1_5_hf": "<image>"}.get(name, ""),
            {"minicpmv2_6": "<unk>", "minicpmv4_5": "<unk>", "internvl3_5": "<IMG_CONTEXT>"}.get(name, ""),
            {"gemma3_vision": "<start_of_image>"}.get(name, ""),
        }

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    def image(self, number: int) -> list[Any]:
        """Texts and filled-in tokens of an image."""
        image = self.images[number]
        if isinstance(image, str):
            return [self.ids(image + "\n")]
        if self.name == "internvl3_5":
            return ["<img>", self.ids("<IMG_CONTEXT>") * image, "</img>\n"]
        if self.name == "llava1_5_hf":
            return ["<image>" * image + "\n"]
        if self.name == "gemma3_vision":
            return [("GEMMA", self.ids(f"\n\n<start_of_image>{'<image_soft_token>' * image}<end_of_image>\n\n"))]
        return [f"<|vision_start|>{'<|image_pad|>' * image}<|vision_end|>"]

    def contexts(self, messages: list[Message]) -> list[list[Any]]:
        (prompt, separator, suffix), with_system, without, default = FORMS[self.name]
        strategy = self.settings.loss_scale or "default"
        system = default if self.settings.system is None else self.settings.system
        turns = [list(message.parts) for message in messages]
        if messages[0].speaker == "system":
            said, turns = str(turns[0][0]), turns[1:]
            if self.name == "gemma3_vision":
                turns[0] = [f"{said}\n\n", *turns[0]]
            else:
                system = said
        for number, turn in enumerate(turns):
            if number % 2 and self.name == "gemma3_vision":
                turn[0] = turn[0].strip("\n")
            if number % 2 and self.name in ("qwen3", "minicpmv4_5"):
                history = strategy == "last_round" and number < len(turns) - 1
                if history:
                    turn[0] = turn[0].split("</think>")[-1].strip()
                elif not turn[0].startswith("<think>"):
                    turn[0] = THOUGHTLESS + turn[0]
        other = 1 if strategy == "all" else 0
        out: list[list[Any]] = []
        if self.name in ADDS_BOS:
            bos = [self.tokenizer.bos_token_id]
            out.append([bos, other])
        out.append([with_system % system.replace("%", "%%") if system else without, other])
        if system:
            out[-1][0] = with_system.replace("%s", system)
        before, after = prompt.split("%s")
        for number in range(0, len(turns), 2):
            last = number == len(turns) - 2
            out.append([before, other])
            for part in turns[number]:
                out += [[piece, 0] for piece in self.image(part)] if isinstance(part, int) else [[part, other]]
            out.append([after, other])
            answer = "".join(turns[number + 1])
            weight = 1 if strategy != "last_round" or last else 0
            out.append([answer, weight])
            if not last:
                out.append([separator, other])
            elif suffix == "EOS":
                out += [] if answer.endswith(self.tokenizer.eos_token) else [[[self.tokenizer.eos_token_id], 1]]
            elif not answer.endswith((*STOPS[self.name], self.tokenizer.eos_token)):
                out.append([suffix, 1])
        return out

    def encode(self, messages: list[Message]) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        labels: list[int] = []
        later: dict[int, list[int]] = {}
        text, weight = "", 0
        for content, scale in [*self.contexts(messages), [[], 2]]:
            if isinstance(content, tuple):  # one token in the text, which is replaced after labels are made
                content = "<start_of_image>"
            if isinstance(content, str) and (scale == weight or not content):
                text += content
                continue
            more = self.ids(text)
            ids += more
            labels += more if weight else [IGNORE] * len(more)
            text, weight = "", scale
            if isinstance(content, str):
                text = content
            else:
                ids += content
                labels += content if scale else [IGNORE] * len(content)
        suffix = FORMS[self.name][0][2]
        tail = [self.tokenizer.eos_token_id] if suffix == "EOS" else self.ids(suffix)
        start = 0
        for i in range(1, len(labels) + 1):
            if labels[i - 1] >= 0 and i < len(labels) and labels[i] == IGNORE:
                start = i
            elif start > 0 and labels[i - 1] == IGNORE and (i == len(labels) or labels[i] >= 0):
                end = start + len(tail)
                labels[start:end] = tail if end <= i and ids[start:end] == tail else labels[start:end]
        labels[0] = IGNORE
        if self.name == "gemma3_vision" and self.images:
            boi = self.tokenizer.convert_tokens_to_ids("<start_of_image>")
            for position in [n for n, token in enumerate(ids) if token == boi]:
                later[position] = self.image(0)[0][1]
            new_ids: list[int] = []
            new_labels: list[int] = []
            for position, token in enumerate(ids):
                more = later.get(position, [token])
                new_ids += more
                new_labels += [IGNORE] * len(more) if position in later else [labels[position]]
            return new_ids, new_labels
        return ids, labels

    def truncate(self, ids: list[int], labels: list[int], limit: int) -> tuple[list[int], list[int]]:
        protected = {self.tokenizer.convert_tokens_to_ids(token) for token in self.placeholders}
        keep = [token in protected for token in ids]
        free = [n for n, kept in enumerate(keep) if not kept]
        room = limit - sum(keep)
        if room > 0:
            for position in free[-room:] if self.settings.truncation == "left" else free[:room]:
                keep[position] = True
        kept = [n for n, each in enumerate(keep) if each]
        cut_labels = [labels[n] for n in kept]
        cut_labels[0] = IGNORE
        return [ids[n] for n in kept], cut_labels


@pytest.mark.parametrize("kind", ["bytes", "legacy"])
@pytest.mark.parametrize("name", FORMS)
def test_drawn_dialogues(name: str, kind: str, folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    draw = random.Random(f"{name} {kind}")
    theirs = AutoTokenizer.from_pretrained(folders[kind])
    ours = open_tokenizer(folders[kind])
    for _ in range(260):
        settings = Settings(
            template=name,
            loss_scale=draw.choice([None, None, "default", "last_round", "all"]),
            truncation=draw.choice([None, "left", "right", "raise", "split"]),
            system=draw.choice([None, None, "", "Short."]),
        )
        messages, count = dialogue(draw, MARKS, images=TEMPLATES[name].images is not None)
        images = blocks(draw, count, (3,) if name == "gemma3_vision" else (1, 4, 9))
        written: list[str | int] = [block.features for block in images]
        if name.startswith("minicpmv"):
            grids = [draw.choice([(0, 1), (2, 1), (1, 2), (2, 2), (3, 1)]) for _ in images]
            written = [slices(n, 4, *grid) for n, grid in enumerate(grids)]
            images = [
                # As the visual-token arithmetic counts them, the id's digit and newlines included.
                ImageBlock(2 + len(str(n)) + 6 * (1 + c * r) + r - 1, 4 * (1 + c * r), 1 + c * r)
                for n, (c, r) in enumerate(grids)
            ]
        limit = draw.choice([5, 20, 50, 100, 200, 400])
        restated = Restated(name, theirs, settings, written)
        ids, labels = restated.encode(messages)
        encoder = make(ours, None, settings)
        encoded = encoder.encode(messages, images)
        assert encoded.ids == ids
        assert [token if on else IGNORE for token, on in zip(ids, encoded.supervised, strict=True)] == labels
        cut = encoder.cut(encoded, images, limit)
        assert cut.total == len(ids)
        if len(ids) > limit and settings.truncation in (None, "raise"):
            assert cut.fate == ("replaced" if TEMPLATES[name].images else "dropped")
            assert cut.reason == f"Current length of row({len(ids)}) is larger than the max_length({limit})."
            continue
        if len(ids) > limit and settings.truncation == "split":
            ids, labels = ids[:limit], [IGNORE, *labels[1:limit]]
        elif len(ids) > limit:
            ids, labels = restated.truncate(ids, labels, limit)
        assert (cut.kept, cut.supervised) == (len(ids), sum(label != IGNORE for label in labels))


def test_placeholders_outlive_the_cut_and_markers_do_not(folders: dict[str, Path]) -> None:
    tokens = open_tokenizer(folders["bytes"])
    messages = [Message("user", "user", (0, "Total?")), Message("assistant", "assistant", ("12",))]
    image = [ImageBlock(66, 64, 1, 1, 1)]
    encoder = make(tokens, None, Settings(template="qwen2_vl", truncation="right"))
    cut = encoder.cut(encoder.encode(messages, image), image, 70)
    assert (cut.kept, cut.features, cut.ends, cut.supervised, cut.fate) == (70, 64, 0, 0, "changed")
    gemma = make(tokens, None, Settings(template="gemma3_vision", truncation="right"))
    cut = gemma.cut(gemma.encode(messages, image), image, 40)
    assert cut.fate == "crash"
    assert cut.reason == f"image features and image tokens do not match: 64 and {cut.features}"


def test_minicpmv_notes_where_features_go_before_the_cut(folders: dict[str, Path]) -> None:
    tokens = open_tokenizer(folders["bytes"])
    messages = [Message("user", "user", (0, "Total?")), Message("assistant", "assistant", ("12",))]
    image = [ImageBlock(69, 64, 1, 1, 1)]
    encoder = make(tokens, None, Settings(template="minicpmv2_6", truncation="left"))
    cut = encoder.cut(encoder.encode(messages, image), image, 80)
    assert cut.fate in ("changed", "crash")
    assert "image_bound" in str(cut.reason)


def test_names(folders: dict[str, Path]) -> None:
    tokens = open_tokenizer(folders["legacy"])
    with pytest.raises(Unencodable, match=r"does not exist. The nearest is qwen2_5_vl"):
        make(tokens, None, Settings(template="qwen2.5_vl"))
    with pytest.raises(Unencodable, match="not modelled"):
        make(tokens, None, Settings(template=sorted(OTHERS)[0]))
    with pytest.raises(Unencodable, match="Invalid truncation_strategy: middle"):
        make(tokens, None, Settings(template="qwen", truncation="middle"))
    with pytest.raises(Unencodable, match="--loss_scale hermes"):
        make(tokens, None, Settings(template="qwen", loss_scale="hermes"))
    with pytest.raises(Unencodable, match="several for models of this family"):
        make(tokens, "llava_next", Settings())
    assert make(tokens, "minicpmv26", Settings()).meta is TEMPLATES["minicpmv2_6"]
    for name in TEMPLATES:
        make(tokens, None, Settings(template=name))
