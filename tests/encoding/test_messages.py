"""Where each trainer's loader puts the images of a record; anything else is an Unencodable."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.facts.encoding.blocks import blocks, script_text
from lorachk.facts.encoding.messages import messages_of
from lorachk.facts.encoding.types import Message, Unencodable
from lorachk.facts.records.dialect import shape
from lorachk.families.visual import resolve

TRAINERS = ("minicpmv", "qwen-vl", "qwen-vl-series", "trl", "hf", "axolotl", "ms-swift", "llava", "llamafactory", None)


def parts(trainer, value):
    return [(message.role, message.parts) for message in messages_of(trainer, value, shape(value))]


def chat(*texts):
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def llava(*texts):
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


def test_minicpmv_puts_one_image_into_the_first_turn_alone():
    assert parts("minicpmv", {"image": "a.png", "conversations": chat("<image>\nWhat?", "see <image>")}) == [
        ("user", ("", 0, "\nWhat?")),
        ("assistant", ("see <image>",)),
    ]
    assert parts("minicpmv", {"image": "a.png", "conversations": chat("What?", "A cat")})[0][1] == (0, "\n", "What?")
    assert parts("minicpmv", {"image": "a.png", "conversations": chat("<image><image>", "x")})[0][1] == (
        "",
        0,
        "",
        0,
        "",
    )


def test_minicpmv_puts_keyed_images_between_line_feeds():
    images = {"<image_00>": "a.png", "<image_01>": "b.png"}
    value = {"image": images, "conversations": chat("<image_01>x<image_00>", "<image_00>")}
    assert parts("minicpmv", value) == [
        ("user", ("", "\n", 1, "\n", "x", "\n", 0, "\n", "")),
        ("assistant", ("", "\n", 0, "\n", "")),
    ]
    value["conversations"][1]["content"] = "<image_07>"
    with pytest.raises(Unencodable, match="not found <image_07> in image dict") as raised:
        parts("minicpmv", value)
    assert raised.value.fate == "replaced"


def test_qwen_vl_takes_any_role_but_human_for_the_assistant_and_strips_around_images():
    value = {"image": ["a", "b"], "conversations": llava(" <image>\nA <image> \n", "<image> yes ")}
    assert parts("qwen-vl", value) == [("user", (0, "A", 1)), ("assistant", ("<image> yes ",))]
    value["conversations"][0]["from"] = "user"
    with pytest.raises(Unencodable, match="remain unused"):
        parts("qwen-vl", value)


def test_series_takes_the_line_feeds_along():
    value = {"image": "a", "conversations": llava("<image>\nA\n<image>", "x<image>")}
    literal = "<|vision_start|><|image_pad|><|vision_end|>"
    assert parts("qwen-vl-series", value) == [("user", ("", 0, "A", literal, "")), ("assistant", ("x", literal, ""))]


def test_trl_puts_images_in_front_of_the_first_question_or_into_its_places():
    value = {"images": ["a", "b"], "messages": [{"role": "system", "content": "S"}, *chat("Q", "A", "Q2")]}
    assert parts("trl", value)[1:3] == [("user", (0, 1, "Q")), ("assistant", ("A",))]
    typed = [{"type": "text", "text": "x"}, {"type": "image"}]
    value = {"images": ["a"], "messages": [{"role": "user", "content": typed}]}
    assert messages_of("trl", value, shape(value)) == [Message("user", "user", ("x", 0), typed=True)]
    value["images"] = ["a", "b"]
    with pytest.raises(Unencodable, match=r"Number of images provided \(2\) does not match .* \(1\)"):
        parts("trl", value)


def test_trl_completions_and_text():
    value = {"prompt": "P", "completion": "C"}
    assert messages_of("trl", value, shape(value)) == [
        Message(None, None, ("P",)),
        Message(None, None, ("C",), completion=True),
    ]
    value = {"conversations": llava("Q", "A")}
    assert parts("trl", value) == [("human", ("Q",)), ("gpt", ("A",))]
    assert parts("trl", {"text": "T"}) == [(None, ("T",))]


def test_axolotl_puts_the_system_column_in_front():
    assert parts("axolotl", {"system": "S", "messages": chat("Q")})[0] == ("system", ("S",))
    with_own = [{"role": "system", "content": "own"}, *chat("Q")]
    assert parts("axolotl", {"system": "S", "messages": with_own})[0] == ("system", ("own",))


def test_swift_adds_tags_in_front_and_makes_tags_of_parts():
    value = {"images": ["a", "b"], "messages": chat("Q <image> x", "A")}
    assert parts("ms-swift", value)[0][1] == (0, "Q ", 1, " x")
    typed = [{"type": "text", "text": "x"}, {"type": "image", "image": "a.png"}]
    assert parts("ms-swift", {"messages": [{"role": "user", "content": typed}]}) == [("user", ("x", 0))]


def test_others_take_every_placeholder_in_order():
    value = {"image": ["a", "b"], "conversations": llava("<image><image>Q<image>", "A")}
    assert parts("llava", value)[0][1] == (0, 1, "Q", "<image>")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["", "x<image>", "<image_00>", "user", "text"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "type", "text", "image", "url", "tool_calls"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
RECORDS = st.dictionaries(
    st.sampled_from(["messages", "conversations", "image", "images", "prompt", "completion", "text", "system", "query",
                     "response", "instruction", "output", "video", "history"]), JSON, max_size=5
)  # fmt: skip


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=st.one_of(JSON, RECORDS), trainer=st.sampled_from(TRAINERS))
def test_any_record_gives_messages_or_a_reason(value, trainer):
    found = shape(value)
    try:
        messages = messages_of(trainer, value, found)
    except Unencodable:
        return
    for message in messages:
        assert message.role is None or isinstance(message.role, str)
        assert all(isinstance(part, (str, int)) and part is not True for part in message.parts)
        assert all(part < len(found.images) for part in message.parts if isinstance(part, int))


def test_blocks_of_the_script_number_the_images_that_are_cut():
    visual = resolve("minicpmv26")
    assert visual is not None
    small, wide, tall = blocks([(300, 300), (1280, 720), (720, 1280)], visual)
    assert small.text == script_text(64, None, 0, new_schema=True)
    assert wide.text == script_text(64, (3, 2), 0, new_schema=True)
    assert tall.text == script_text(64, (2, 3), 1, new_schema=True)
    assert (small.tokens, wide.tokens, tall.features) == (66, 466, 7 * 64)
    old = resolve("minicpmv25")
    assert old is not None
    assert blocks([(1280, 720)], old)[0].text == script_text(96, (3, 2), 0, new_schema=False)
