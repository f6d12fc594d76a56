"""TRL's SFTTrainer: text against a re-statement on transformers' tokenizer, images against the real processors."""

from __future__ import annotations

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.facts.encoding.blocks import blocks
from lorachk.facts.encoding.messages import messages_of
from lorachk.facts.encoding.tokenizer import open_tokenizer
from lorachk.facts.encoding.trainers import encoder_for
from lorachk.facts.encoding.types import Settings, Unencodable
from lorachk.facts.records.dialect import shape
from lorachk.families.visual import Refused
from tests.encoding import chat_templates, folders
from tests.encoding.processors import KINDS, pair
from tests.visual_oracle import CHEAP, picture, shapes_only

MANY = {"deadline": None, "suppress_health_check": list(HealthCheck)}
TEXTS = st.lists(
    st.sampled_from(
        ["What is it?", "A cat", "\n", " ", "<|im_end|>", "<s>", "assistant", "Übergröße 猫", "<image>", "12"]
    ),
    max_size=5,
).map("".join)
TURNS = st.lists(TEXTS, min_size=1, max_size=5).map(
    lambda texts: [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
)
RECORDS = st.one_of(
    st.builds(lambda turns: {"messages": turns}, TURNS),
    st.builds(lambda turns: {"conversations": [{"from": t["role"], "value": t["content"]} for t in turns]}, TURNS),
    st.builds(lambda text: {"text": text}, TEXTS),
    st.builds(lambda a, b: {"prompt": a, "completion": b}, TEXTS, TEXTS),
    st.builds(lambda a, b: {"prompt": [{"role": "user", "content": a}],
                            "completion": [{"role": "assistant", "content": b}]}, TEXTS, TEXTS),
)  # fmt: skip
LIMITS = st.one_of(st.none(), st.integers(1, 60))


class Dropped(Exception):
    """No label is left."""


def restated(record, tok, *, assistant, completion_only, limit, mode):
    """SFTTrainer._prepare_dataset on one example: ids and labels."""
    record = copy.deepcopy(record)
    if "conversations" in record:
        record["messages"] = [{"role": t["from"], "content": t["value"]} for t in record.pop("conversations")]
    eos = tok.eos_token
    masks = []
    if "prompt" in record and isinstance(record["prompt"], list):
        before = tok.apply_chat_template(record["prompt"], add_generation_prompt=True)["input_ids"]
        whole = tok.apply_chat_template(record["prompt"] + record["completion"], return_assistant_tokens_mask=assistant)
        ids = whole["input_ids"]
        masks += [whole["assistant_masks"]] if assistant else []
    elif "prompt" in record:
        if not record["completion"].endswith(eos):
            record["completion"] += eos
        before = tok(text=record["prompt"])["input_ids"]
        ids = tok(text=record["prompt"] + record["completion"])["input_ids"]
    elif "messages" in record:
        whole = tok.apply_chat_template(record["messages"], return_assistant_tokens_mask=assistant)
        ids = whole["input_ids"]
        masks += [whole["assistant_masks"]] if assistant else []
    else:
        ids = tok(text=record["text"] if record["text"].endswith(eos) else record["text"] + eos)["input_ids"]
    if assistant and masks and 1 not in masks[0]:
        raise RuntimeError("no assistant tokens")
    if "prompt" in record and completion_only is not False:
        masks.append([0] * len(before) + [1] * (len(ids) - len(before)))
    labels = [t if all(bits) else -100 for t, *bits in zip(ids, *masks)] if masks else list(ids)  # noqa: B905 -- TRL's
    whole = ids
    if limit is not None:
        part = slice(None, limit) if mode == "keep_start" else slice(-limit, None)
        ids, labels = ids[part], labels[part]
        if all(label == -100 for label in labels):
            raise Dropped
    return whole, ids, labels


@pytest.fixture(scope="module", params=["generation", "qwen_tools", "llama3"])
def text_pair(request, tmp_path_factory):
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("trl")
    llama = request.param == "llama3"
    special = (*folders.QWEN, "<s>", *folders.LLAMA3)
    template = chat_templates.ALL[request.param]
    folders.write(folder, special, bos="<s>", adds_bos=llama, template=template)
    return open_tokenizer(folder), PreTrainedTokenizerFast.from_pretrained(folder), request.param == "generation"


@settings(max_examples=400, **MANY)
@given(
    record=RECORDS, limit=LIMITS, mode=st.sampled_from(["keep_start", "keep_end"]),
    assistant=st.booleans(), only=st.sampled_from([None, False, True]),
)  # fmt: skip
def test_text_is_tokenised_masked_and_cut_as_trl_does(text_pair, record, limit, mode, assistant, only):
    mine, tok, generation = text_pair
    assistant = assistant and generation and not isinstance(record.get("prompt", record.get("text")), str)
    used = Settings(assistant_only_loss=assistant, completion_only_loss=only, truncation=mode)
    encoder = encoder_for("trl", "text", mine, used)
    assert not isinstance(encoder, str), encoder
    messages = messages_of("trl", record, shape(record))
    try:
        whole, ids, labels = restated(record, tok, assistant=assistant, completion_only=only, limit=limit, mode=mode)
    except Dropped:
        cut = encoder.cut(encoder.encode(messages, []), [], limit)
        assert (cut.fate, cut.supervised) == ("dropped", 0)
        return
    except RuntimeError:
        with pytest.raises(Unencodable, match="no assistant tokens"):
            encoder.encode(messages, [])
        return
    encoded = encoder.encode(messages, [])
    assert encoded.ids == whole
    cut = encoder.cut(encoded, [], limit)
    assert (cut.total, cut.kept) == (len(whole), len(ids))
    start = len(whole) - len(ids) if mode == "keep_end" else 0
    kept = [t if s else -100 for t, s in zip(encoded.ids, encoded.supervised, strict=True)][start : start + len(ids)]
    assert kept == labels
    assert cut.supervised == sum(label != -100 for label in labels)
    assert cut.fate == ("changed" if len(ids) < len(whole) else "kept")


def test_what_the_trainer_refuses_is_a_reason(text_pair):
    mine, _, generation = text_pair
    found = encoder_for("trl", "text", mine, Settings(assistant_only_loss=True))
    assert isinstance(found, str) != generation
    if not generation:
        # The Llama 3 template is, letter by letter, one that TRL knows.
        assert "not training-compatible" in str(found) or "exchanges this chat template" in str(found)
    assert "keep_end" in str(encoder_for("trl", "qwen2_vl", mine, Settings(truncation="keep_end")))
    assert "Unsupported" in str(encoder_for("trl", "text", mine, Settings(truncation="left")))
    assert "Assistant-only" in str(encoder_for("trl", "qwen2_vl", mine, Settings(assistant_only_loss=True)))


SIZES = st.tuples(st.integers(20, 900), st.integers(20, 900))


@st.composite
def pictured(draw, mark: str):
    """A record with images, as text turns or typed parts, and the sizes of the images."""
    texts = st.lists(
        st.sampled_from(["What is it?", "A cat", "\n", " ", "assistant", "Übergröße", "猫", "12", ""]), max_size=4
    ).map("".join)
    sizes = draw(st.lists(SIZES, min_size=1, max_size=3))
    turns = [{"role": ("user", "assistant")[n % 2], "content": draw(texts)} for n in range(draw(st.integers(1, 4)))]
    if draw(st.booleans()):
        for turn in turns:
            turn["content"] = [{"type": "text", "text": turn["content"]}]
        for _ in sizes:
            turn = turns[2 * draw(st.integers(0, (len(turns) - 1) // 2))]
            turn["content"].insert(draw(st.integers(0, len(turn["content"]))), {"type": "image"})
    if draw(st.integers(0, 9)) == 0 and isinstance(turns[0]["content"], str):
        turns[0]["content"] += mark
    return {"images": [f"{n}.png" for n in range(len(sizes))], "messages": turns}, sizes


def multimodal(messages, count):
    """prepare_multimodal_messages, without the images themselves."""
    found, placed = [], False
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            parts = [{"type": "image"}] * count if message["role"] == "user" and not placed else []
            placed = placed or message["role"] == "user"
            content = [*parts, {"type": "text", "text": content}]
        found.append({**message, "content": content})
    return found


@pytest.mark.parametrize("family", KINDS)
def test_images_are_tokenised_and_cut_as_the_processor_does(family):
    real, mine, visual = pair(family)
    encoder = encoder_for("trl", family, mine, Settings(vision=True))
    assert not isinstance(encoder, str), encoder
    outcomes: dict[str, int] = {}

    @settings(max_examples=120, **MANY)
    @given(drawn=pictured(encoder.processor.mark), limit=st.one_of(st.none(), st.integers(1, 900)))
    def check(drawn, limit):
        record, sizes = drawn
        try:
            found = blocks(sizes, visual, nested=True)
        except Refused:
            return
        text = real.apply_chat_template(multimodal(record["messages"], len(sizes)), tokenize=False)
        images = [picture(size) for size in sizes]

        def call(**options):
            with shapes_only():
                got = real(text=[text], images=[images], add_special_tokens=False, **CHEAP, **options)
            return [int(t) for t in got["input_ids"][0]]

        messages = messages_of("trl", record, shape(record))
        try:
            whole = call()
        except (ValueError, IndexError):
            outcomes["refused"] = outcomes.get("refused", 0) + 1
            with pytest.raises(Unencodable) as raised:
                encoder.encode(messages, found)
            assert raised.value.fate == "crash"
            return
        encoded = encoder.encode(messages, found)
        assert encoded.ids == whole
        cut = encoder.cut(encoded, found, limit)
        if family != "gemma3":  # its blank lines are two tokens each in the small tokenizer
            assert cut.image_tokens == sum(block.tokens for block in found)
        assert encoder.cut(encoded, found, None).features == cut.features_wanted == sum(b.features for b in found)
        try:
            kept = call(truncation=limit is not None, max_length=limit)
        except ValueError:
            outcomes["cut"] = outcomes.get("cut", 0) + 1
            assert cut.fate == "crash"
            return
        outcomes["kept"] = outcomes.get("kept", 0) + 1
        assert cut.kept == len(kept) == cut.supervised
        assert cut.fate == ("changed" if len(kept) < len(whole) else "kept")

    check()
    assert outcomes.get("kept")
    assert outcomes.get("cut")
