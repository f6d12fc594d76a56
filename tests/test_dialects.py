"""How a record is written is recognised, and every turn, image and video of it is found."""

from __future__ import annotations

import datetime
import decimal
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorachk.facts.records.datasetinfo import Mapping_, mapping_of
from lorachk.facts.records.dialect import Reference, Shape, shape, turn_pointer

ASK, ANSWER = "What is it?", "A cat."


def pair(role: str, content: str, user: str, assistant: str, mark: str = "") -> list[dict[str, Any]]:
    """A question and its answer."""
    return [{role: user, content: mark + ASK}, {role: assistant, content: ANSWER}]


FROM = pair("from", "value", "human", "gpt")
FROM_IMAGE = pair("from", "value", "human", "gpt", "<image>\n")
ROLE = pair("role", "content", "user", "assistant")
ROLE_IMAGE = pair("role", "content", "user", "assistant", "<image>")
TYPED = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": ASK}]},
    {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]},
]
LIST = {"prompt": ROLE[:1], "completion": ROLE[1:]}

# record, dialect, style, images, placeholders
WRITTEN: dict[str, tuple[dict[str, Any], str, str | None, int, int]] = {
    "minicpmv": ({"image": "a.jpg", "conversations": ROLE_IMAGE}, "minicpmv", "role/content", 1, 1),
    "minicpmv text": ({"conversations": ROLE}, "minicpmv", "role/content", 0, 0),
    "minicpmv list": ({"image": ["a.jpg"], "conversations": ROLE_IMAGE}, "minicpmv", "role/content", 1, 1),
    "minicpmv-multi": (
        {
            "image": {"<image_00>": "a.jpg", "<image_01>": "b.jpg"},
            "conversations": pair("role", "content", "user", "assistant", "<image_00>\n<image_01>\n"),
        },
        *("minicpmv-multi", "role/content", 2, 2),
    ),
    "llava": ({"image": "a.jpg", "conversations": FROM_IMAGE}, "llava", "from/value", 1, 1),
    "llava without its image": ({"conversations": FROM_IMAGE}, "llava", "from/value", 0, 1),
    "llava with a wrong role": (
        {"image": "a.jpg", "conversations": pair("from", "value", "user", "assistant", "<image>")},
        *("llava", "from/value", 1, 1),
    ),
    "qwen2.5-vl": ({"image": ["a.jpg", "b.jpg"], "conversations": FROM_IMAGE}, "llava", "from/value", 2, 1),
    "vlm-r1": ({"id": 1, "image": "a.jpg", "conversations": FROM_IMAGE}, "llava", "from/value", 1, 1),
    "sharegpt": ({"conversations": FROM}, "sharegpt", "from/value", 0, 0),
    "sharegpt messages": ({"messages": FROM}, "sharegpt", "from/value", 0, 0),
    "qwen-vl": (
        {
            "conversations": [
                {"from": "user", "value": "Picture 1: <img>a.jpg</img>\nPicture 2: <img>b.jpg</img>\nDiff?"},
                {"from": "assistant", "value": "Colour."},
            ]
        },
        *("qwen-vl", "from/value", 2, 2),
    ),
    "qwen-vl text": ({"conversations": pair("from", "value", "user", "assistant")}, "qwen-vl", "from/value", 0, 0),
    "html is no path": (
        {"conversations": [{"from": "human", "value": '<img src="a.jpg"></img>'}, FROM[1]]},
        *("sharegpt", "from/value", 0, 0),
    ),
    "messages": ({"messages": ROLE}, "messages", "role/content", 0, 0),
    "ms-swift": ({"messages": ROLE_IMAGE, "images": ["a.jpg"]}, "messages", "role/content", 1, 1),
    "ms-swift one string": ({"messages": ROLE_IMAGE, "images": "a.jpg"}, "messages", "role/content", 1, 1),
    "ms-swift conversations": ({"conversations": ROLE_IMAGE, "images": ["a.jpg"]}, "messages", "role/content", 1, 1),
    "hf typed": ({"messages": TYPED, "images": ["a.jpg"]}, "parts", "role/content", 1, 1),
    "prompt and completion as messages": (LIST, "messages", "role/content", 0, 0),
    "preferences": ({"prompt": TYPED[:1], "chosen": ROLE[1:], "rejected": ROLE[1:]}, "parts", "role/content", 0, 1),
    "implicit prompt": ({"chosen": ROLE, "rejected": ROLE}, "messages", "role/content", 0, 0),
    "grpo prompt": ({"prompt": ROLE[:1], "solution": "a"}, "messages", "role/content", 0, 0),
    "alpaca": ({"instruction": ASK, "input": "", "output": ANSWER}, "alpaca", "alpaca", 0, 0),
    "alpaca image": ({"instruction": "<image>", "output": ANSWER, "images": ["a.jpg"]}, "alpaca", "alpaca", 1, 1),
    "query": ({"query": "<image>" + ASK, "response": ANSWER, "images": ["a.jpg"]}, "query", "query", 1, 1),
    "question": ({"question": ASK, "answer": ANSWER}, "query", "query", 0, 0),
    "response": ({"response": ANSWER}, "query", "query", 0, 0),
    "completion": ({"prompt": ASK, "completion": ANSWER}, "completion", "completion", 0, 0),
    "preferences as text": ({"prompt": ASK, "chosen": "a", "rejected": "b"}, "completion", "completion", 0, 0),
    "text": ({"text": "Once upon a time"}, "text", "text", 0, 0),
    "conversation": ({"conversation": ROLE}, "unknown", None, 0, 0),
    "dialog": ({"dialog": ROLE, "image": "a.jpg"}, "unknown", None, 1, 0),
    "messages as text": ({"messages": "[{'role': 'user'}]"}, "unknown", None, 0, 0),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_dialect_is_recognised(name: str) -> None:
    """A record taken for another dialect is judged by rules that are not its own."""
    record, dialect, style, images, placeholders = WRITTEN[name]
    found = shape(record)
    assert (found.dialect, found.style, len(found.images), found.placeholders) == (dialect, style, images, placeholders)


def at(record: Any, pointer: str) -> Any:
    """The value at a pointer."""
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        record = record[int(part)] if isinstance(record, list) else record[part]
    return record


@pytest.mark.parametrize("name", WRITTEN)
def test_pointers_lead_to_turns_and_images(name: str) -> None:
    """The report's line and column come from these; a wrong one sends people to the wrong place."""
    record = WRITTEN[name][0]
    found = shape(record)
    for number, turn in enumerate(found.turns or ()):
        there = at(record, turn_pointer(found, number))
        text = there if isinstance(there, str) else there.get("content", there.get("value"))
        assert turn.text in text if isinstance(text, str) else turn.text in str(text)
    for image in found.images:
        assert image.reference is not None
        assert image.reference in str(at(record, image.pointer))


def test_alpaca_is_a_conversation() -> None:
    """Its history, its system prompt and its two-part question are turns like any other's."""
    found = shape(
        {"instruction": "Add.", "input": "1 2", "output": "3", "history": [["Hi", "Hello"]], "system": "Be terse."}
    )
    turns = [(t.speaker, t.text, t.pointer) for t in found.turns or ()]
    assert turns == [
        ("system", "Be terse.", "/system"),
        ("user", "Hi", "/history/0/0"),
        ("assistant", "Hello", "/history/0/1"),
        ("user", "Add.\n1 2", "/instruction"),
        ("assistant", "3", "/output"),
    ]


def test_a_history_that_is_no_list_of_pairs_shows() -> None:
    """LLaMA-Factory stops with a ValueError on it."""
    found = shape({"instruction": "a", "output": "b", "history": [["only a question"], 7, "ab"]})
    assert [t.content_type for t in (found.turns or ())[:3]] == ["other", "other", "other"]


def test_system_column_is_a_turn_and_moves_no_pointer() -> None:
    """ms-swift and LLaMA-Factory put it first; the other turns keep their places in the file."""
    found = shape({"system": "Be terse.", "conversations": FROM})
    assert [t.speaker for t in found.turns or ()] == ["system", "user", "assistant"]
    assert [turn_pointer(found, n) for n in range(3)] == ["/system", "/conversations/0", "/conversations/1"]


def test_a_tool_call_stands_for_the_text_that_is_not_there() -> None:
    """Else every assistant turn that calls a tool would be reported as empty."""
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [ROLE[0], {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "1"}]
    found = shape({"messages": turns}).turns or []
    assert [t.speaker for t in found] == ["user", "assistant", "tool"]
    assert "function" in found[1].text


@pytest.mark.parametrize(
    ("role", "speaker"),
    [
        *((r, "user") for r in ("user", "human")),
        *((r, "assistant") for r in ("assistant", "gpt", "bot", "model", "function_call", "tool_call")),
        *((r, "system") for r in ("system", "developer")),
        *((r, "tool") for r in ("tool", "observation", "tool_response", "function_response", "ipython", "function")),
        *((r, None) for r in ("User", "GPT", "narrator", "", None, 7, ["user"], {"a": 1})),
    ],
)
def test_roles(role: Any, speaker: str | None) -> None:
    """Trainers compare roles letter by letter; what none of them knows is no role."""
    for record in (
        {"messages": [{"role": role, "content": "x"}]},
        {"conversations": [{"from": role, "value": "x"}, FROM[1]]},
    ):
        turn = (shape(record).turns or [])[0]
        assert turn.speaker == speaker
        assert turn.role == (role if isinstance(role, str) else None)


URI = "data:image/png;base64,AA=="
PARTS = {
    "openai url": ({"type": "image_url", "image_url": {"url": URI}}, URI),
    "openai string": ({"type": "image_url", "image_url": "http://x/a.png"}, "http://x/a.png"),
    "typed image": ({"type": "image", "image": "a.png"}, "a.png"),
    "typed path": ({"type": "image", "path": "a.png"}, "a.png"),
    "typed url": ({"type": "image", "url": "http://x/a.png", "image": None}, "http://x/a.png"),
    "base64": ({"type": "image", "base64": "AA=="}, "data:;base64,AA=="),
    "anthropic": ({"type": "image", "source": {"type": "base64", "data": "AA=="}}, "data:;base64,AA=="),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_images_inside_parts(name: str) -> None:
    """An image nobody finds is an image nobody checks."""
    part, reference = PARTS[name]
    found = shape({"messages": [{"role": "user", "content": [{"type": "text", "text": ASK}, part]}]})
    assert (found.dialect, found.placeholders) == ("parts", 1)
    assert found.images == [Reference(None, reference, "/messages/0/content/1")]


def test_images_embedded_in_parquet() -> None:
    """They have no file; their bytes are what is looked at."""
    embedded = {"bytes": b"\xff\xd8", "path": "a.jpg"}
    for record, pointer in (
        ({"messages": ROLE_IMAGE, "images": [embedded]}, "/images/0"),
        ({"messages": ROLE_IMAGE, "image": embedded}, "/image"),
    ):
        found = shape(record)
        assert found.images == [Reference(None, "a.jpg", pointer, b"\xff\xd8")]
        assert found.dialect == "messages" or "conversations" in record
    (bare,) = shape({"messages": ROLE, "images": [b"\xff"]}).images
    assert bare.content == b"\xff"
    (inside,) = shape({"messages": [{"role": "user", "content": [{"type": "image", "image": embedded}]}]}).images
    assert (inside.content, inside.reference) == (b"\xff\xd8", "a.jpg")


def test_videos_are_counted() -> None:
    """A record with a video and no image is not text-only."""
    assert shape({"video": "a.mp4", "conversations": FROM}).videos == 1
    assert shape({"videos": ["a.mp4", "b.mp4"], "messages": ROLE}).videos == 2
    part = {"type": "video", "video": "a.mp4"}
    assert shape({"messages": [{"role": "user", "content": [part]}]}).videos == 1
    assert shape({"messages": ROLE}).videos == 0


def mapped(entry: dict[str, Any], record: dict[str, Any]) -> Shape:
    """The shape of a record under an entry of dataset_info.json."""
    return shape(record, mapping_of("x", entry))


def test_a_map_says_where_the_turns_are() -> None:
    """LLaMA-Factory reads only what its registry names, by whatever name."""
    entry = {
        "formatting": "sharegpt",
        "columns": {"messages": "dialog", "images": "pictures", "system": "rules"},
        "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "guest", "assistant_tag": "host"},
    }
    turns = [{"who": "guest", "says": "<image>Hi"}, {"who": "host", "says": "Hello"}, {"who": "gpt", "says": "?"}]
    found = mapped(entry, {"dialog": turns, "pictures": "a.png", "images": ["b.png"], "rules": "Be kind."})
    assert [(t.speaker, turn_pointer(found, n)) for n, t in enumerate(found.turns or ())] == [
        ("system", "/rules"),
        ("user", "/dialog/0"),
        ("assistant", "/dialog/1"),
        (None, "/dialog/2"),
    ]
    assert found.images == [Reference(None, "a.png", "/pictures")]
    assert (found.dialect, found.placeholders, found.image_field) == ("messages", 1, "string")


def test_columns_that_a_map_leaves_out_are_not_read() -> None:
    """The trap of dataset_info.json: `columns` without images means no images, and the placeholder is one too many."""
    record = {"conversations": FROM_IMAGE, "images": ["a.png"]}
    assert mapped({"formatting": "sharegpt"}, record).images == []
    assert mapped({"formatting": "sharegpt", "columns": {"messages": "conversations"}}, record).images == []
    named = mapped({"formatting": "sharegpt", "columns": {"messages": "conversations", "images": "images"}}, record)
    assert len(named.images) == 1
    alpaca = {"instruction": "Add.", "input": "1 2", "output": "3"}
    asked = mapped({"columns": {"prompt": "instruction", "response": "output"}}, alpaca)
    assert [t.text for t in asked.turns or ()] == ["Add.", "3"]
    assert [t.text for t in mapped({}, alpaca).turns or ()] == ["Add.\n1 2", "3"]


def test_maps_for_pretraining_and_preferences() -> None:
    """Two more uses of the alpaca and sharegpt formats in LLaMA-Factory's own registry."""
    text = mapped({"columns": {"prompt": "text"}}, {"text": "Once"})
    assert (text.dialect, [t.speaker for t in text.turns or ()]) == ("text", ["assistant"])
    entry = {
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    }
    record = {"conversations": FROM[:1], "chosen": FROM[1], "rejected": {"from": "gpt", "value": "A dog."}}
    for found in (mapped(entry, record), shape(record)):
        assert [t.text for t in found.turns or ()] == [ASK, ANSWER]
        assert turn_pointer(found, 1) == "/chosen"


def test_a_map_that_does_not_fit_leaves_the_record_readable() -> None:
    """The registry's mistake is told once; the records' own mistakes still have to be found."""
    found = mapped({"formatting": "sharegpt"}, {"messages": ROLE})
    assert (found.dialect, len(found.turns or ())) == ("messages", 2)


KEYS = st.sampled_from(
    [
        *("image", "images", "video", "conversations", "messages", "from", "value", "role", "content", "type", "text"),
        *("instruction", "input", "output", "history", "system", "query", "response", "prompt", "completion"),
        *("chosen", "image_url", "url", "path", "bytes", "tool_calls", "source", "~/", "\ud800", "<image_00>"),
    ]
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=4) | st.text(max_size=8) | KEYS
) | st.sampled_from(
    ["user", "gpt", "<image>", "<img>a</img>", decimal.Decimal("1.5"), datetime.datetime(2024, 1, 1), (1, 2)]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.integers(), inner, max_size=5),
    max_leaves=25,
)
NAMED = ("messages", "prompt", "query", "images", "system", "history", "chosen", "role_tag")
MAPS = st.builds(
    lambda formatting, names: Mapping_("x", formatting, True)._replace(**names),
    st.sampled_from(["alpaca", "sharegpt", "openai", "other"]),
    st.fixed_dictionaries({name: st.none() | KEYS for name in NAMED}),
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=6) | VALUES, st.none() | MAPS)
def test_nothing_makes_it_fail(record: Any, mapping: Mapping_ | None) -> None:
    """One odd record among millions must not end the scan; and the same record is always the same shape."""
    found = shape(record, mapping)
    assert repr(found) == repr(shape(record, mapping))
    for number in range(len(found.turns or ())):
        assert turn_pointer(found, number).startswith("/")
    assert all(isinstance(t.text, str) and t.placeholders >= 0 for t in found.turns or ())


def test_hostile_sizes() -> None:
    """A quadratic step would take minutes on these, and hold up the scan of everything else."""
    many = 50_000
    inline = shape({"conversations": [{"from": "user", "value": "<img>a</img>" * 2}] * many})
    assert (len(inline.images), inline.images[-1].pointer) == (2 * many, f"/conversations/{many - 1}/value")
    assert len(shape({"messages": TYPED, "images": ["a.jpg"] * many}).images) == many
    assert len(shape({"instruction": "a", "output": "b", "history": [["a", "b"]] * many}).turns or ()) == 2 * many + 2
    parts = [{"type": "image", "path": "a.jpg"}] * many
    assert len(shape({"messages": [{"role": "user", "content": parts}]}).images) == many
    opened = "<img>" * many
    assert shape({"conversations": [{"from": "human", "value": opened + "</img>"}]}).dialect == "sharegpt"


def test_nesting_is_no_matter() -> None:
    """10,000 brackets deep, as a parser without recursion may give them."""
    deep: Any = []
    for _ in range(sys.getrecursionlimit() * 5):
        deep = [deep]
    for record in ({"messages": [{"role": "user", "content": deep}]}, {"conversations": deep}, {"image": deep}):
        assert shape(record).dialect in ("parts", "messages", "unknown")
    calls = [{"role": "assistant", "content": None, "tool_calls": deep}]
    assert len(shape({"messages": calls}).turns or ()) == 1
