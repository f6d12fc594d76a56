"""Records are read again from every kind of file; a wrong one would be judged in another's name."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import NamedTuple

import pytest

from lorachk.facts.records.datafile import data_file
from lorachk.facts.records.fetch import fetch, through
from lorachk.facts.records.reader import Reader

RECORDS = [{"id": number, "text": "é" * number} for number in range(40)]


class Asked(NamedTuple):
    record: int
    offset: int | None


def written(folder: Path, kind: str) -> Path:
    path = folder / kind
    array = json.dumps(RECORDS, ensure_ascii=False, indent=1)
    if kind == "array":
        path.write_text(array, encoding="utf-8")
    elif kind == "bom":
        path.write_text(array, encoding="utf-8-sig")
    elif kind == "utf-16":
        path.write_text(array, encoding="utf-16")
    elif kind == "lines":
        path.write_text("\n".join(json.dumps(r) for r in RECORDS) + "\n", encoding="utf-8")
    elif kind == "gzip":
        path.write_bytes(gzip.compress(array.encode()))
    elif kind == "broken":  # what the reader passes over
        path.write_text(array.replace('"id": 7', '"id": 7,,'), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["array", "bom", "utf-16", "lines", "gzip", "broken"])
@pytest.mark.parametrize("numbers", [[], [0], [39], [3, 4, 5, 20, 39], list(range(40))])
def test_the_records_asked_for_come_back(tmp_path: Path, kind: str, numbers: list[int]) -> None:
    file = data_file(written(tmp_path, kind))
    there = {item.number: (item.offset, item.value) for item in Reader(file)}
    asked = [Asked(number, there[number][0]) for number in numbers if number in there]
    wanted = [(one, there[one.record][1]) for one in asked]
    assert list(fetch(file, asked)) == wanted
    assert list(through(file, iter(asked))) == wanted


def test_a_file_that_changed_gives_what_is_still_there(tmp_path: Path) -> None:
    path = written(tmp_path, "array")
    file = data_file(path)
    asked = [Asked(item.number, item.offset) for item in Reader(file)]
    path.write_text(json.dumps(RECORDS[:5]), encoding="utf-8")
    assert [one.record for one, _ in fetch(data_file(path), asked)][:1] in ([0], [])
