"""axolotl's chat_template strategy against a re-statement on transformers' tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.facts.encoding.messages import messages_of
from lorachk.facts.encoding.tokenizer import open_tokenizer
from lorachk.facts.encoding.trainers import encoder_for
from lorachk.facts.encoding.types import ImageBlock, Settings, Unencodable
from lorachk.facts.records.dialect import shape
from tests.encoding import chat_templates, folders

TEXTS = st.lists(
    st.sampled_from(
        ["What is it?", "A cat", "\n", " ", "<|im_end|>", "[[dummy_message]]", "assistant", "猫", "12", "<s>"]
    ),
    max_size=4,
).map("".join)
ROLES = st.sampled_from(["user", "assistant", "assistant", "system", "human", "gpt"])
RECORDS = st.builds(
    lambda turns, system: {"messages": turns} | ({"system": system} if system is not None else {}),
    st.lists(st.fixed_dictionaries({"role": ROLES, "content": TEXTS}), min_size=1, max_size=5),
    st.one_of(st.none(), st.none(), TEXTS),
)


def restated(record, tok, roles, on_inputs, on_eos):
    """ChatTemplateStrategy._tokenize_single_prompt with its defaults; EOT is EOS."""
    names = {"human": "user", "gpt": "assistant"}
    turns = [{**turn, "role": names.get(turn["role"], turn["role"])} for turn in record["messages"]]
    if turns[0]["role"] != "system" and "system" in record:
        turns = [{"role": "system", "content": record["system"]}, *turns]

    def build(some, **more):
        return tok.apply_chat_template(some, return_dict=False, **more)

    def find(index):
        more = {"real_last_index": len(turns) - 1} if len(turns) > 1 else {}
        dummy = build([*turns[:index], {"role": turns[index]["role"], "content": "[[dummy_message]]"}], **more)
        full = build(turns[: index + 1], **more)
        least, start, end = min(len(dummy), len(full)), None, None
        for i in range(least):
            if dummy[i] != full[i]:
                start = i
                break
        if start is None:
            return -1, -1
        for i in range(least):
            if dummy[len(dummy) - 1 - i] != full[len(full) - 1 - i]:
                end = len(full) - i
                break
        return (-1, -1) if end is None or end <= start else (start, end)

    def first_eos(begin):
        for i in range(begin, len(ids)):
            if ids[i] == tok.eos_token_id:
                return i
        return -1

    ids = build(turns)
    labels = [-100] * len(ids)
    last = -1
    for index, turn in enumerate(turns):
        train = on_inputs or turn["role"] in roles
        if not train and on_eos != "all":
            continue
        start, end = find(index)
        if train and start != -1:
            labels[start:end] = ids[start:end]
        at = first_eos(end)
        if at != -1 and abs(at - end) <= 3:
            last = at
            if on_eos == "all" or (on_eos == "turn" and train):
                labels[at] = ids[at]
    if on_eos == "last" and last != -1:
        labels[last] = ids[last]
    return ids, labels


@pytest.fixture(scope="module", params=["chatml", "qwen_tools", "llama3", "zephyr", "mistral"])
def both(request, tmp_path_factory):
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("axolotl")
    special = (*folders.QWEN, "<s>", *folders.LLAMA3)
    eos = "<|eot_id|>" if request.param == "llama3" else "<|im_end|>"
    folders.write(folder, special, bos="<s>", eos=eos, template=chat_templates.ALL[request.param])
    return open_tokenizer(folder), PreTrainedTokenizerFast.from_pretrained(folder)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    record=RECORDS, roles=st.sampled_from([None, ("assistant",), ("gpt", "user"), ()]), on_inputs=st.booleans(),
    on_eos=st.sampled_from([None, "turn", "all", "last", "none"]), limit=st.integers(1, 80),
    how=st.sampled_from([None, "drop", "truncate", "raise"]),
)  # fmt: skip
def test_labels_and_cut_are_axolotls(both, record, roles, on_inputs, on_eos, limit, how):
    mine, tok = both
    used = Settings(roles_to_train=roles, train_on_inputs=on_inputs, train_on_eos=on_eos, truncation=how)
    encoder = encoder_for("axolotl", "text", mine, used)
    messages = messages_of("axolotl", record, shape(record))
    trained = ["assistant"] if roles is None else [{"gpt": "assistant"}.get(role, role) for role in roles]
    try:
        ids, labels = restated(record, tok, trained, on_inputs, on_eos or "turn")
    except Exception:  # the template raises
        with pytest.raises(Unencodable):
            encoder.encode(messages, [])
        return
    encoded = encoder.encode(messages, [])
    assert encoded.ids == ids
    assert [t if s else -100 for t, s in zip(ids, encoded.supervised, strict=True)] == labels
    cut = encoder.cut(encoded, [], limit)
    if len(ids) < 2 or (len(ids) > limit and how in (None, "drop")):
        assert cut.fate == "dropped"
    elif len(ids) > limit and how == "raise":
        assert cut.fate == "crash"
    else:
        left = sum(label != -100 for label in labels[:limit])
        assert cut.supervised == left
        assert (cut.fate == "dropped") == (left == 0)
        assert left == 0 or cut.fate == ("changed" if len(ids) > limit else "kept")


def test_what_is_not_modelled_says_so(both):
    mine, _ = both
    encoder = encoder_for("axolotl", "text", mine)
    for value in ({"text": "x"}, {"prompt": "x", "completion": "y"}):
        with pytest.raises(Unencodable, match="not modelled"):
            encoder.encode(messages_of("axolotl", value, shape(value)), [])
    value = {"messages": [{"role": "user", "content": "x"}], "images": ["a.png"]}
    with pytest.raises(Unencodable, match="collator"):
        encoder.encode(messages_of("axolotl", value, shape(value)), [ImageBlock(1, 1)])
    assert "train_on_eos" in str(encoder_for("axolotl", "text", mine, Settings(train_on_eos="never")))
    assert "not held here" in str(encoder_for("axolotl", "text", mine, Settings(template="alpaca")))
