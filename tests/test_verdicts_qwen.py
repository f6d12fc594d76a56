"""Qwen's trainers and VLM-R1: a wrong "kept" hides records that are swapped, or a run that stops."""

from __future__ import annotations

import pytest

from lorachk.facts.records.verdicts import Settings
from tests.verdict_cases import Case, agrees, spoken, turned

QWEN_VL: list[Case] = [
    (spoken("<image>\nq", "a", image="a.jpg"), "kept", None),
    (spoken("<image>\n<image>q", "a", image=["a.jpg", "b.jpg"]), "kept", None),
    (spoken("<video>q", "a", video="v.mp4"), "kept", None),
    (spoken("q", "", image=None), "kept", None),
    (spoken("<image><image>q", "a", image="a.jpg"), "replaced", "placeholders exceeds the number of provided images"),
    (spoken("q", "a", image="a.jpg"), "replaced", "1 image(s) remain unused"),
    (spoken("q", "<image>", image="a.jpg"), "replaced", "remain unused"),  # answers take no image
    (spoken("q", "a", video=["v.mp4"]), "replaced", "1 video(s) remain unused"),
    (spoken(None, "a"), "replaced", "value of turn 0 is null"),
    (spoken("<image>q", "a", image=["a.jpg", None]), "replaced", "image holds null"),
    ({"image": "a.jpg"}, "replaced", "KeyError: 'conversations'"),
    ({"conversations": [{"value": "q"}]}, "replaced", "no from"),
    ("text", "crash", "not an object"),
    (turned(("user", "q"), ("gpt", "a")), "changed", "from of turn 0 is 'user'"),
    (turned(("system", "s"), ("human", "q"), ("gpt", "a")), "changed", "trained as an answer"),
    (spoken("<image>q", "see <image>", image="a.jpg"), "changed", "<image> in answer 1"),
    (spoken("q", 7), "changed", "as it prints"),
    (spoken("assistant, tell me", "a"), "changed", "starts a label"),
    (spoken("You are an\nassistant", "a"), "changed", "starts a label"),
    (spoken("You are an assistant.", "a"), "kept", None),  # with its space it is another token
    (spoken("is it (assistant)?", "a"), None, "only the tokenizer"),
    (spoken("q"), "dropped", "no answer"),
    ([spoken("q", "a")], None, "data_packing"),
]
SERIES: list[Case] = [
    (spoken("<image>\nq", "a", image="a.jpg"), "kept", None),
    (spoken("q", "a"), "kept", None),
    (spoken("<video>q", "a", video="v.mp4"), "kept", None),
    (spoken("q", "a", image="a.jpg"), "crash", "torch.cat()"),
    (spoken("<image>q", "a"), "crash", "no image"),
    (spoken("<image><image>q", "a", image="a.jpg"), "crash", "2 times"),
    (spoken("<image>q", "<image>", image="a.jpg"), "crash", "Image features and image tokens"),
    (spoken("q", "a", "r"), "crash", "IndexError"),
    (spoken("<image>q", "a", image=None), "crash", "image is null"),
    (spoken("q", None), "crash", "value of turn 1 is null"),
    (turned(("system", "s"), ("human", "q"), ("gpt", "a")), "crash", "IndexError"),
    (spoken("<image>q", "a", image=["a.jpg", "b.jpg"]), "changed", "left out"),
    (turned(("gpt", "a"), ("human", "q")), "changed", "from of turn 0 is 'gpt'"),
    ({"conversations": []}, "dropped", "no turns"),
]
CHAT: list[Case] = [
    (turned(("user", "Picture 1: <img>a.jpg</img>\nq"), ("assistant", "a")), "kept", None),
    (turned(("user", "q"), ("user", "r"), ("assistant", "")), "kept", None),
    (turned(("user", "<img>a.jpg q"), ("assistant", "a")), "crash", "Unclosed image token"),
    (spoken("q", "a"), "crash", "KeyError: from of turn 0 is 'human'"),
    (turned(("user", None), ("assistant", "a")), "crash", "value of turn 0 is null"),
    (turned(("user", "<image>q"), ("assistant", "a")), "changed", "<img>path</img>"),
    (turned(("user", "q"), ("assistant", "a"), image="a.jpg"), "changed", "image is not read"),
    (turned(("assistant", "hello"), ("user", "q"), ("assistant", "a")), "changed", "left out"),
    (turned(("user", "q")), "changed", "no answer"),
]
VLM_R1: list[Case] = [
    (spoken("<image>Where?", "[1, 2, 3, 4]", image="a.jpg"), "kept", None),
    (spoken("Where?", 0.5, image=["a.jpg"]), "kept", None),  # images come first, whatever the text says
    (spoken("q", "a", image=None), "crash", "Unsupported image type"),
    (spoken("q", "a", image=[7]), "crash", "os.path.join"),
    (spoken("q", image="a.jpg"), "crash", "fewer than two turns"),
    (spoken(None, "a", image="a.jpg"), "crash", "value of turn 0 is null"),
    ({"image": "a.jpg"}, "crash", "KeyError: 'conversations'"),
    (spoken("q", "a", "r", "b", image="a.jpg"), "changed", "not read"),
    (spoken("<image>q", "a"), "changed", "there is no image"),
    (turned(("gpt", "q"), ("human", "a"), image="a.jpg"), "changed", "from gpt"),
    (spoken("q", "a", image=["a.jpg", "b.jpg"]), None, "more than one image"),
    (spoken("q", "a"), None, "with and without an image"),
]


@pytest.mark.parametrize("case", QWEN_VL)
def test_qwen_vl(case: Case) -> None:
    agrees("qwen-vl", case)


@pytest.mark.parametrize("case", SERIES)
def test_qwen_vl_series(case: Case) -> None:
    agrees("qwen-vl-series", case)


@pytest.mark.parametrize("case", CHAT)
def test_qwen_vl_chat(case: Case) -> None:
    agrees("qwen-vl-chat", case)


@pytest.mark.parametrize("case", VLM_R1)
def test_vlm_r1(case: Case) -> None:
    agrees("vlm-r1", case)


def test_vlm_r1_several_images_break_qwen_and_not_internvl() -> None:
    record = spoken("q", "a", image=["a.jpg", "b.jpg"])
    agrees("vlm-r1", (record, "crash", "additional_output"), Settings(family="qwen2_5_vl"))
    agrees("vlm-r1", (record, "kept", None), Settings(family="internvl"))
