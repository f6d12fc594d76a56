"""The quick way through a part of a file gives the same columns as the general way, record by record."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lorachk.facts.encoding.turntokens import Around, Counting
from lorachk.facts.records.dialects.model import SPEAKERS
from lorachk.facts.records.item import Item
from lorachk.facts.records.layout import layout
from lorachk.facts.records.parts import start_of
from lorachk.facts.records.tabulate import TURN, Plan, Tabulator
from lorachk.facts.records.typed import Typed
from lorachk.facts.records.verdicts import _MODULES as TRAINERS
from lorachk.facts.records.verdicts import Settings

COUNTING = Counting(
    str(Path(__file__).parents[1] / "fixtures" / "models" / "qwen2-tiny"),
    {"user": Around(), "assistant": Around(True, "\n"), "system": Around(after="."), "": Around()},
)
PLAN = Plan(None, None, Settings(), None, ("/nowhere",))
_words = st.text(st.sampled_from('a é<[]"\\\n:{},1字') | st.sampled_from(string.printable), max_size=30)
_texts = _words | st.sampled_from(
    [
        "q",
        "the assistant",
        "USER: a ASSISTANT: b",
        "<image>\nq",
        "<image><image>",
        "a <|im_end|>",
        "[1, 2, 3, 4]",
        "<box>1 2 3 4</box>",
        "",
        " ",
        "<video>",
        "</img>",
    ]
)
_extra = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _words
# What loaders may look at.
READ = ["rejected_response", "label", "question", "answer", "loss", "channel", "tools", "objects", "audio", "bbox"]
_extras = st.dictionaries(
    st.sampled_from(["id", "source", "n/m", "w~", "system", "video", "deep", *READ]),
    _extra | st.lists(_extra, max_size=3) | st.dictionaries(_words, _extra, max_size=3),
    max_size=3,
)


@st.composite
def records(draw: Any) -> list[dict[str, Any]]:
    member = draw(st.sampled_from(["messages", "conversations"]))
    messages = member == "messages" or draw(st.booleans())
    role, content = ("role", "content") if messages else ("from", "value")
    names = ["user", "assistant", "system", "tool", "x"] if messages else ["human", "gpt", "system", "x", "user"]
    turn = st.fixed_dictionaries({role: st.sampled_from(names), content: _texts})
    made = []
    for number in range(draw(st.integers(1, 6))):
        record: dict[str, Any] = {"id": number, **draw(_extras)}
        if draw(st.booleans()):
            record["image"] = draw(
                st.sampled_from(["a.jpg", "b/c.png", "", "http://x/y.png", "data:image/png;base64,AA"])
            )
        turns = draw(st.lists(turn, min_size=draw(st.integers(0, 1)), max_size=4))
        if draw(st.booleans()):  # as loaders want them
            for at, one in enumerate(turns):
                one[role] = names[at % 2]
        made.append({**record, member: turns})
    return made


def added(typed: Typed, body: bytes, *, lines: bool = False) -> int | None:
    """All records of a part, as one group."""
    (group,) = typed.groups(body)
    return typed.add(body, group, lines=lines)


def _columns(tabulator: Tabulator) -> dict[str, dict[str, list[Any]]]:
    found = {}
    for _, part, columns in tabulator.tables.named():
        found[part] = {
            name: [list(v) if isinstance(v, tuple) else v for v in values] for name, values in columns.lists.items()
        }
    tables = tabulator.tables
    if len(tables.patterned):
        found["turn"] = _unfolded(tabulator, found.get("turn", {}))
    if "turn" in found:
        order = sorted(
            range(len(found["turn"]["record"])), key=lambda i: (found["turn"]["record"][i], found["turn"]["turn"][i])
        )
        found["turn"] = {name: [values[i] for i in order] for name, values in found["turn"].items()}
    found["fields"] = {"rows": sorted(tabulator.fields.rows())}
    return found


def _unfolded(tabulator: Tabulator, flat: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Turns told by patterns, as rows beside the others."""
    tables = tabulator.tables
    rows = {name: list(flat.get(name, [])) for name in TURN}
    patterns = list(tables.patterns)
    lists = tables.patterned.lists
    counted = lists["tokens"] or [[None] * len(sizes) for sizes in lists["bytes"]]
    of_records = (lists["record"], lists["pattern"], lists["characters"], lists["bytes"], counted)
    for record, pattern, characters, sizes, tokens in zip(*of_records, strict=True):
        roles, places = patterns[pattern]
        speakers = [SPEAKERS.get(role) for role in roles]
        for turn, role in enumerate(roles):
            previous = speakers[turn - 1] if turn else None
            count, placed = next(((c, p) for t, c, p in places if t == turn), (0, None))
            row = (
                record,
                turn,
                role,
                speakers[turn],
                previous,
                "string",
                characters[turn],
                sizes[turn],
                False,
                count,
                [],
                [],
                placed,
                tokens[turn],
            )
            for name, value in zip(TURN, row, strict=True):
                rows[name].append(value)
    return rows


def _generally(made: list[dict[str, Any]], texts: list[str], gap: str, plan: Plan) -> Tabulator:
    items, at, line = [], 0, 1
    for number, (value, text) in enumerate(zip(made, texts, strict=True)):
        items.append(
            Item(
                value,
                text.encode(),
                number,
                line,
                f"/{number}",
                len(gap.join(texts[:number]).encode()) + (len(gap) if number else 0),
            )
        )
        line += text.count("\n") + gap.count("\n")
    tabulator = Tabulator(plan)
    tabulator.add(items)
    del at
    return tabulator


@given(
    records(),
    st.sampled_from([None, 1]),
    st.sampled_from([None, COUNTING]),
    st.sampled_from([None, *TRAINERS]),
    st.sampled_from([Settings(), Settings("llama3", "v1", True, "llava"), Settings(family="text", multimodal=False)]),
)
@settings(max_examples=1200, deadline=None)
@example(
    [{"conversations": [{"from": "human", "value": "[1, 2, 3, 4]"}, {"from": "gpt", "value": "<box>1 2 3 4</box>"}]}],
    None,
    None,
    None,
    Settings(),
)
@example(
    [{"id": 0, "image": "data:,x", "conversations": [{"from": "human", "value": "<image>"}]}], 1, None, None, Settings()
)
def test_the_quick_way_is_the_general_way(
    made: list[dict[str, Any]], indent: int | None, counting: Counting | None, trainer: str | None, given: Settings
) -> None:
    texts = [json.dumps(r, indent=indent, ensure_ascii=False) for r in made]
    gap = ",\n" if indent else ", "
    usual = layout(made, start_of(texts[0].encode()))
    if usual is None:
        return
    plan = PLAN._replace(counting=counting, trainer=trainer, settings=given)
    quick = Tabulator(plan)
    count = added(Typed(usual, quick), gap.join(texts).encode())
    if count is None:
        assert not quick.tables.named()
        return
    assert count == len(made)
    assert _columns(quick) == _columns(_generally(made, texts, gap, plan))


@pytest.mark.parametrize(
    "twice",
    [
        '{"id": 1, "id": 2, "conversations": [{"from": "human", "value": "a"}]}',
        '{"id": 1, "conversations": [{"from": "human", "value": "a", "value": "b"}]}',
        '{"id": {"a": 1, "a": 2}, "conversations": [{"from": "human", "value": "\\": \\":"}]}',
    ],
)
def test_a_key_that_stands_twice_is_found_the_quick_way(twice: str) -> None:
    plain = '{"id": 1, "conversations": [{"from": "human", "value": "a \\": b"}]}'
    usual = layout([json.loads(plain)], start_of(plain.encode()))
    assert usual is not None
    tabulator = Tabulator(PLAN)
    assert added(Typed(usual, tabulator), f"{plain},{twice},{plain}".encode()) == 3
    assert [bool(k) for k in tabulator.tables.record.lists["repeated_key"]] == [False, True, False]


def test_lines_are_read_the_quick_way(tmp_path: Path) -> None:
    lines = [json.dumps({"messages": [{"role": "user", "content": f"q{i}"}], "n": i}) for i in range(5)]
    usual = layout([json.loads(line) for line in lines], start_of(lines[0].encode()))
    assert usual is not None
    tabulator = Tabulator(PLAN)
    assert added(Typed(usual, tabulator), "\n".join(lines).encode() + b"\n", lines=True) == 5
    assert tabulator.tables.record.lists["line"] == [1, 2, 3, 4, 5]
