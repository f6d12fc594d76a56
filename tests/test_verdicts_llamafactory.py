"""LLaMA-Factory: it stops without an index on what it cannot read, and drops the rest with a line in the log."""

from __future__ import annotations

import pytest

from lorachk.facts.records.datasetinfo import Mapping_, mapping_of
from lorachk.facts.records.verdicts import Settings
from tests.verdict_cases import Case, agrees, messages, said, spoken, turned

ROLES = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
COLUMNS = {"messages": "messages", "images": "images", "tools": "tools"}
SHAREGPT = mapping_of("s", {"formatting": "sharegpt", "columns": COLUMNS, "tags": {**ROLES, "system_tag": "system"}})
NO_SYSTEM = mapping_of("n", {"formatting": "sharegpt", "columns": COLUMNS, "tags": ROLES})
FROM_VALUE = mapping_of("f", {"formatting": "sharegpt", "columns": {"messages": "conversations"}})
OPENAI = mapping_of(
    "o",
    {
        "formatting": "openai",
        "columns": COLUMNS,
        "tags": {**ROLES, "system_tag": "system", "observation_tag": "tool", "function_tag": "function_call"},
    },
)
ALPACA = mapping_of("a", {"columns": {"prompt": "instruction", "query": "input", "response": "output"}})
HISTORY = mapping_of("h", {"columns": {"prompt": "instruction", "response": "output", "history": "history"}})

CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
CASES = [
    (SHAREGPT, said("<image>q", "a", images=["a.jpg"]), "kept", None),
    (SHAREGPT, messages(("system", "s"), ("user", "q"), ("assistant", "a")), "kept", None),
    (SHAREGPT, said("<image>q", "a", images="a.jpg"), "kept", None),
    (SHAREGPT, said("q", "a", "r"), "dropped", "Invalid message count: 3"),
    (SHAREGPT, messages(("assistant", "a"), ("user", "q")), "dropped", "Invalid role tag: role of turn 0"),
    (SHAREGPT, messages(("User", "q"), ("assistant", "a")), "dropped", "'User'"),
    (SHAREGPT, {"messages": []}, "dropped", "no turns"),
    (NO_SYSTEM, messages(("system", "s"), ("user", "q"), ("assistant", "a")), "dropped", "Invalid role tag"),
    (SHAREGPT, {"messages": None}, "crash", "messages is null"),
    (SHAREGPT, said("<image>q", "a", images=["a.jpg", "b.jpg"]), "crash", "number of images does not match"),
    (SHAREGPT, said("<image>q", "a"), "crash", "number of images does not match"),
    (SHAREGPT, said("q", "a", images=["a.jpg"]), "crash", "1 and 0"),
    (SHAREGPT, said("<video>q", "a"), "crash", "number of videos does not match"),
    (SHAREGPT, said("<image>q", "a", images=[7]), "crash", "Expect input is a list of images"),
    (SHAREGPT, said("q", None), "crash", "content of turn 1 is null"),
    (SHAREGPT, said([{"type": "text", "text": "q"}], "a"), "crash", "content of turn 0 is a list"),
    (SHAREGPT, said("q", "a", tools="no JSON"), "crash", "tool description"),
    (FROM_VALUE, spoken("q", "a"), "kept", None),
    (FROM_VALUE, turned(("human", "q"), ("function_call", '{"name": "f", "arguments": {}}')), "kept", None),
    (FROM_VALUE, turned(("human", "q"), ("function_call", "f()")), "crash", "Invalid JSON format in function message"),
    (FROM_VALUE, spoken("<image>q", "a", images=["a.jpg"]), "crash", "0 and 1"),  # columns names no images
    (FROM_VALUE, spoken("q", "a", images=["a.jpg"]), "changed", "names no images column"),
    (OPENAI, messages(("user", "q"), ("tool", "t"), ("assistant", "a")), "dropped", "Invalid role tag"),
    (OPENAI, {"messages": [{"role": "user", "content": "q"}, CALL]}, "kept", None),
    (OPENAI, messages(("developer", "s"), ("user", "q"), ("assistant", "a")), "crash", "KeyError: role of turn 0"),
    (ALPACA, {"instruction": "q", "input": "", "output": "a"}, "kept", None),
    (ALPACA, {"instruction": "q", "input": None, "output": ""}, "kept", None),
    (ALPACA, {"instruction": "q", "output": None}, "dropped", "Dropped invalid example: output is null"),
    (ALPACA, {"instruction": ["q"], "output": "a"}, "crash", "the question is a list"),
    (HISTORY, {"instruction": "q", "output": "a", "history": [["r", "b"]]}, "kept", None),
    (HISTORY, {"instruction": "q", "output": "a", "history": [["r"]]}, "crash", "not a pair"),
    (HISTORY, {"instruction": "q", "output": "a", "history": [["r", None]]}, "crash", "content of turn 1 is null"),
]


@pytest.mark.parametrize(("mapping", "record", "kind", "reason"), CASES)
def test_mapped(mapping: object, record: object, kind: str, reason: str | None) -> None:
    agrees("llamafactory", (record, kind, reason), Settings(mapping=mapping, multimodal=True))


def test_a_text_model_takes_no_images_and_reads_placeholders_as_text() -> None:
    text = Settings(mapping=SHAREGPT, multimodal=False)
    agrees("llamafactory", (said("<image>q", "a", images=["a.jpg"]), "crash", "does not support image input"), text)
    agrees("llamafactory", (said("<image>q", "a"), "changed", "trained as text"), text)
    # whether the model takes images is not known: neither kept nor an alarm
    agrees("llamafactory", (said("<image>q", "a"), None, "unless"), Settings(mapping=SHAREGPT))


@pytest.mark.parametrize(
    "case",
    [
        (said("<image>q", "a", images=["a.jpg"]), "kept", None),
        (spoken("<image>q", "a", image="a.jpg"), "kept", None),
        ({"instruction": "q", "output": "a"}, "kept", None),
        (said("<image>q", "a", images=["a.jpg", "b.jpg"]), "crash", "does not match"),
        (messages(("customer", "q"), ("agent", "a")), None, "dataset_info.json says"),
        ({"frage": "q", "antwort": "a"}, None, "dataset_info.json says"),
    ],
)
def test_without_dataset_info_only_what_any_mapping_would_do_is_said(case: Case) -> None:
    agrees("llamafactory", case)


def test_preference_data_is_not_judged() -> None:
    ranked = mapping_of("r", {"formatting": "sharegpt", "ranking": True, "columns": {"messages": "conversations"}})
    agrees("llamafactory", (spoken("q"), None, "preference"), Settings(mapping=ranked))


def test_text_for_pretraining_is_not_dropped_data() -> None:
    """LLaMA-Factory's own c4_demo names a prompt column alone; whether it is read, the stage says."""
    columns = Mapping_(prompt="text", query=None, response=None, messages=None)
    agrees("llamafactory", ({"text": "Once"}, None, "stage pt"), Settings(mapping=columns))
