"""Places in a report are those a person finds in the file, to the column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.facts.records.locate import Spot, Start, locate
from lorachk.facts.records.reader import Reader

RECORDS = [
    {"id": "é", "image": "a.png", "conversations": [{"role": "user", "content": "hé"}, {"role": "x", "content": "é"}]},
    {
        "id": 2,
        "images": ["a", "b"],
        "messages": [{"role": "user", "content": "x" * 70_000}, {"role": "y", "content": ""}],
    },
]


def starts(path: Path) -> list[Start]:
    return [Start(str(path), item.offset, item.line, item.pointer) for item in Reader(path)]


@pytest.mark.parametrize("indent", [None, 0, 1, 4])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_turns_and_images_of_an_array(tmp_path: Path, indent: int | None, mark: bytes) -> None:
    text = json.dumps(RECORDS, indent=indent, ensure_ascii=False)
    (tmp_path / "t.json").write_bytes(mark + text.encode())
    first, second = starts(tmp_path / "t.json")
    lines = text.split("\n")

    def at(spot: Spot) -> str:
        assert spot.line is not None
        assert spot.col is not None
        return lines[spot.line - 1][spot.col - 1 :]

    found = locate(first, turn=1)
    assert found.pointer == "/0/conversations/1"
    assert at(found).startswith("{")
    assert at(locate(first, inner="/image")).startswith('"a.png"')
    assert at(locate(second, inner="/images/1")).startswith('"b"')
    last = locate(second, turn=1)
    assert last.pointer == "/1/messages/1"
    # in one line the column is only told where the line's start is near
    assert last.col is None or at(last).startswith("{")


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    first, second = starts(tmp_path / "t.jsonl")
    assert locate(first, turn=0)[0::2] == (1, "/conversations/0")
    assert locate(second, inner="/images/0")[0::2] == (2, "/images/0")


@pytest.mark.parametrize(
    "start",
    [
        Start("/nowhere/x.json", 5, 7, "/3"),
        Start(__file__, 4, 7, "/3"),  # no JSON there any more
        Start("x.parquet", None, 7, "/3"),
    ],
)
def test_what_cannot_be_read_any_more_is_placed_at_the_record(start: Any) -> None:
    assert locate(start, turn=1) == Spot(7, None, "/3")
