"""Looks at the images a dataset names: each file once, in worker processes when there are many."""

from __future__ import annotations

import base64
import binascii
import os
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from lorachk.facts.imagefile import SECONDS, ImageFacts, inspect
from lorachk.facts.imagepaths import Resolved, Resolver

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

DECODED = 1000  # images decoded in full; of more, a sample of about this many
SEED = 0
_IN_PROCESS = 200  # starting workers takes about as long as looking at these
_CHUNK = 16  # images per task of a worker
_REMEMBERED = 100_000  # files whose facts are kept for their next mention


class Seen(NamedTuple):
    """A reference, where it leads, and what is there; `facts` is None when there is nothing to look at."""

    resolved: Resolved
    facts: ImageFacts | None


class Images:
    """Use as a context manager. `expected` is about how many images there will be; it decides sample and workers."""

    def __init__(self, resolver: Resolver, expected: int, *, deep: bool = False, workers: int | None = None) -> None:
        self._resolver = resolver
        self._share = 1.0 if deep or expected <= DECODED else DECODED / expected
        self._workers = (workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers) or 1
        self._parallel = expected > _IN_PROCESS and self._workers > 1
        self._pool: ProcessPoolExecutor | None = None
        self._known: dict[str, Seen] = {}
        self.undecoded = 0  # files whose pixels were not decoded, because they are not in the sample
        self.lost = 0  # files no worker could report on

    def __enter__(self) -> Images:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def look(self, references: Iterable[str]) -> dict[str, Seen]:
        """Facts of each reference."""
        wanted = dict.fromkeys(references)
        new: list[tuple[str, Resolved]] = []
        result: dict[str, Seen] = {}
        for reference in wanted:
            if (seen := self._known.get(reference)) is not None:
                result[reference] = seen
            else:
                resolved = self._resolver.resolve(reference)
                if resolved.kind == "file" and resolved.exists and resolved.path:
                    new.append((reference, resolved))
                else:
                    facts = _inline(reference) if resolved.kind == "data" else None
                    result[reference] = Seen(resolved, facts)
        tasks = [(resolved.path or "", self._sampled(resolved.path or "")) for _, resolved in new]
        for (reference, resolved), facts in zip(new, self._inspect(tasks), strict=True):
            seen = Seen(resolved, facts)
            if facts is None:
                self.lost += 1
            elif facts.decodes is None:
                self.undecoded += 1
            result[reference] = seen
            self._known[reference] = seen
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return result

    def _sampled(self, path: str) -> bool:
        # By the path and not by position, so that the sample is the same whichever record comes first.
        return self._share >= 1 or zlib.crc32(path.encode("utf-8", "replace"), SEED) < self._share * 2**32

    def _inspect(self, tasks: Sequence[tuple[str, bool]]) -> list[ImageFacts | None]:
        if not self._parallel or len(tasks) < 2 * _CHUNK:
            return [inspect(path, full=full) for path, full in tasks]
        # Imported here: a small dataset needs no workers, and their modules take as long as its scan.
        from concurrent.futures import TimeoutError as FutureTimeout
        from concurrent.futures.process import BrokenProcessPool

        chunks = [tasks[i : i + _CHUNK] for i in range(0, len(tasks), _CHUNK)]
        found: list[ImageFacts | None] = []
        futures: list[Future[list[ImageFacts]]] = [self._submit(chunk) for chunk in chunks]
        for number, chunk in enumerate(chunks):
            try:
                # A chunk may wait for all chunks before it; those have been waited for already.
                found += futures[number].result(timeout=SECONDS * _CHUNK + 60)
            except (FutureTimeout, BrokenProcessPool):  # noqa: PERF203 - per task of a worker
                # A worker hangs in native code, or an image took its life. Nobody knows which: none is accused.
                self._stop()
                found += [None] * len(chunk)
                futures[number + 1 :] = [self._submit(c) for c in chunks[number + 1 :]]
        return found

    def _submit(self, chunk: Sequence[tuple[str, bool]]) -> Future[list[ImageFacts]]:
        if self._pool is None:
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor

            # Not fork: threads of other libraries (DuckDB) may hold locks.
            self._pool = ProcessPoolExecutor(self._workers, mp_context=multiprocessing.get_context("spawn"))
        return self._pool.submit(_inspect_chunk, list(chunk))

    def _stop(self) -> None:
        if self._pool is not None:
            processes = list((self._pool._processes or {}).values())
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            self._pool = None


def _inspect_chunk(tasks: list[tuple[str, bool]]) -> list[ImageFacts]:
    return [inspect(path, full=full) for path, full in tasks]


def _inline(reference: str) -> ImageFacts:
    """Facts of an image in a data: URI."""
    head, comma, body = reference.partition(",")
    if not comma:
        return ImageFacts(decodes=False, problem="a data URI without data")
    try:
        data = base64.b64decode(body, validate=False) if head.endswith(";base64") else unquote_to_bytes(body)
    except (binascii.Error, ValueError) as error:
        return ImageFacts(decodes=False, problem=f"not base64: {error}")
    return inspect(data, full=True)
