"""All loaders: a record of any kind gets a verdict, never a traceback, and "kept" is the only one without a reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.facts.records.datasetinfo import mapping_of
from lorachk.facts.records.dialect import shape
from lorachk.facts.records.verdicts import Settings, loader
from lorachk.facts.records.verdicts.minicpmv import verdict
from tests.verdict_cases import judged, spoken

TRAINERS = [
    *("minicpmv", "llava", "llamafactory", "ms-swift", "vlm-r1", "qwen-vl"),
    *("qwen-vl-chat", "qwen-vl-series", "trl", "axolotl", "internvl", "fastchat"),
]
KINDS = ("kept", "changed", "dropped", "replaced", "crash", None)
TEXTS = ["", " ", "q", "<image>", "<image>\nq", "<image_00>", "<video>", "</s>", "ASSISTANT: ", "</img>", "assistant"]
WORDS = ["human", "gpt", "user", "assistant", "system", "tool", "function_call", "text", "image", *TEXTS]
KEYS = ["from", "value", "role", "content", "type", "text", "image", "path", "tool_calls"]
NAMES = [
    *("image", "images", "video", "conversations", "messages", "instruction", "input", "output", "history", "query"),
    *("response", "prompt", "completion", "text", "system", "tools", "objects"),
]
scalars = st.none() | st.booleans() | st.integers(-1, 3) | st.floats() | st.sampled_from(WORDS)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.sampled_from(KEYS), v, max_size=3), max_leaves=8
)
turn = st.fixed_dictionaries({}, optional={k: st.sampled_from(WORDS) | values for k in KEYS[:4]})
records = values | st.fixed_dictionaries(
    {}, optional={name: st.lists(turn, max_size=4) | st.sampled_from(TEXTS) | values for name in NAMES}
)
MAPPINGS = [
    None,
    mapping_of("a", {}),
    mapping_of("s", {"formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"}}),
    mapping_of("o", {"formatting": "openai", "columns": {"messages": "messages"}, "tags": {"role_tag": "role"}}),
]
settings_ = st.builds(
    Settings,
    llm_type=st.sampled_from(["qwen", "llama3"]),
    template=st.sampled_from([None, "v1", "plain", "internvl2_5", "Hermes-2"]),
    multimodal=st.sampled_from([None, True, False]),
    family=st.sampled_from([None, "qwen2_vl", "internvl"]),
    mapping=st.sampled_from(MAPPINGS),
)


@pytest.mark.parametrize("trainer", TRAINERS)
@given(record=records, settings=settings_)
def test_any_record_gets_a_verdict(trainer: str, record: Any, settings: Settings) -> None:
    found = loader(trainer)
    assert found is not None
    kind, reason = found.judge(record, shape(record, settings.mapping), settings)
    assert kind in KINDS
    assert (reason is None) == (kind == "kept")


def test_every_trainer_is_known_or_said_not_to_be() -> None:
    for trainer in TRAINERS:
        found = loader(trainer)
        assert found is not None
        assert found.trainer == trainer
        assert found.bad_image in KINDS
        assert found.container in ("array", "lines", None)
    assert loader("hf") is None  # the user's own script
    assert loader(None) is None


@given(record=records, llm_type=st.sampled_from(["qwen", "llama3"]))
def test_the_short_way_of_minicpmv_says_what_the_long_one_says(record: Any, llm_type: str) -> None:
    found = loader("minicpmv")
    assert found is not None
    assert found.judge(record, shape(record), Settings(llm_type)) == verdict(record, (), llm_type)


@pytest.mark.parametrize("trainer", ["llava", "qwen-vl", "qwen-vl-series", "internvl", "vlm-r1", "fastchat"])
def test_images_in_a_field_that_the_trainer_does_not_read_are_not_kept(trainer: str) -> None:
    record = {**spoken("q", "a"), "images": ["a.jpg"]}
    assert judged(trainer, record).kind == "changed"
