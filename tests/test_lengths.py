"""Lengths counted in the database: nothing is lost between the bins, the limit is an edge, and bounds stay bounds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorachk.facts.encoding.drawing import drawing
from lorachk.facts.encoding.edges import edges
from lorachk.facts.encoding.histogram import lengths
from lorachk.facts.encoding.imagesizes import blocks, points, sizes
from lorachk.facts.encoding.labels import labels
from lorachk.facts.encoding.worst import heaviest, worst_row
from lorachk.facts.tables import tables
from tests.length_samples import LIMIT, bounded, exact, facts, mixed, picture, select

_SIZE = st.integers(0, 300) | st.integers(0, 200_000)


@settings(max_examples=300, deadline=None)
@given(st.lists(_SIZE, min_size=1, max_size=30), st.none() | st.integers(1, 50_000), st.integers(8, 60))
def test_edges_hold_all_values_and_never_straddle_the_limit(values: list[int], limit: int | None, many: int) -> None:
    values.sort()
    found = edges(values[0], values[len(values) // 2], values[-1], limit, many)
    assert all(a < b for a, b in itertools.pairwise(found))
    assert found[0] < values[0]
    assert found[-1] >= values[-1]
    assert len(found) <= many + 4, "a terminal has few lines"
    assert limit is None or not any(a < limit < b for a, b in itertools.pairwise(found))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_SIZE, _SIZE, _SIZE, st.booleans()), min_size=1, max_size=40), st.integers(1, 5000))
def test_every_record_is_in_one_bin_and_tokens_add_up(drawn: list[tuple[int, int, int, bool]], limit: int) -> None:
    rows = []
    for number, (image, text, part, known) in enumerate(drawn):
        low = image + min(part, text)
        cut = True if low > limit else False if image + text <= limit else None
        row = exact(number, image, text, min(part, text), limit)
        rows.append(row if known else bounded(number, image, min(part, text), text, cut, limit))
    with facts(rows) as store:
        found = lengths(select(store), 10)
    if not any(row.get("tokens") is not None or row["image_tokens"] for row in rows):
        assert found is None
        return
    assert found is not None
    assert sum(b.records for b in found.bins) == found.records == len(rows)
    assert found.longer == sum(row["cut"] is True for row in rows)
    assert found.undecided == sum(row["cut"] is None for row in rows)
    assert sum(b.records for b in found.bins if b.low > limit) == found.longer + found.undecided
    assert sum(b.sure for b in found.bins if b.low > limit) == found.longer
    assert sum(b.supervised for b in found.bins) == sum(row.get("supervised_before") or 0 for row in rows)
    for b in found.bins:
        assert b.low * b.records <= b.tokens <= b.high * b.records


def test_a_bound_never_stands_on_the_wrong_side_of_the_limit() -> None:
    """The verdict knows more than the bounds: an image that could not be read makes the record too long anyway."""
    rows = [bounded(0, None, 10, 20, True), bounded(1, 100, 10, 5000, False), bounded(2, 100, 10, 5000, None)]
    with facts(rows) as store:
        found = {row["record"]: row for row in heaviest(select(store), 9)}
    assert found[0]["tokens_min"] == LIMIT + 1
    assert found[1]["tokens_max"] == LIMIT
    assert (found[2]["tokens_min"], found[2]["tokens_max"]) == (110, 5100)


def test_nothing_known_is_no_histogram() -> None:
    with facts([]) as store:
        ask = select(store)
        assert lengths(ask, 10) is None
        assert (labels(ask, 10), sizes(ask), points(ask), blocks(ask, 10)) == (None, None, [], [])
        assert heaviest(ask, 5) == []
        assert worst_row(ask) is None
        assert drawing(ask).empty
    with facts([bounded(0, 0, 4, 900, None), bounded(1, None, 4, 90, None)]) as store:
        assert lengths(select(store), 10) is None, "bytes alone are no histogram of tokens"


def test_records_that_nothing_bounds_are_counted_as_left_out() -> None:
    with facts([exact(0, 10, 20, 5), bounded(1, None, 4, 90, None)]) as store:
        found = lengths(select(store), 10)
    assert found is not None
    assert (found.records, found.unknown, sum(b.records for b in found.bins)) == (2, 1, 1)


def test_without_a_limit_nothing_is_longer() -> None:
    with facts([exact(n, 64 * n, 50, 5, None) for n in range(20)]) as store:
        found = lengths(select(store), 10)
    assert found is not None
    assert (found.limit, found.longer, found.undecided, found.longest) == (None, 0, 0, 64 * 19 + 50)


def test_the_heaviest_come_first_whatever_file_they_are_in() -> None:
    rows = [exact(n, 0, 100 + n, 1) for n in range(50)] + [exact(3, 0, 7000, 1, path="b.json")]
    with facts(rows, [picture(49, 0, 64, 64, 1, 66)]) as store:
        found = heaviest(select(store), 3)
    assert [(r["path"], r["record"], r["tokens"], r["images"]) for r in found] == [
        ("b.json", 3, 7000, 0),
        ("train.json", 49, 149, 1),
        ("train.json", 48, 148, 0),
    ]
    assert found[1]["line"] == 1 + 12 * 49


def test_the_worst_record_is_one_that_is_trained() -> None:
    """A record that the trainer throws away, or that only evaluation sees, needs no memory for its gradients."""
    rows = [exact(n, 0, 100 * (n + 1), 1) for n in range(5)]
    rows[3]["verdict"] = "dropped"
    records = [{"path": "train.json", "record": n, "split": "eval" if n == 4 else "train"} for n in range(5)]
    records[2]["verdict"] = "crash"
    with facts(rows, records=records) as store:
        before, (found,) = worst_row(store.select), [worst_row(select(store))]
    assert before == found
    assert found is not None
    assert (found["record"], found["tokens"], found["kept"], found["exact"]) == (1, 200, 200, True)
    assert found.keys() == {c.name for c in tables()["worst"].columns}


def test_of_two_records_at_the_limit_the_one_with_more_image_is_heavier() -> None:
    rows = [exact(0, 0, 9000, 9), exact(1, 2900, 100, 9), bounded(2, 66, 4, 60, False)]
    images = [picture(1, 1, 640, 480, 4, 1000), picture(1, 0, 1024, 768, 9, 1900)]
    with facts(rows, images) as store:
        found = worst_row(select(store))
        store.add("worst", [found])
        assert store.rows("worst") == [found]
    assert found is not None
    assert (found["record"], found["kept"], found["images"], found["pieces"]) == (1, LIMIT, 2, 13)
    assert (found["width"], found["height"]) == ([1024, 640], [768, 480])


def test_text_that_was_not_tokenised_weighs_as_much_as_it_can() -> None:
    with facts([bounded(0, 100, 4, 500, False), exact(1, 0, 550, 9)]) as store:
        found = worst_row(select(store))
    assert found is not None
    assert (found["record"], found["tokens"], found["text_tokens"], found["kept"]) == (0, 600, 500, 600)
    assert found["exact"] is False


def test_a_picture_stays_small_whatever_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [picture(n, 0, 200 + n % 1000, 200 + n % 777, 1 + n % 12, 66 + n % 700) for n in range(3000)]
    encodings = [exact(n, 66 + n % 700, 10 + n, n % 90) for n in range(3000)]
    with facts(encodings, images) as store:
        found = drawing(select(store))
    assert found.lengths is not None
    assert len(found.lengths.bins) <= 64
    assert len(found.points) <= 500
    assert sum(p.images for p in found.points) == 3000
    assert sum(sum(b.images) for b in found.blocks) == 3000
    assert found.labels is not None
    assert sum(found.labels.before) + found.labels.unlabelled == 3000
    assert sum(found.labels.left) == 3000 - found.labels.unlabelled - found.labels.emptied


def test_mixed_facts_are_all_told() -> None:
    encodings, images = mixed()
    with facts(encodings, images) as store:
        found, shown = lengths(select(store), 10), sizes(select(store))
    assert found is not None
    assert found.exact + found.least + found.most == found.records == 400
    assert shown is not None
    assert (shown.images, shown.smallest, shown.largest) == (len(images), (224, 224), (1344, 1008))
