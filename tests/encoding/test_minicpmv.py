"""MiniCPM-V's three branches against a plain re-statement of finetune/dataset.py (OpenBMB/MiniCPM-V 0dbb566).

The re-statement works on transformers' tokenizer and numpy, from the raw record, without a thought for speed.
"""

from __future__ import annotations

import copy
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.facts.encoding import minicpmv
from lorachk.facts.encoding.blocks import script_text
from lorachk.facts.encoding.messages import messages_of
from lorachk.facts.encoding.tokenizer import open_tokenizer
from lorachk.facts.encoding.trainers import encoder_for
from lorachk.facts.encoding.types import ImageBlock, Settings, Unencodable
from lorachk.facts.records.dialect import shape
from tests.encoding import chat_templates, folders

QUERIES = 3
LLAMA3 = minicpmv._LLAMA3


class Failed(Exception):
    """What the script's bare except swallows."""


def placeholders(images, tok, llm_type):
    """Name -> text of its block, as preprocess builds it; `images` are name -> grid."""
    new = llm_type == "qwen"
    found, number = {}, 0
    for name, grid in images.items():
        whole = tok.im_start + tok.unk_token * QUERIES + tok.im_end
        text = whole
        if grid:
            if new:
                text = f"{tok.im_id_start}{number}{tok.im_id_end}" + text
                number += 1
            cell = tok.slice_start + tok.unk_token * QUERIES + tok.slice_end if new else whole
            rows = "\n".join("".join(cell for _ in range(grid[0])) for _ in range(grid[1]))
            text += rows if new else tok.slice_start + rows + tok.slice_end
        found[name] = text
    return found


def preprocess(images, conversations, tok, llm_type, max_length):
    conversations = copy.deepcopy(conversations)
    if len(conversations) <= 1 or conversations[0]["role"] != "user":
        raise Failed("assert")
    texts = placeholders(images, tok, llm_type)
    if list(images) == ["<image>"]:
        first = conversations[0]["content"]
        if "<image>" in first:
            conversations[0]["content"] = first.replace("<image>", texts["<image>"])
        else:
            conversations[0]["content"] = texts["<image>"] + "\n" + first
    else:
        for turn in conversations:
            parts = re.split(r"(<image_\d+>)", turn["content"])
            for i, part in enumerate(parts):
                if part.strip() and re.match(r"<image_\d+>", part):
                    if part not in texts:
                        raise Failed(f"not found {part} in image dict")
                    parts[i] = texts[part]
            turn["content"] = "\n".join(parts)
    return to_ids(conversations, tok, llm_type, max_length)


def to_ids(conversation, tok, llm_type, max_length):
    branch = {"llama3": llama3, "qwen": qwen2}.get(llm_type, minicpm)
    ids, context = branch(conversation, tok)
    shapeless = isinstance(ids, list)
    ids, context = np.hstack([np.asarray(x, dtype=int) for x in ids] or [[]]), np.hstack(context)
    whole = (ids, context)
    ids, context = ids[:max_length], context[:max_length]
    failure = "'list' object has no attribute 'shape'" if shapeless else None
    if failure is None and context.all():
        failure = "No tokens available to compute loss."
    target = np.full(len(ids), -100)
    for i in range(1, len(ids)):
        if context[i] == 0:
            target[i - 1] = ids[i]
        if context[i] == 1 and context[i - 1] == 0:
            target[i - 1] = tok.eot_id if hasattr(tok, "eot_id") else tok.eos_id
    new = llm_type == "qwen"
    starts = (ids == tok.im_start_id) | ((ids == tok.slice_start_id) & new)
    ends = (ids == tok.im_end_id) | ((ids == tok.slice_end_id) & new)
    if failure is None and starts.sum() != ends.sum():
        failure = "image start token != image end tokens"
    return SimpleNamespace(
        ids=ids, target=target, starts=int(starts.sum()), ends=int(ends.sum()), failure=failure, whole=whole
    )


def minicpm(conversation, tok):
    ids, context = [], []
    for number, turn in enumerate(conversation):
        if turn["role"] not in ("user", "assistant"):
            raise Failed("assert")
        message = turn["content"] + (tok.eos_token if number == len(conversation) - 1 else "")
        prefix = tok.encode("<用户>" if turn["role"] == "user" else "<AI>")[1:]
        said = tok.encode(message)[1:]
        ids += [prefix, said]
        context += [np.ones(len(prefix)), np.zeros(len(said)) if turn["role"] == "assistant" else np.ones(len(said))]
    return ids, context


def llama3(conversation, tok):
    ids = np.array(tok.apply_chat_template(conversation, chat_template=LLAMA3, return_dict=False))

    def where(token):
        return np.where(ids == tok.convert_tokens_to_ids(token))[0]

    starts, answers, ends = where("<|start_header_id|>"), where("assistant"), where("<|end_header_id|>")
    context = np.ones_like(ids)
    for answer in answers:
        try:
            middles = set((starts + ends) / 2)
        except ValueError as error:
            raise Failed("broadcast") from error
        if answer in middles:
            for end in where("<|eot_id|>"):
                if end > answer + 3:
                    context[answer + 3 : end + 1] = 0
                    break
    return ids, context


def qwen2(conversation, tok):
    if any(turn["role"] not in ("user", "assistant") for turn in conversation):
        raise Failed("assert")
    if all(turn["role"] != "assistant" for turn in conversation):
        raise Failed("assert")
    last = conversation[-1]["content"]
    thinking = "<think>" in last and "</think>" in last
    text = tok.apply_chat_template(conversation, tokenize=False, enable_thinking=thinking)
    ids = np.array(tok.apply_chat_template(conversation, enable_thinking=thinking, return_dict=False))
    offset = 4 if "<think>\n\n</think>\n\n" in text else 0
    starts = np.where(ids == tok.convert_tokens_to_ids("<|im_start|>"))[0]
    answers = np.where(ids == tok.convert_tokens_to_ids("assistant"))[0]
    ends = np.where(ids == tok.convert_tokens_to_ids("<|im_end|>"))[0]
    context = np.ones_like(ids)
    for i, answer in enumerate(answers):
        if answer - 1 in set(starts):
            begin = answer + 2 + (offset if i == len(answers) - 1 else 0)
            for end in ends:
                if end > begin:
                    context[begin : end + 1] = 0
                    break
    return ids, context


def script_tokenizer(folder, *, eot):
    """transformers' tokenizer with the names the models' own tokenizer classes add."""
    from transformers import PreTrainedTokenizerFast

    tok = PreTrainedTokenizerFast.from_pretrained(folder)
    names = {"im_start": "<image>", "im_end": "</image>", "slice_start": "<slice>", "slice_end": "</slice>"}
    names |= {"im_id_start": "<image_id>", "im_id_end": "</image_id>"}
    for name, token in names.items():
        object.__setattr__(tok, name, token)
        object.__setattr__(tok, f"{name}_id", tok.convert_tokens_to_ids(token))
    object.__setattr__(tok, "eos_id", tok.eos_token_id)
    if eot:
        object.__setattr__(tok, "eot_id", tok.convert_tokens_to_ids("<|eot_id|>"))
    return tok


@pytest.fixture(scope="module", params=["qwen", "qwen-think", "llama3", "minicpm", "minicpm-nobos"])
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("minicpmv")
    kind = request.param
    if kind.startswith("qwen"):
        template = chat_templates.THINKING if kind == "qwen-think" else chat_templates.QWEN_TOOLS
        folders.write(folder, folders.MINICPM26, unk="<unk>", template=template)
    elif kind == "llama3":
        folders.write(
            folder,
            folders.MINICPM25,
            bos="<|begin_of_text|>",
            eos="<|end_of_text|>",
            pad=None,
            unk="<unk>",
            adds_bos=True,
        )
    else:
        bos = "<s>" if kind == "minicpm" else None
        folders.write(folder, (*folders.MINICPM26, "<s>"), bos=bos, unk="<unk>", adds_bos=bos is not None)
    mine = open_tokenizer(folder)
    assert len(mine.encode("assistant")) == 1
    llm_type = kind.split("-")[0]
    encoder = encoder_for("minicpmv", "minicpmv26", mine, Settings(llm_type=llm_type))
    assert not isinstance(encoder, str), encoder
    return encoder, script_tokenizer(folder, eot=kind == "llama3"), llm_type


LITERALS = ["<image>", "</image>", "<slice>", "</slice>", "<unk>", "<|im_end|>", "<|im_start|>", "assistant"]
MORE = ["<|im_start|>assistant\n", "<think>\nx\n</think>\n\n", "<think>\n\n</think>\n\n", "<image_00>", "<image_1>"]
HEADS = ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<image_7>", "猫が", "Yes.", " ", "", "\n"]
WORDS = st.sampled_from([*LITERALS, *MORE, *HEADS])
# Mostly plain: literals everywhere would leave hardly a record that passes the checks.
PLAIN = st.sampled_from(
    ["What is it?", "A cat sits on the mat.", "148.20 EUR", "Übergröße", "yes", "The stamp moved; 12"]
)
CONTENT = st.one_of(PLAIN, PLAIN, st.lists(st.one_of(PLAIN, WORDS), max_size=4).map("".join), st.text(max_size=8))
GRIDS = st.sampled_from([None, None, (2, 1), (1, 2), (2, 2), (3, 1)])


@st.composite
def records(draw):
    roles = [draw(st.sampled_from(["user", "assistant", *[("user", "assistant")[n % 2]] * 3])) for n in range(6)]
    roles[0] = "user"
    turns = [{"role": role, "content": draw(CONTENT)} for role in roles[: draw(st.integers(2, 6))]]
    if draw(st.integers(0, 20)) == 0:
        turns[draw(st.integers(0, len(turns) - 1))]["role"] = "system"
    if draw(st.booleans()):
        images = {"<image>": draw(GRIDS)}
        turns[0]["content"] = draw(st.sampled_from(["<image>\n", "<image>", ""])) + turns[0]["content"]
        record = {"image": "a.png", "conversations": turns}
    else:
        names = draw(
            st.sampled_from([["<image_00>"], ["<image_00>", "<image_1>"], ["<image_1>", "<image_00>", "<image>"]])
        )
        images = {name: draw(GRIDS) for name in names}
        for name in names:
            turn = turns[draw(st.integers(0, len(turns) - 1)) if draw(st.booleans()) else 0]
            turn["content"] = draw(st.sampled_from(["{}\n", "a {} b", " {} "])).format(name) + turn["content"]
        record = {"image": dict.fromkeys(names, "a.png"), "conversations": turns}
    return record, images, draw(st.one_of(st.just(10_000), st.integers(1, 120)))


def image_blocks(images, llm_type):
    new, number, found = llm_type == "qwen", 0, []
    for grid in images.values():
        pieces = 1 + (grid[0] * grid[1] if grid else 0)
        text = script_text(QUERIES, grid, number, new_schema=new)
        found.append(ImageBlock(0, pieces * QUERIES, pieces, pieces, pieces, text=text))
        number += grid is not None
    return found


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=records())
def test_ids_labels_and_fate_are_the_scripts(pair, drawn):
    encoder, tok, llm_type = pair
    record, images, limit = drawn
    blocks = image_blocks(images, llm_type)
    try:
        expected = preprocess(images, record["conversations"], tok, llm_type, limit)
    except (Failed, ValueError, TypeError):
        with pytest.raises(Unencodable) as raised:
            encoder.encode(messages_of("minicpmv", record, shape(record)), blocks)
        assert raised.value.fate == "replaced"
        return
    encoded = encoder.encode(messages_of("minicpmv", record, shape(record)), blocks)
    ids = expected.whole[0]
    assert encoded.ids == ids.tolist()
    kept = len(expected.ids)
    labels = [encoded.relabelled.get(i, encoded.ids[i]) if encoded.supervised[i] else -100 for i in range(kept)]
    assert labels[1:] == expected.target[:-1].tolist()
    cut = encoder.cut(encoded, blocks, limit)
    assert (cut.total, cut.kept) == (len(ids), kept)
    assert (cut.starts, cut.ends) == (expected.starts, expected.ends)
    assert cut.supervised == sum(label != -100 for label in expected.target)
    assert (cut.fate == "replaced") == (expected.failure is not None)
    if expected.failure:
        assert cut.reason == expected.failure
    last = [label for label in labels if label != -100][-1:]
    stops = [tok.get_vocab().get(token) for token in ("<|eot_id|>", "<|im_end|>", tok.eos_token)]
    assert cut.ends_with_eos == (last[0] in stops if last else None)
    spans(encoder, encoded, blocks, record)


def spans(encoder, encoded, blocks, record):
    """The spans hold the blocks' own ids, in the order of the text."""
    texts = {tuple(encoder.tokens.encode(block.text)) for block in blocks}
    for span in encoded.images:
        ids = tuple(encoded.ids[span.start : span.end])
        assert ids in texts or (encoder.llm_type == "minicpm" and any(text[1:] == ids for text in texts))
    if isinstance(record["image"], str) and encoder.llm_type != "minicpm":
        assert len(encoded.images) == max(1, record["conversations"][0]["content"].count("<image>"))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.lists(records(), min_size=1, max_size=6))
def test_a_batch_is_what_its_records_are(pair, drawn):
    encoder, _, llm_type = pair
    given_records, alone = [], []
    for record, images, _ in drawn:
        blocks = image_blocks(images, llm_type)
        try:
            messages = messages_of("minicpmv", record, shape(record))
        except Unencodable:
            continue
        given_records.append((messages, blocks))
        try:
            alone.append(encoder.encode(messages, blocks))
        except Unencodable as problem:
            alone.append(str(problem))
    found = [str(one) if isinstance(one, Unencodable) else one for one in encoder.encode_all(given_records)]
    assert found == alone
