"""Escaping: what is spelled out, and what must stay as it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lorachk.report.escape import markdown, markdown_cell, no_commands, paragraphs, sentence, visible


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("data/train.json", "data/train.json"),
        ("データ/学習.json", "データ/学習.json"),
        (r"C:\data", r"C:\data"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\x9bb", r"a\x9bb"),
        ("a\u202eb", r"a\u202eb"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("\ufffe", r"\ufffe"),
    ],
)
def test_visible(text: str, seen: str) -> None:
    assert visible(text) == seen


def test_sentence_is_one_line() -> None:
    assert sentence(" first\r\n  second\u2028third ") == "first second third"


def test_paragraphs_keep_their_lines() -> None:
    assert paragraphs("first\r\nse\x1bcond") == "first\nse\\x1bcond"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("  ::error::x", "  : :error::x"),
        ("\x1b[1m::error::x", "\x1b[1m: :error::x"),
        ("a\n::warning ::x", "a\n: :warning ::x"),
        ("x ##[add-path]/tmp", "x # #[add-path]/tmp"),
        ("x ##vso[a]", "x # #vso[a]"),
        ("std::vector ## heading", "std::vector ## heading"),
    ],
)
def test_no_commands(text: str, safe: str) -> None:
    assert no_commands(text) == safe


_MARKDOWN = st.text(max_size=20) | st.text(alphabet="ab 1.)`*_[]()<>&|~#@:/\\-+=!w\n", max_size=40)


@settings(deadline=None)
@given(_MARKDOWN)
def test_markdown_is_literal(text: str) -> None:
    """A real Markdown parser must find one paragraph of text and code, and in it the very characters."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(markdown(text))
    if not sentence(text):
        return
    assert [t.type for t in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    children = tokens[1].children or []
    assert {c.type for c in children} <= {"text", "code_inline"}
    read = "".join(c.content for c in children).replace("`", "")
    assert read.split() == sentence(text).replace("`", "").split()


@settings(deadline=None)
@given(_MARKDOWN)
def test_cells_stay_cells(text: str) -> None:
    """A "|" in a reason would shift the columns of the memory table."""
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(f"| a | b |\n| --- | --- |\n| {markdown_cell(text)} | end |\n")
    cells = [tokens[i + 1] for i, t in enumerate(tokens) if t.type == "td_open"]
    assert cells[1].content == "end"
    assert {c.type for c in cells[0].children or []} <= {"text"}
