"""The simulated allocator closes the gap between allocated and reserved; a wrong split makes verdicts wrong."""

from __future__ import annotations

import random

import pytest

from lorachk.memory.allocator import Allocator, OutOfMemory, minimum_capacity, peak

MIB = 2**20


def test_segments_have_the_sizes_of_cuda():
    for size, reserved in ((1, 2), (1 * MIB, 2), (2 * MIB, 20), (10 * MIB, 10), (11 * MIB + 1, 12)):
        assert Allocator().replay([(1, 0, size)]) == reserved * MIB


def test_freed_neighbours_are_merged_and_used_again():
    events = [(1, 0, 6 * MIB), (1, 1, 6 * MIB), (1, 2, 6 * MIB), (-1, 0, 0), (-1, 2, 0), (-1, 1, 0), (1, 3, 20 * MIB)]
    assert Allocator().replay(events) == 20 * MIB


def test_a_hole_that_is_too_small_needs_a_new_segment():
    events = [(1, 0, 30 * MIB), (1, 1, 30 * MIB), (-1, 0, 30 * MIB), (1, 2, 40 * MIB)]
    assert Allocator().replay(events) == 100 * MIB
    # with less memory the cached segment is given back first
    assert Allocator(75 * MIB).replay(events) == 70 * MIB
    with pytest.raises(OutOfMemory):
        Allocator(60 * MIB).replay(events)


def test_random_traces_never_reserve_less_than_is_allocated():
    generator = random.Random(0)
    for _ in range(20):
        events, live = [], {}
        for key in range(300):
            size = generator.choice([100, 5_000, 700_000, 3 * MIB, 30 * MIB]) * generator.randint(1, 4)
            events.append((1, key, size))
            live[key] = size
            while live and generator.random() < 0.45:
                gone = generator.choice(sorted(live))
                events.append((-1, gone, live.pop(gone)))
        most, reserved = peak(events), Allocator().replay(events)
        assert most <= minimum_capacity(events) <= reserved
