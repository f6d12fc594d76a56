"""LLaMA-Factory's encoder against a plain re-statement of its algorithm, on drawn dialogues."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorachk.facts.encoding.llamafactory import OTHERS, TEMPLATES, make
from lorachk.facts.encoding.llamafactory_turns import infer_seqlen
from lorachk.facts.encoding.tokenizer import Tokenizer, open_tokenizer
from lorachk.facts.encoding.types import ImageBlock, Message, Settings, Unencodable
from tests.encoding.drawn import blocks, dialogue
from tests.encoding.vocabularies import byte_level, sentencepiece

IGNORE = -100
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<image>"]
SPECIALS += ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<start_of_turn>", "<end_of_turn>"]
SPECIALS += [
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
    "[gMASK]",
    "<sop>",
    "<|user|>",
    "<|assistant|>",
]
SPECIALS += ["<|system|>", "<|observation|>", "</answer>", "<|begin_of_image|>", "<|end_of_image|>", "<|image|>"]
MARKS = ("<|im_end|>", "<|image_pad|>", "<think>\nso\n</think>\n\n", "</s>", "{{content}}", "{}", "<|image|>")
Pieces = list[Any]  # texts, and "BOS" or "EOS" in a tuple
CURIOUS = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


class Form:
    """A template as code: what is written for each turn."""

    def __init__(
        self,
        ask: Callable[[str], Pieces],
        say: Callable[[str], Pieces],
        system: Callable[[str], Pieces],
        *,
        head: Pieces | None = None,
        default: str = "",
        image: Callable[[int], str] | None = None,
        placeholder: str | None = None,
        fused: bool = False,
        efficient: bool = False,
        thinks: bool = False,
        stop: str | None = None,
    ) -> None:
        self.ask, self.say, self.system, self.head = ask, say, system, head or []
        self.default, self.image, self.placeholder = default, image, placeholder
        self.fused, self.efficient, self.thinks, self.stop = fused, efficient, thinks, stop


def chatml(**others: Any) -> Form:
    return Form(
        lambda q: [f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n"],
        lambda a: [f"{a}<|im_end|>\n"],
        lambda s: [f"<|im_start|>system\n{s}<|im_end|>\n"],
        stop="<|im_end|>",
        **others,
    )


QWEN = {"image": lambda n: f"<|vision_start|>{'<|image_pad|>' * n}<|vision_end|>", "placeholder": "<|image_pad|>"}
HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|>"
ANSWER = "<|start_header_id|>assistant<|end_header_id|>\n\n"
FORMS = {
    "qwen2_vl": chatml(default="You are a helpful assistant.", **QWEN),
    "qwen3_vl": chatml(thinks=True, **QWEN),
    "qwen3_nothink": chatml(),
    "llama3": Form(
        lambda q: [HEADER.format("user", q) + ANSWER],
        lambda a: [f"{a}<|eot_id|>"],
        lambda s: [HEADER.format("system", s)],
        head=[("BOS",)],
        stop="<|eot_id|>",
    ),
    "llava": Form(
        lambda q: [f"USER: {q} ASSISTANT:"],
        lambda a: [a, ("EOS",)],
        lambda s: [s],
        default=CURIOUS,
        image=lambda n: "<image>" * n,
        placeholder="<image>",
    ),
    "default": Form(
        lambda q: [f"Human: {q}", ("EOS",), "\nAssistant:"],
        lambda a: [a, ("EOS",), "\n"],
        lambda s: [f"System: {s}", ("EOS",), "\n"],
    ),
    "gemma3": Form(
        lambda q: [f"<start_of_turn>user\n{q}<end_of_turn>\n<start_of_turn>model\n"],
        lambda a: [f"{a}<end_of_turn>\n"],
        lambda s: [f"{s}\n\n"],
        head=[("BOS",)],
        fused=True,
        stop="<end_of_turn>",
        image=lambda n: f"\n\n<start_of_image>{'<image_soft_token>' * n}<end_of_image>\n\n",
        placeholder="<image_soft_token>",
    ),
    "glm4v": Form(
        lambda q: [f"<|user|>\n{q}<|assistant|>"],
        lambda a: [f"\n{a}"],
        lambda s: [f"<|system|>\n{s}"],
        head=["[gMASK]<sop>"],
        efficient=True,
        thinks=True,
        image=lambda n: f"<|begin_of_image|>{'<|image|>' * n}<|end_of_image|>",
        placeholder="<|image|>",
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vocabularies")
    return {
        "bytes": byte_level(root / "bytes", SPECIALS, eos="<|endoftext|>", bos="<|begin_of_text|>"),
        "legacy": sentencepiece(root / "legacy", SPECIALS),
        "first": sentencepiece(root / "first", SPECIALS, legacy=False),
    }


def no_thought(content: str) -> str:
    while "<think>\n" in content and "\n</think>\n\n" in content.split("<think>\n", 1)[1]:
        before, rest = content.split("<think>\n", 1)
        content = before + rest.split("\n</think>\n\n", 1)[1]
    return content.lstrip("\n")


def restated(
    form: Form, tokenizer: Any, messages: list[Message], images: list[ImageBlock], settings: Settings, cutoff: int
) -> tuple[list[int], list[int], int]:
    """Ids, labels, and the length before the cut, with every image written out in full."""
    eos = tokenizer.convert_tokens_to_ids(form.stop) if form.stop else tokenizer.eos_token_id

    def ids(pieces: Pieces) -> list[int]:
        found: list[int] = []
        for piece in pieces:
            if isinstance(piece, str):
                found += tokenizer.encode(piece, add_special_tokens=False) if piece else []
            else:
                found.append(tokenizer.bos_token_id if piece == ("BOS",) else eos)
        return found

    system = form.default if settings.system is None else settings.system
    texts = []
    for message in messages:
        written = ""
        for part in message.parts:
            written += part if isinstance(part, str) else form.image(images[part].features) if form.image else ""
        if message.speaker == "system":
            system = written or system
        else:
            texts.append(written)
    thinking = settings.enable_thinking is not False
    if form.thinks:
        for i in range(1, len(texts), 2):
            if not thinking or (settings.mask_history and i < len(texts) - 1):
                texts[i] = no_thought(texts[i])
    pairs = []
    for i in range(0, len(texts), 2):
        ask: Pieces = []
        question = texts[i]
        if i == 0:
            ask += form.head
            if system and form.fused:
                question = form.system(system)[0] + question
            elif system:
                ask += form.system(system)
        source, target = ids(ask + form.ask(question)), ids(form.say(texts[i + 1]))
        wanted = not settings.mask_history or i == len(texts) - 2
        if form.thinks and wanted and "<think>" not in texts[i + 1] and "</think>" not in texts[i + 1]:
            thought = ids(["<think>\n\n</think>\n\n"])
            if thinking:
                target = thought + target
            else:
                source = source + thought
        pairs.append((source, target))
    whole = sum(len(s) + len(t) for s, t in pairs) + form.efficient
    out_ids: list[int] = []
    out_labels: list[int] = []
    total = int(form.efficient)
    for turn, (source, target) in enumerate(reversed(pairs) if settings.mask_history else pairs):
        if total >= cutoff:
            break
        source_length, target_length = infer_seqlen(len(source), len(target), cutoff - total)
        source, target = source[:source_length], target[:target_length]
        total += source_length + target_length
        source_label = source if settings.train_on_prompt else [IGNORE] * source_length
        if form.efficient and turn:
            source_label = [eos, *source_label[1:]]
        target_label = [IGNORE] * target_length if settings.mask_history and turn else target
        if settings.mask_history:
            out_ids = source + target + out_ids
            out_labels = source_label + target_label + out_labels
        else:
            out_ids += source + target
            out_labels += source_label + target_label
    if form.efficient:
        out_ids.append(eos)
        out_labels.append(eos)
    return out_ids, out_labels, whole


@pytest.mark.parametrize("kind", ["bytes", "legacy", "first"])
@pytest.mark.parametrize("name", FORMS)
def test_drawn_dialogues(name: str, kind: str, folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    form, draw = FORMS[name], random.Random(f"{name} {kind}")
    theirs = AutoTokenizer.from_pretrained(folders[kind])
    ours: Tokenizer = open_tokenizer(folders[kind])
    for _ in range(250):
        settings = Settings(
            template=name,
            train_on_prompt=not form.efficient and draw.random() < 0.3,
            system=draw.choice([None, None, "", "Short."]),
            enable_thinking=draw.choice([None, True, False]),
        )
        if not settings.train_on_prompt:
            settings = settings._replace(mask_history=draw.random() < 0.3)
        messages, count = dialogue(draw, MARKS, images=form.image is not None)
        images = blocks(draw, count)
        limit = draw.choice([5, 15, 30, 60, 120, 240])
        ids, labels, whole = restated(form, theirs, messages, images, settings, limit)
        encoder = make(ours, None, settings)
        encoded = encoder.encode(messages, images)
        cut = encoder.cut(encoded, images, limit)
        placeholder = theirs.convert_tokens_to_ids(form.placeholder) if form.placeholder else None
        wanted = (whole, len(ids), ids.count(placeholder), sum(label != IGNORE for label in labels))
        assert (cut.total, cut.kept, cut.features, cut.supervised) == wanted
        assert cut.image_tokens + cut.text_tokens == cut.total
        assert [encoded.ids[start:end].count(placeholder) for start, end in encoded.images] == [
            block.features for block in images
        ]
        if limit >= whole:
            assert encoded.ids == ids
            placed = [
                encoded.relabelled.get(n, token) if encoded.supervised[n] else IGNORE
                for n, token in enumerate(encoded.ids)
            ]
            assert placed == labels
        assert (cut.fate == "crash") == bool(images and cut.features != cut.features_wanted)


def test_a_cut_image_stops_the_run(folders: dict[str, Path]) -> None:
    encoder = make(open_tokenizer(folders["bytes"]), None, Settings(template="qwen2_vl"))
    messages = [Message("user", "user", (0, "Total?")), Message("assistant", "assistant", ("12",))]
    image = [ImageBlock(66, 64, 1, 1, 1, 1)]
    encoded = encoder.encode(messages, image)
    cut = encoder.cut(encoded, image, 60)
    assert (cut.fate, cut.starts, cut.ends) == ("crash", 1, 0)
    assert cut.reason == f"Image features and image tokens do not match: tokens: {cut.features}, features 64"
    fits = encoder.cut(encoded, image, cut.total)
    assert (fits.fate, fits.features, fits.ends_with_eos, fits.kept) == ("kept", 64, True, len(encoded.ids))


def test_packing_takes_a_token_off_the_limit(folders: dict[str, Path]) -> None:
    encoder = make(open_tokenizer(folders["bytes"]), None, Settings(template="llama3", packing=True))
    encoded = encoder.encode([Message("user", "user", ("hi",)), Message("assistant", "assistant", ("yo",))], [])
    size = len(encoded.ids)
    assert (encoder.cut(encoded, [], size + 1).kept, encoder.cut(encoded, [], size).kept) == (size, size - 1)


def test_names(folders: dict[str, Path]) -> None:
    tokens = open_tokenizer(folders["bytes"])
    assert len(TEMPLATES) + len(OTHERS) == 124
    with pytest.raises(Unencodable, match=r"does not exist. The nearest is qwen2_vl"):
        make(tokens, None, Settings(template="qwen2vl"))
    with pytest.raises(Unencodable, match="no template"):
        make(tokens, None, Settings())
    with pytest.raises(Unencodable, match="does not support `train_on_prompt`"):
        make(tokens, None, Settings(template="glm4v", train_on_prompt=True))
    for name in TEMPLATES:
        make(tokens, None, Settings(template=name))


def test_images_where_none_can_be(folders: dict[str, Path]) -> None:
    tokens = open_tokenizer(folders["bytes"])
    messages = [Message("user", "user", (0, "Total?")), Message("assistant", "assistant", ("12",))]
    with pytest.raises(Unencodable, match="does not support image input"):
        make(tokens, None, Settings(template="qwen3")).encode(messages, [ImageBlock(3, 1)])
    with pytest.raises(Unencodable, match="does not match the number of <image> tokens: 0 and 1"):
        make(tokens, None, Settings(template="qwen2_vl")).encode(messages, [])
    with pytest.raises(Unencodable, match=r"no token \[IMG\]"):
        make(tokens, None, Settings(template="pixtral")).encode(messages, [ImageBlock(3, 1)])


def test_a_stop_word_that_the_vocabulary_lacks_becomes_a_token(folders: dict[str, Path]) -> None:
    encoder = make(open_tokenizer(folders["bytes"]), None, Settings(template="phi"))
    encoded = encoder.encode([Message("user", "user", ("hi",)), Message("assistant", "assistant", ("so<|end|>!",))], [])
    assert encoded.ids.count(-1) == 3
    assert encoder.cut(encoded, [], None).ends_with_eos
