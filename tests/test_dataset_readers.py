"""Dataset readers: a traceback, a hang or a lost record here hides everything else that is wrong with a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.facts.records.item import Item
from lorachk.facts.records.reader import Reader
from lorachk.facts.records.repair import repair

quiet = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
text = st.text(st.characters(codec="utf-8"), max_size=12)
record = st.fixed_dictionaries(
    {"id": text},
    optional={
        "image": text,
        "conversations": st.lists(st.fixed_dictionaries({"role": text, "content": text}), max_size=3),
        "n": st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none()),
    },
)


def read(path: Path, data: bytes | str, block: int = 1 << 20) -> tuple[Reader, list[Item]]:
    path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    reader = Reader(path, block=block)  # in small blocks records lie across them
    return reader, list(reader)


def values(items: list[Item]) -> list[Any]:
    return [item.value for item in items]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("read") / "x.json"


@quiet
@given(
    st.lists(record, min_size=1, max_size=6),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
    st.sampled_from([5, 64, 1 << 20]),
)
def test_an_array_reads_as_json_loads_does(
    file: Path, records: list[Any], indent: Any, ascii_: bool, block: int
) -> None:
    data = json.dumps(records, indent=indent, ensure_ascii=ascii_)
    reader, items = read(file, data, block)
    assert values(items) == records
    assert reader.fault is None
    assert reader.container == "array"
    lines = data.encode().split(b"\n")
    for item in items:
        assert lines[item.line - 1].lstrip().startswith((b"{", b"["))
        assert item.pointer == f"/{item.number}"


@quiet
@given(st.lists(record, min_size=2, max_size=6), st.booleans())
def test_lines_read_as_json_loads_does(file: Path, records: list[Any], ascii_: bool) -> None:
    reader, items = read(file, "\n".join(json.dumps(r, ensure_ascii=ascii_) for r in records))
    assert values(items) == records
    assert (reader.container, reader.fault) == ("lines", None)
    assert [item.line for item in items] == list(range(1, len(records) + 1))


@quiet
@given(st.lists(record, max_size=4), st.data())
def test_mutilated_files_never_raise_and_are_reported(file: Path, records: list[Any], data: st.DataObject) -> None:
    whole = json.dumps(records, indent=data.draw(st.sampled_from([None, 1]))).encode()
    at = data.draw(st.integers(0, len(whole)))
    junk = data.draw(st.binary(max_size=4))
    kind = data.draw(st.sampled_from(["cut", "insert", "replace", "delete"]))
    broken = {
        "cut": whole[:at],
        "insert": whole[:at] + junk + whole[at:],
        "replace": whole[:at] + junk + whole[at + len(junk) :],
        "delete": whole[:at] + whole[at + 1 :],
    }[kind]
    reader, items = read(file, broken, data.draw(st.sampled_from([7, 1 << 20])))
    try:
        expected = json.loads(broken)
    except ValueError:
        assert reader.fault is not None or reader.foreign  # junk in front can be the mark of another format
        assert reader.foreign or reader.place() is not None
    else:
        if isinstance(expected, list) and all(isinstance(r, dict) for r in expected) and expected:
            assert reader.fault is None
            assert len(items) == len(expected)


@quiet
@given(st.binary(max_size=60))
def test_any_bytes_give_a_fault_or_records(file: Path, data: bytes) -> None:
    reader, items = read(file, data)
    assert items or reader.fault or reader.foreign


GOOD = [{"id": str(i), "image": "a.jpg", "conversations": [{"role": "user", "content": "x"}]} for i in range(4)]
DUMP = json.dumps(GOOD)


@pytest.mark.parametrize(
    ("data", "fault", "line", "col", "count"),
    [
        (DUMP.replace('"', "'"), "single quotes", 1, 3, 4),
        (DUMP[:-1] + ",]", "comma before a closing bracket", 1, len(DUMP) + 1, 4),
        (DUMP.replace('"x"}', '"x",}'), "comma before a closing bracket", 1, None, 4),
        (DUMP.replace('"x"', "NaN", 1), "NaN", 1, DUMP.index('"x"') + 1, 4),
        (DUMP.replace('"x"', "None", 1), "True, False and None", 1, DUMP.index('"x"') + 1, 4),
        (b"\xef\xbb\xbf" + DUMP.encode(), "BOM", 1, 1, 4),
        (DUMP.encode("utf-16"), "utf-16", 1, 1, 4),
        (DUMP.encode("utf-16-le"), "utf-16", 1, 1, 4),
        (DUMP[:-30], "ends inside record 3", 1, None, 3),
        (DUMP[:-1], "ends before the array is closed", 1, len(DUMP), 4),
        (json.dumps({"data": GOOD}), "under 'data'", 1, 1, 4),
        (json.dumps(GOOD[0], indent=1), "one object", 1, 1, 1),
        ("\n".join(json.dumps(g, indent=1) for g in GOOD), "Extra data", 11, 1, 4),
        (DUMP + DUMP, "Extra data", 1, len(DUMP) + 1, 8),
        ("[[1, 2], [3]]", "record 0 is a list", 1, None, 2),
        ("", "empty", 1, 1, 0),
        ("[]", "no records", 1, 1, 0),
        ("[" * 10_000 + "]" * 10_000, "nested too deeply", 1, 2, 0),
        ('[{"id": ' + "[" * 10_000 + "]" * 10_000 + '},\n{"id": 1}]', "nested too deeply", 1, 2, 1),
        ('[{"id":"\ud800"}]'.encode("utf-8", "surrogatepass"), "is not UTF-8", 1, 9, 1),
        (b'[{"id":"\xff"},\n{"id":"\xc3\xa4"}]', "byte 0xff is not UTF-8", 1, 9, 2),
        ('[{"id":"ä"},\n{"id":"äö" 5},\n{"id":"c"}]', "Expecting ',' delimiter", 2, 12, 2),
        ("<html></html>", "HTML", 1, 1, 0),
        ("version https://git-lfs.github.com/spec/v1\n", "LFS", 1, 1, 0),
        ('{"id":1}\n{"id":\n{"id":3}', "Expecting value", 2, 7, 2),
        ('{"id":1} {"id":2}\n{"id":3}', "Extra data", 1, 10, 2),
    ],
)
def test_one_clear_fault_and_the_rest_is_read(
    file: Path, data: bytes | str, fault: str, line: int, col: int | None, count: int
) -> None:
    reader, items = read(file, data)
    assert reader.fault is not None
    assert fault in reader.fault.text
    place = reader.place()
    assert place is not None
    assert place.line == line
    if col is not None:
        assert place.col == col
    assert len(items) == count


def test_records_after_a_broken_one_keep_their_index(file: Path) -> None:
    """Else every place lorachk names after the first fault is the wrong record."""
    reader, items = read(file, DUMP.replace('"id": "1", ', '"id": "1" '))
    assert [item.number for item in items] == [0, 2, 3]
    assert [item.value["id"] for item in items] == ["0", "2", "3"]
    assert reader.fault is not None


def test_what_python_reads_is_no_fault(file: Path) -> None:
    """A lone surrogate escape and 1e400 train fine; crying wolf over them would be a false alarm."""
    reader, items = read(file, '[{"id": "\\ud800", "n": 1e400}]')
    assert reader.fault is None
    assert items[0].value["id"] == "?"


def test_arrow_is_foreign_and_not_broken(file: Path) -> None:
    reader, items = read(file, b"ARROW1" + bytes(100))
    assert (reader.foreign, reader.fault, items) == ("Arrow", None, [])


def test_memory_is_bounded_by_the_block_and_not_by_the_file(file: Path) -> None:
    import tracemalloc

    line = json.dumps({"id": "x" * 1000, "conversations": []})
    with file.open("w") as out:
        out.write("[" + ",".join([line] * 40_000) + "]")
    tracemalloc.start()
    count = sum(1 for _ in Reader(file))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40_000
    assert peak < 20 << 20  # of 41 MB; some copies of a block of 1 MiB


@quiet
@given(record)
def test_repair_reads_what_python_prints(value: Any) -> None:
    """`str(records)` instead of `json.dumps(records)` is the commonest broken dataset."""
    plain = json.loads(json.dumps(value))
    printed = repr(plain)
    if "\\x" in printed or "\\u" in printed or "\\U" in printed:
        return  # Python's escapes, which repair does not claim to read
    found = repair(printed, 0)
    assert found is not None
    assert found.value == plain


def test_one_record_in_a_jsonl_file_is_a_record(tmp_path):
    """Everybody tries a file with one record first; the trainers read it."""
    path = tmp_path / "one.jsonl"
    path.write_text('{"query": "a", "response": "b"}\n')
    reader = Reader(path)
    assert [item.value for item in reader] == [{"query": "a", "response": "b"}]
    assert (reader.container, reader.fault) == ("lines", None)
    path.write_text('{"data": [{"query": "a", "response": "b"}]}\n')
    reader = Reader(path)
    assert [item.value for item in reader] == [{"query": "a", "response": "b"}]
    assert reader.fault is not None
