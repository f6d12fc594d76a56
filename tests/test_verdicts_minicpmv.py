"""The fate of a record in MiniCPM-V's loader: a wrong "kept" is a record that silently is never trained."""

from __future__ import annotations

from typing import Any

import pytest

from lorachk.facts.records.verdicts.minicpmv import Length, Picture, verdict

FINE = Picture(True, None, 3)


def turns(*texts: Any) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def one(*texts: Any, **more: Any) -> dict[str, Any]:
    return {"image": "a.jpg", "conversations": turns(*texts), **more}


def two(*texts: str) -> dict[str, Any]:
    return {"image": {"<image_00>": "a.jpg", "<image_01>": "b.jpg"}, "conversations": turns(*texts)}


# Verdicts follow the loader's own preprocess() at 0dbb566; the two were compared on random records of these kinds.
TABLE = [
    (one("<image>\nq", "a"), "kept", None),
    (one("q", "a"), "kept", None),
    ({"image": {}, "conversations": turns("q", "a")}, "kept", None),
    ({"image": {"<image>": "a.jpg"}, "conversations": turns("<image>q", "a")}, "kept", None),
    (two("<image_00><image_01>q", "a"), "kept", None),
    (one("q", "a", "q", ""), "kept", None),
    ([], "replaced", "not an object"),
    ({"conversations": turns("q", "a")}, "replaced", "no image"),
    (one("q", "a", image=None), "replaced", "image is null"),
    (one("q", "a", image=["a.jpg"]), "replaced", "image is a list"),
    ({"image": "a.jpg"}, "replaced", "KeyError: 'conversations'"),
    (one("q"), "replaced", "fewer than two turns"),
    (one("q", "a", conversations="q"), "replaced", "not a list"),
    (one("q", "a", conversations=[{"role": "system", "content": "s"}, *turns("q", "a")]), "replaced", "first role"),
    (one("q", "a", conversations=[*turns("q", "a"), {"role": "tool", "content": "s"}]), "replaced", "neither user nor"),
    (one("q", "a", conversations=turns("q", "a")[:1] * 2), "replaced", "no answer"),
    (one("q", None), "replaced", "content of turn 1 is not text"),
    (one("q", ""), "replaced", "no answer"),
    (one("<image>q", "a", "<image>r", "b"), "replaced", "<image> after the first turn"),
    (one("<image>q", "</image>"), "replaced", "markers"),
    (one("<image>q", "<slice>"), "replaced", "markers"),
    (two("<image_00><image_02>", "a"), "replaced", "not found <image_02>"),
    (two("<image><image_00><image_01>", "a"), "replaced", "markers"),
    (one("<image><image>q", "a"), "crash", "2 times"),
    (one("<image>q", "<image></image>"), "crash", "pair"),
    (two("<image_00><image_01><image_00>", "a"), "crash", "more than once"),
    (two("<image_01><image_00>", "a"), "changed", "swapped"),
    (two("<image_00>", "a"), "changed", "<image_01> is never used"),
    (two("q", "a"), "changed", "text only"),
    (two("<image_00><image_00>", "a"), "changed", "more than once"),
    (one("q", "", "r", "b"), "changed", "answer 1 is empty"),
    (one("q", "<|im_end|>"), "changed", "<|im_end|>"),
]


@pytest.mark.parametrize(("record", "kind", "reason"), TABLE)
def test_table(record: Any, kind: str, reason: str | None) -> None:
    image = record.get("image") if isinstance(record, dict) else None
    found = verdict(record, [FINE] * (len(image) if isinstance(image, dict) else 1))
    assert found.kind == kind
    assert (found.reason is None) if reason is None else (reason in (found.reason or ""))


def test_llama3_takes_any_role_but_trains_only_assistant() -> None:
    record = one("q", "a", conversations=[*turns("q", "a"), {"role": "system", "content": "s"}])
    assert verdict(record, [FINE], "llama3").kind == "kept"
    record["conversations"][2]["role"] = "gpt"
    assert verdict(record, [FINE], "llama3").kind == "changed"
    assert verdict(record, [FINE], "qwen").kind == "replaced"


def test_llama3_trims_so_a_blank_answer_is_empty() -> None:
    assert verdict(one("q", " "), [FINE], "llama3").kind == "replaced"
    assert verdict(one("q", " "), [FINE], "qwen").kind == "kept"


def test_an_image_that_does_not_open_is_the_first_reason() -> None:
    found = verdict(one("q", "a", conversations=None), [Picture(False, "no such file")])
    assert found == ("replaced", "no such file")


@pytest.mark.parametrize(
    ("total", "before", "later", "kind"),
    [
        ((10, 90), (5, 50), False, "kept"),  # surely fits
        ((101, 200), (5, 99), False, "changed"),  # surely cut, in the answer
        ((150, 200), (100, 180), False, "replaced"),  # the question fills the limit
        ((50, 200), (5, 50), False, None),  # may fit
        ((101, 200), (5, 150), False, None),  # surely cut, perhaps before the answer
        ((101, 200), (5, 99), True, None),  # surely cut, perhaps inside a later image
    ],
)
def test_the_token_limit(total: tuple[int, int], before: tuple[int, int], later: bool, kind: str | None) -> None:
    assert verdict(one("q", "a"), [FINE], length=Length(100, total, before, later)).kind == kind
