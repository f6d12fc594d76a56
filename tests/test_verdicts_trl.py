"""TRL and axolotl leave most to the model's chat template: what it alone decides must not pass as kept."""

from __future__ import annotations

import pytest

from lorachk.facts.records.verdicts import Settings
from tests.verdict_cases import Case, agrees, messages, said, spoken, turned

SLOT = {"type": "image"}
ASK = {"type": "text", "text": "q"}
TRL: list[Case] = [
    (said([SLOT, ASK], [ASK], images=["a.jpg"]), "kept", None),
    (said("q", "a", images=["a.jpg", "b.jpg"]), "kept", None),  # put in front of the first question
    (said("q", "a", image="a.jpg"), "kept", None),
    (said([{"type": "image", "image": "a.jpg"}, ASK], "a", images=[]), "kept", None),
    (said([SLOT, ASK], "a", images=["a.jpg", "b.jpg"]), "crash", "provided (2) does not match"),
    (said([SLOT, SLOT, ASK], "a", images=["a.jpg"]), "crash", "placeholders (2)"),
    (messages(("human", "q"), ("gpt", "a"), images=[]), "crash", "Invalid role in message: 'human'"),
    (said("q", "a", images="a.jpg"), "crash", "images is text"),
    ({"messages": [{"role": "user"}], "images": []}, "crash", "no content"),
    (said([{"text": "q"}], "a", images=[]), "crash", "neither text nor a list of parts"),
    (spoken("<image>q", "a", image="a.jpg"), "crash", "Unexpected input keys"),
    ({"prompt": [{"role": "user", "content": "q"}], "completion": [], "images": ["a.jpg"]}, "kept", None),
    (said("<image>q", "a", images=["a.jpg"]), None, "only the processor can tell"),
    (said([{"type": "image_url", "image_url": {"url": "a"}}], "a", images=[]), None, "parts of message 0"),
    (said("q", "a"), "kept", None),
    (spoken("q", "a"), None, "'human'"),  # renamed keys, the same roles: the template decides
    (messages(("system", "s"), ("user", "q"), ("assistant", "a")), "kept", None),
    (messages(("user", "q"), ("user", "r")), None, "out of turn"),
    ({"text": "t"}, "kept", None),
    ({"text": None}, "crash", "text is null"),
    ({"prompt": "q", "completion": "a"}, "kept", None),
    ({"prompt": "q"}, "crash", "KeyError: 'completion'"),
    ({"prompt": "q", "completion": ["a"]}, "crash", "TypeError"),
    ({"id": 1}, "crash", "KeyError: 'text'"),
    ({"messages": []}, "crash", "IndexError"),
]
AXOLOTL: list[Case] = [
    (said([{"type": "image", "path": "a.jpg"}, ASK], "a"), "kept", None),
    (said([SLOT, ASK], "a", images=["a.jpg"]), "kept", None),
    (spoken("q", "a", images=["a.jpg"]), "kept", None),
    (said("q", "a", images=["a.jpg", "b.jpg"]), "changed", "Using the first one"),
    (said("q", None, images=["a.jpg"]), "changed", "message 1 is left out"),
    (said("q", "a", images="a.jpg"), "crash", "first character"),
    (said("q", "a", images=[]), "crash", "IndexError"),
    (said([SLOT, SLOT], "a", images=["a.jpg"]), "crash", "2 image parts"),
    ({"messages": [{"content": "q"}], "images": ["a.jpg"]}, "crash", "KeyError: message 0 has no role"),
    (spoken("<image>q", "a", images=["a.jpg"]), None, "only the processor"),
    (said("q", "a"), "kept", None),
    (messages(("human", "q"), ("gpt", "a")), "kept", None),
    (said("q"), None, "no answer"),
    (turned(("human", "q"), ("gpt", "a")), None, "message_property_mappings"),
    ({"instruction": "q", "output": "a"}, None, "field_messages"),
]


@pytest.mark.parametrize("case", TRL)
def test_trl(case: Case) -> None:
    agrees("trl", case)


def test_trl_refuses_images_for_a_text_model() -> None:
    agrees("trl", (said("q", "a", images=["a.jpg"]), "crash", "vision-related"), Settings(multimodal=False))


@pytest.mark.parametrize("case", AXOLOTL)
def test_axolotl(case: Case) -> None:
    agrees("axolotl", case)
