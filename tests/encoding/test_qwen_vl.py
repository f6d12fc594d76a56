"""The two Qwen-VL trainers against re-statements of their loops around transformers' own processors."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.facts.encoding.blocks import blocks
from lorachk.facts.encoding.messages import messages_of
from lorachk.facts.encoding.trainers import encoder_for
from lorachk.facts.encoding.types import Settings, Unencodable
from lorachk.facts.records.dialect import shape
from lorachk.families.visual import Refused
from tests.encoding import chat_templates, folders
from tests.encoding.processors import pair
from tests.visual_oracle import CHEAP, picture, shapes_only

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
MANY = {"deadline": None, "suppress_health_check": list(HealthCheck)}
TEXTS = st.lists(
    st.sampled_from(["What is it?", "A cat", "\n", " ", "<|im_end|>", "assistant", "\nassistant\n", "猫", "12", ""]),
    max_size=5,
).map("".join)
SIZES = st.tuples(st.integers(30, 500), st.integers(30, 500))


@st.composite
def records(draw):
    count = draw(st.integers(0, 3))
    sizes = [draw(SIZES) for _ in range(count)]
    turns = [
        {"from": draw(st.sampled_from(["human", "gpt", *[("human", "gpt")[n % 2]] * 6])), "value": draw(TEXTS)}
        for n in range(draw(st.integers(2, 5)))
    ]
    places = max(0, count + draw(st.sampled_from([0, 0, 0, 0, 0, -1, 1])))
    for _ in range(places):
        turn = turns[draw(st.sampled_from([0, 0, 0, 2, 1]) if len(turns) > 2 else st.just(0))]
        at = draw(st.integers(0, len(turn["value"])))
        turn["value"] = (
            turn["value"][:at] + draw(st.sampled_from(["<image>", "\n<image>\n", "<image>\n"])) + turn["value"][at:]
        )
    if draw(st.integers(0, 15)) == 0:
        turns[draw(st.integers(0, 1))]["value"] += "<|image_pad|>"
    return {"image": [f"{n}.png" for n in range(count)], "conversations": turns}, sizes


def processed(real, text, sizes, **options):
    with shapes_only():
        got = real(text=[text], images=[picture(size) for size in sizes] or None, **(CHEAP if sizes else {}), **options)
    return [int(t) for t in got["input_ids"][0]]


def finetune(record, sizes, real):
    """_build_messages and preprocess_qwen_visual, the ids by name."""
    pool, messages = list(range(len(sizes))), []
    for turn in record["conversations"]:
        if turn["from"] != "human":
            messages.append({"role": "assistant", "content": [{"type": "text", "text": turn["value"]}]})
            continue
        content = []
        for part in re.split(r"(<image>|<video>)", turn["value"]):
            if part == "<image>":
                content.append({"type": "image", "image": pool.pop(0)} if pool else 1 / 0)
            elif part.strip():
                content.append({"type": "text", "text": part.strip()})
        messages.append({"role": "user", "content": content})
    if pool:
        raise ValueError("unused")
    ids = processed(real, real.apply_chat_template(messages, tokenize=False), sizes)
    name = real.tokenizer.convert_tokens_to_ids
    labels, pos = [-100] * len(ids), 0
    while pos < len(ids):
        if ids[pos] == name("assistant"):
            start = end = pos + 2
            while end < len(ids) and ids[end] != name("<|im_end|>"):
                end += 1
            if end < len(ids):
                labels[start : end + 2] = ids[start : end + 2]
                pos = end
        pos += 1
    return ids, labels


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """A small vocabulary in which `assistant` is one token, as in Qwen's."""
    folder = folders.write(tmp_path_factory.mktemp("qwen"), (*folders.QWEN, "<|video_pad|>"))
    (folder / "chat_template.jinja").write_text(chat_templates.TYPED)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_finetune_ids_labels_and_cut(family, vocabulary):
    real, mine, visual = pair(family, vocabulary)
    assert len(mine.encode("assistant")) == 1
    seen = set()

    @settings(max_examples=200, derandomize=True, **MANY)  # each fate must be met, whatever the day
    @given(drawn=records(), limit=st.integers(5, 500), flatten=st.booleans())
    def check(drawn, limit, flatten):
        record, sizes = drawn
        encoder = encoder_for("qwen-vl", family, mine, Settings(flatten=flatten))
        try:
            found = blocks(sizes, visual)
        except Refused:
            return
        try:
            ids, labels = finetune(record, sizes, real)
        except (ValueError, ZeroDivisionError, IndexError):
            seen.add("replaced")
            with pytest.raises(Unencodable) as raised:
                encoder.encode(messages_of("qwen-vl", record, shape(record)), found)
            assert raised.value.fate == "replaced"
            return
        encoded = encoder.encode(messages_of("qwen-vl", record, shape(record)), found)
        assert encoded.ids == ids
        assert [t if s else -100 for t, s in zip(ids, encoded.supervised, strict=True)] == labels
        cut = encoder.cut(encoded, found, limit)
        kept = ids if flatten else ids[:limit]
        pad = real.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        assert (cut.kept, cut.features) == (len(kept), kept.count(pad))
        assert cut.supervised == sum(label != -100 for label in labels[: len(kept)])
        assert cut.features_wanted == ids.count(pad)
        assert cut.image_tokens == ids.count(pad) + 2 * len(sizes)
        broken = kept.count(pad) != ids.count(pad)
        assert cut.fate == ("crash" if broken else "changed" if len(kept) < len(ids) else "kept")
        seen.add(cut.fate)

    check()
    assert seen == {"replaced", "crash", "changed", "kept"}


def series(record, sizes, real):
    """SupervisedDataset.__getitem__ of 2U1, from its llava_to_openai on."""
    names = {"human": "user", "gpt": "assistant"}
    block = "<|vision_start|><|image_pad|><|vision_end|>"
    turns = [
        {"role": names.get(t["from"], t["from"]), "content": re.sub(r"\n?<image>\n?", lambda _: block, t["value"])}
        for t in record["conversations"]
    ]
    tok = real.tokenizer
    ids = tok("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", add_special_tokens=False)["input_ids"]
    ids, labels, at, taken = list(ids), [-100] * len(ids), 0, 0
    for j in range(0, len(turns), 2):
        asked, said = turns[j], turns[j + 1]
        text = f"<|im_start|>{asked['role']}\n{asked['content']}<|im_end|>\n<|im_start|>{said['role']}\n"
        if "<|image_pad|>" in text:
            count = text.count("<|image_pad|>")
            if not sizes:
                raise TypeError
            prompt = processed(real, text, sizes[at : at + count])
            at += count
            taken += 1
        else:
            prompt = tok(text, add_special_tokens=False)["input_ids"]
        answer = tok(f"{said['content']}<|im_end|>\n", add_special_tokens=False)["input_ids"]
        ids += prompt + answer
        labels += [-100] * len(prompt) + answer
    if sizes and not taken:
        raise RuntimeError
    return ids, labels, sum(1 for _ in sizes[at:])


@pytest.mark.parametrize("family", FAMILIES)
def test_series_ids_and_labels(family):
    real, mine, visual = pair(family)
    encoder = encoder_for("qwen-vl-series", family, mine)
    assert not isinstance(encoder, str)
    seen = set()

    @settings(max_examples=200, derandomize=True, **MANY)  # each fate must be met, whatever the day
    @given(drawn=records(), limit=st.integers(5, 500))
    def check(drawn, limit):
        record, sizes = drawn
        if not sizes:
            del record["image"]
        try:
            found = blocks(sizes, visual)
        except Refused:
            return
        try:
            ids, labels, unused = series(record, sizes, real)
        except (ValueError, IndexError, TypeError, RuntimeError):
            seen.add("raised")
            with pytest.raises(Unencodable) as raised:
                encoder.encode(messages_of("qwen-vl-series", record, shape(record)), found)
            assert raised.value.fate == "crash"
            return
        encoded = encoder.encode(messages_of("qwen-vl-series", record, shape(record)), found)
        assert encoded.ids == ids
        assert [t if s else -100 for t, s in zip(ids, encoded.supervised, strict=True)] == labels
        cut = encoder.cut(encoded, found, limit)
        assert cut.kept == cut.total == len(ids)
        literal = cut.features != cut.features_wanted
        assert literal == any(
            "<image>" in t["value"] or "<|image_pad|>" in t["value"] for t in record["conversations"][1::2]
        )
        assert cut.fate == ("crash" if literal else "changed" if unused else "kept")
        seen.add(cut.fate)

    check()
    assert {"raised", "kept", "crash"} <= seen


def test_with_another_vocabulary_nothing_is_trained():
    """The two ids are constants: a tokenizer with other ones gives no label."""
    _, mine, _ = pair("qwen2_5_vl")

    class Moved:
        def __getattr__(self, name):
            return getattr(mine, name)

        def id_of(self, token):
            found = mine.id_of(token)
            return found if found is None else found + 200_000

    encoder = encoder_for("qwen-vl", "qwen2_5_vl", Moved())
    record = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]}
    assert True not in encoder.encode(messages_of("qwen-vl", record, shape(record)), []).supervised
