"""LLaVA, FastChat and InternVL: a wrong "kept" is a run that stops after hours, or a record that is never trained."""

from __future__ import annotations

import pytest

from lorachk.facts.records.verdicts import Settings
from tests.verdict_cases import Case, agrees, spoken, turned

LLAVA: list[Case] = [
    (spoken("<image>\nq", "a", image="a.jpg"), "kept", None),
    (spoken("q\n<image>", "a", "q", "b", image="a.jpg"), "kept", None),
    (spoken("q", "a"), "kept", None),
    ([], "crash", "not an object"),
    ({"image": "a.jpg"}, "crash", "KeyError: 'conversations'"),
    ({"conversations": []}, "crash", "IndexError"),
    (spoken("<image>q", "a", image=None), "crash", "os.path.join"),
    (spoken("<image>q", "a", image=["a.jpg"]), "crash", "os.path.join"),
    (spoken("<image>q", None, image="a.jpg"), "crash", "value of turn 1 is null"),
    (turned(("user", "q"), ("assistant", "a")), "crash", "KeyError: from of turn 0 is 'user'"),
    (turned(("system", "s"), ("human", "q"), ("gpt", "a")), "crash", "KeyError: from of turn 0"),
    (turned(("human", "q"), ("human", "q")), "crash", "AssertionError"),
    (spoken("<image>q", "a", "<image>r", "b", image="a.jpg"), "crash", "<image> stands in 2 turns"),
    (spoken("q", "a", image="a.jpg"), "changed", "image is left out"),
    (spoken("<image>q", "a"), "changed", "trained as text"),
    (spoken("<image><image>q", "a", image="a.jpg"), "changed", "become one"),
    (turned(("gpt", "hello"), ("human", "q"), ("gpt", "a")), "changed", "left out"),
    (spoken("q", "", "r", "b"), "changed", "answer 1 is empty"),
    (spoken("q", "a", "r"), "dropped", "tokenization mismatch"),
    (spoken("q", ""), "dropped", "tokenization mismatch"),
    (spoken("", "a"), "dropped", "tokenization mismatch"),
    (spoken("q", "a</s>b"), "dropped", "template's own marks"),
    (spoken("what is ASSISTANT: here", "a"), "dropped", "template's own marks"),
    (spoken("q", "ASSISTANT: a"), "kept", None),  # only the first mark of a round is found
]
PLAIN: list[Case] = [
    (spoken("Describe.\n<image>", "a cat", image="a.jpg"), "kept", None),
    (spoken("Describe.", "a cat", image="a.jpg"), "crash", "needs <image>"),
    (spoken("<image>", "a", "q", "b", image="a.jpg"), "crash", "exactly two turns"),
]
FASTCHAT: list[Case] = [
    (spoken("q", "a"), "kept", None),
    (spoken("<image>q", "a", image="a.jpg"), "changed", "text only"),
    (spoken("q", 7), "crash", "value of turn 1 is a number"),
    (spoken("q", None), "dropped", "the last answer is empty"),
    (turned(("human", "q"), ("assistant", "a")), "crash", "KeyError"),
    ({"messages": []}, "crash", "KeyError: 'conversations'"),
]
INTERNVL: list[Case] = [
    (spoken("<image>\nq", "a", image="a.jpg"), "kept", None),
    (spoken("q", "a", image="a.jpg"), "kept", None),  # the placeholder is put in front
    (spoken("<image><image>q", "a", image=["a.jpg", "b.jpg"]), "kept", None),
    (spoken("q", "a", image=""), "kept", None),
    (turned(("system", "s"), ("human", "<image>q"), ("gpt", "a"), image=["a.jpg"]), "kept", None),
    (spoken("<image>q", "a", image=None), "crash", "AttributeError"),
    (spoken("<image>q", "a", image=["a.jpg", 7]), "crash", "TypeError"),
    (7, "crash", "not an object"),
    (spoken("<image>q", "a", image=["a.jpg", "b.jpg"]), "replaced", "1 != 2"),
    (turned(("system", "s"), ("human", "q"), ("gpt", "a"), image="a.jpg"), "replaced", "0 != 1"),
    (turned(("user", "q"), ("gpt", "a")), "replaced", "NotImplementedError"),
    (spoken("<image>q", "</img>", image="a.jpg"), "replaced", "truncated"),
    ({"image": "a.jpg"}, "replaced", "KeyError: 'conversations'"),
    (spoken("<image><image>q", "a", image="a.jpg"), "changed", "2 times"),
    (spoken("q", None), "changed", "as it prints"),
    (spoken("q"), "dropped", "no answer"),
    ({"video": "v.mp4", **spoken("<video>q", "a")}, None, "petrel_client"),
]


@pytest.mark.parametrize("case", LLAVA)
def test_llava(case: Case) -> None:
    agrees("llava", case)


@pytest.mark.parametrize("case", PLAIN)
def test_llava_pretraining(case: Case) -> None:
    agrees("llava", case, Settings(template="plain"))


def test_llava_templates_that_were_not_compared_do_not_count_as_kept() -> None:
    agrees("llava", (spoken("q", ""), None, "mpt"), Settings(template="mpt"))
    agrees("llava", (spoken("q", "a"), None, "llava_v0"), Settings(template="llava_v0"))


@pytest.mark.parametrize("case", FASTCHAT)
def test_fastchat(case: Case) -> None:
    agrees("fastchat", case)


@pytest.mark.parametrize("case", INTERNVL)
def test_internvl(case: Case) -> None:
    agrees("internvl", case, Settings(template="internvl2_5"))


def test_internvl_older_templates_want_human_and_gpt_in_turn() -> None:
    record = turned(("human", "q"), ("human", "r"), ("gpt", "a"))
    agrees("internvl", (record, "kept", None), Settings(template="internvl2_5"))
    agrees("internvl", (record, "replaced", "AssertionError"), Settings(template="Hermes-2"))
    agrees("internvl", (record, None, "--conv_style"))  # which of them: not known
