"""A simulated CUDA caching allocator: what a sequence of allocations reserves, and on how little memory it survives.

After c10/cuda/CUDACachingAllocator.cpp (torch 2.13), one stream: sizes are rounded up to 512 bytes; requests up to
1 MiB come from 2 MiB segments, up to 10 MiB from 20 MiB segments, larger ones from segments rounded up to 2 MiB; best
fit, split, coalesce.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

ROUND = 512
_MIB = 2**20
_SMALL, _SMALL_SEGMENT = 1 * _MIB, 2 * _MIB
_LARGE, _LARGE_SEGMENT, _LARGE_ROUND = 10 * _MIB, 20 * _MIB, 2 * _MIB

Event = tuple[int, int, int]  # +1 allocate or -1 free, identifier, bytes


class OutOfMemory(Exception):
    """A segment does not fit into the capacity, even after cached segments were given back."""


class _Block:
    __slots__ = ("after", "before", "free", "offset", "segment", "size", "small")

    def __init__(self, segment: int, offset: int, size: int, small: bool) -> None:
        self.segment, self.offset, self.size, self.small = segment, offset, size, small
        self.free = True
        self.before: _Block | None = None
        self.after: _Block | None = None

    @property
    def key(self) -> tuple[int, int, int]:
        return (self.size, self.segment, self.offset)


class Allocator:
    """Replays allocations; `reserved` and `peak_reserved` are bytes of segments. `capacity` bytes, None: endless."""

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.reserved = self.peak_reserved = 0
        self._segments = 0
        self._pools: dict[bool, list[tuple[int, int, int]]] = {True: [], False: []}
        self._blocks: dict[tuple[int, int], _Block] = {}
        self._held: dict[int, _Block] = {}

    def allocate(self, key: int, size: int) -> None:
        """Allocate `size` bytes under `key`. Raises OutOfMemory."""
        size = max(ROUND, -(-size // ROUND) * ROUND)
        small = size <= _SMALL
        pool = self._pools[small]
        at = bisect.bisect_left(pool, (size, -1, -1))
        if at < len(pool):
            _, segment, offset = pool.pop(at)
            block = self._blocks[segment, offset]
        else:
            block = self._segment(size, small)
        rest = block.size - size
        if rest >= ROUND if small else rest > _SMALL:
            tail = _Block(block.segment, block.offset + size, rest, small)
            tail.before, tail.after = block, block.after
            if block.after is not None:
                block.after.before = tail
            block.after, block.size = tail, size
            self._blocks[tail.segment, tail.offset] = tail
            bisect.insort(pool, tail.key)
        block.free = False
        self._held[key] = block

    def release(self, key: int) -> None:
        """Free what was allocated under `key`; neighbours that are free are merged."""
        block = self._held.pop(key)
        pool = self._pools[block.small]
        for left, right in ((block, block.after), (block.before, block)):
            if left is None or right is None or (left is not block and not left.free):
                continue
            if right is not block and not right.free:
                continue
            other = right if left is block else left
            pool.pop(bisect.bisect_left(pool, other.key))
            left.size += right.size
            left.after = right.after
            if right.after is not None:
                right.after.before = left
            del self._blocks[right.segment, right.offset]
            block = left
        block.free = True
        bisect.insort(pool, block.key)

    def _segment(self, size: int, small: bool) -> _Block:
        if small:
            wanted = _SMALL_SEGMENT
        elif size < _LARGE:
            wanted = _LARGE_SEGMENT
        else:
            wanted = -(-size // _LARGE_ROUND) * _LARGE_ROUND
        if self.capacity is not None and self.reserved + wanted > self.capacity:
            self._give_back()
            if self.reserved + wanted > self.capacity:
                raise OutOfMemory
        block = _Block(self._segments, 0, wanted, small)
        self._segments += 1
        self._blocks[block.segment, 0] = block
        self.reserved += wanted
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return block

    def _give_back(self) -> None:
        """Free every segment that is one free block, as the allocator does before it reports that memory is out."""
        for pool in self._pools.values():
            for key in list(pool):
                block = self._blocks[key[1], key[2]]
                if block.before is None and block.after is None:
                    pool.remove(key)
                    del self._blocks[block.segment, block.offset]
                    self.reserved -= block.size

    def replay(self, events: Iterable[Event]) -> int:
        """Run all events; returns peak reserved bytes. Raises OutOfMemory."""
        for sign, key, size in events:
            if sign > 0:
                self.allocate(key, size)
            else:
                self.release(key)
        return self.peak_reserved


def peak(events: Iterable[Event]) -> int:
    """Largest number of bytes allocated at once (torch.cuda.max_memory_allocated)."""
    now = most = 0
    for sign, _, size in events:
        now += sign * size
        most = max(most, now)
    return most


def minimum_capacity(events: list[Event], tolerance: float = 0.004) -> int:
    """Smallest capacity in bytes on which the events run, within `tolerance`; a replay is not monotone in capacity,
    so read it as one percent sharp."""
    low, high = peak(events), Allocator().replay(events)
    while high - low > tolerance * high:
        middle = (low + high) // 2
        try:
            Allocator(middle).replay(events)
            high = middle
        except OutOfMemory:
            low = middle
    return high
