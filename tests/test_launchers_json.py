"""JSON positions: a finding at the wrong line sends people to the wrong place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.errors import UsageError
from lorachk.launchers.positions import leaves_of, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 0, 2, "\t"]), st.booleans())
def test_every_position_is_where_the_standard_library_reads_the_value(
    value: object, indent: object, ascii_: bool
) -> None:
    """The scanner and json must agree for any valid text, else every reported place is in doubt."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_)  # type: ignore[arg-type]
    document = parse_json(text, "x.json")
    assert document.value == value
    assert [(leaf.pointer, leaf.value) for leaf in document.leaves] == leaves_of(value)
    lines = text.split("\n")
    for leaf in document.leaves:
        rest = "\n".join([lines[leaf.line - 1][leaf.col - 1 :], *lines[leaf.line :]])
        assert json.JSONDecoder().raw_decode(rest)[0] == leaf.value


def test_pointers_escape_as_the_standard_says() -> None:
    """A key with a slash must not look like a block."""
    assert parse_json('{"a/b": {"c~d": 1}}', "x.json").leaves[0].pointer == "/a~1b/c~0d"


def test_a_key_that_stands_twice_is_found_and_the_last_counts() -> None:
    """Otherwise the place shown is that of the value nobody reads."""
    document = parse_json('{"s": {"a": 1, "b": 2},\n "s": {"a": 3}}', "x.json")
    assert [(d.value, d.line, d.col) for d in document.duplicates] == [("s", 2, 2)]
    assert [(leaf.pointer, leaf.value, leaf.line) for leaf in document.leaves] == [("/s/a", 3, 2)]
    assert "/s/b" not in document.places


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ('{"a": 1,}', "1:8", "comma before the closing"),
        ('{"a": [1,\n2,\n]}', "2:2", "comma before the closing"),
        ("{'a': 1}", "1:2", "straight double quotes"),
        ("{\"a\": 'b'}", "1:7", "straight double quotes"),
        ('{"a": 1 // note\n}', "1:9", "no comments"),
        ('{"a": 1, # note\n"b": 2}', "1:10", "no comments"),
        ('{"a": None}', "1:7", "write null"),
        ('{"a": 1', "1:8", "ends too early"),
        ('{"a": 1\n"b": 2}', "2:1", "expected a comma"),
        ("", "1:1", "empty"),
        ("{} {}", "1:4", "one JSON object"),
    ],
)
def test_broken_json_says_where_and_what_to_do(text: str, place: str, says: str) -> None:
    """`Expecting property name` tells a newcomer nothing."""
    with pytest.raises(UsageError) as caught:
        parse_json(text, "ds.json")
    assert caught.value.where == f"ds.json:{place}"
    assert says in str(caught.value)
