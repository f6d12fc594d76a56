"""ms-swift deletes what it cannot preprocess and redraws what it cannot encode: both without an index."""

from __future__ import annotations

import pytest

from lorachk.facts.records.verdicts import Settings
from tests.verdict_cases import Case, agrees, messages, said, spoken, turned

PART = {"type": "image", "image": "a.jpg"}
ASK = {"type": "text", "text": "q"}
SWIFT: list[Case] = [
    (said("<image>q", "a", images=["a.jpg"]), "kept", None),
    (said("q", "a", images=["a.jpg", "b.jpg"]), "kept", None),  # tags are put in front
    (said([PART, ASK], "a"), "kept", None),
    (spoken("<image>q", "a", image="a.jpg"), "kept", None),
    (messages(("system", "s"), ("user", "q"), ("assistant", "a")), "kept", None),
    ({"query": "q", "response": "a", "history": [["r", "b"]]}, "kept", None),
    ({"instruction": "q", "input": "", "output": "a"}, "kept", None),
    ({"prompt": "q", "completion": "a"}, "kept", None),
    ({"text": "a"}, "kept", None),
    ({"messages": [{"user": "q", "assistant": "a"}]}, "kept", None),
    (said("q", "a", objects={"ref": [], "bbox": [[1, 2, 3, 4]]}), "kept", None),
    ({"messages": []}, "dropped", "without a word"),
    ({"id": 1}, "dropped", "neither a question nor an answer"),
    (messages(("developer", "s"), ("user", "q"), ("assistant", "a")), "dropped", "'developer'"),
    (said("q", None), "dropped", "content of turn 1 is missing or null"),
    (said("q"), "dropped", "no answer"),
    ({"instruction": None, "input": None, "output": "a"}, "dropped", "AssertionError"),
    (said("q", "a", objects={"bbox": [[1, 2, 3]]}), "dropped", "len(box): 3"),
    (said("q", "a", objects={}), "dropped", "KeyError: 'bbox'"),
    (said([PART, ASK], "a", images=["a.jpg"]), "replaced", "both in the parts and in images"),
    (said("q", 7), "replaced", "content of turn 1 is neither text"),
    (messages(("user", "q"), ("system", "s"), ("assistant", "a")), "replaced", 'query_role: "system"'),
    (messages(("system", "s")), "replaced", "nothing but a system turn"),
    (said("<image><image>q", "a", images=["a.jpg"]), "changed", "the rest is trained as text"),
    (said("<image>q", "a", images=["a.jpg", "b.jpg"]), "changed", "shifts the images"),
    (said("<image>q", "a"), "changed", "trained as text"),
    (turned(("human", "q"), ("human", "r"), ("gpt", "a")), "changed", "two turns of user in a row become one"),
    (messages(("user", "q"), ("tool_call", "{}"), ("tool", "t"), ("assistant", "a")), None, "agent template"),
    (said("q", "a", rejected_response="b"), None, "preference"),
    (said("<img>a.jpg</img>q", "a"), None, "where the file exists"),
    (7, "crash", "datasets"),
]


@pytest.mark.parametrize("case", SWIFT)
def test_table(case: Case) -> None:
    agrees("ms-swift", case)


def test_an_image_that_is_no_path_is_redrawn() -> None:
    agrees("ms-swift", (said("<image>q", "a", images=["a.jpg", None]), "replaced", "images holds null"))


def test_a_text_model_encodes_before_training_and_deletes() -> None:
    agrees("ms-swift", (said("q", 7), "dropped", "content of turn 1"), Settings(multimodal=False))
