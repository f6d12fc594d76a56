"""Boxes in texts: one that is overlooked goes unchecked, a citation taken for one is a false alarm."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorachk.facts.records.boxes import Box, boxes


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("The cat <box>10 20 300 400</box> sleeps.", "box-tag"),
        ("<ref>cat</ref><box>[[10, 20, 300, 400]]</box>", "box-tag"),
        ("<ref>cat</ref><box>(10,20),(300,400)</box>", "qwen-box"),
        ("<|object_ref_start|>cat<|object_ref_end|><|box_start|>(10,20),(300,400)<|box_end|>", "qwen-box"),
        ('```json\n[{"bbox_2d": [10, 20, 300, 400], "label": "cat"}]\n```', "bbox-key"),
        ("{'bbox': [10, 20, 300, 400]}", "bbox-key"),
        ("[10, 20, 300, 400]", "list"),
        (" [10.0, 20.0, 300.0, 400.0]\n", "list"),
    ],
)
def test_every_spelling(text: str, form: str) -> None:
    assert boxes(text) == [Box(10, 20, 300, 400, form)]


def test_several() -> None:
    text = "<box>1 2 3 4</box> and <box>[[5, 6, 7, 8], [9, 10, 11, 12]]</box>"
    assert [(b.x1, b.y2) for b in boxes(text)] == [(1, 4), (5, 8), (9, 12)]


@pytest.mark.parametrize(
    "text",
    [
        "As shown in [1], [2] and [1, 2, 3].",
        "See [1, 2, 3, 4] for a survey.",
        "[1, 2, 3]",
        "[1, 2, 3, 4, 5]",
        "[[1, 2, 3, 4]]",
        "[a, b, c, d]",
        "<box>the cat</box>",
        "A box is written <box></box>.",
        "",
    ],
)
def test_what_is_no_box(text: str) -> None:
    assert boxes(text) == []


@settings(max_examples=300, deadline=500)
@given(st.text(alphabet="<box>/|_startend()[]0123456789., -\"':{}bbox_2d\n", max_size=400))
def test_any_text_is_read_quickly(text: str) -> None:
    for box in boxes(text):
        assert all(value == value for value in box[:4])


def test_hostile_texts_take_no_time() -> None:
    """Backtracking over a long run of digits or blanks would take hours."""
    for piece in ("<box>" + "1 " * 900, "bbox: [" + " " * 50_000, "[" + "1" * 50_000, "<box>(1,2),(" * 5000):
        assert boxes(piece) == []
