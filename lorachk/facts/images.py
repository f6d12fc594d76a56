"""Looks at the images a dataset names: each file once, in worker processes when there are many.

Headers and structure of all files are read. Pixels are decoded of a random sample of about DECODED files (all, when
there are no more), drawn by a hash of the path with SEED, so that the sample does not depend on the order.
"""

from __future__ import annotations

import base64
import binascii
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from lorachk.facts.imagefile import SECONDS, ImageFacts, decode, inspect, survey, tame
from lorachk.facts.imagepaths import Resolved, Resolver
from lorachk.facts.imagepool import Pool, Task, cpus

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

DECODED = 1000  # images decoded in full; of more, a sample of about this many
SEED = 0
_IN_PROCESS = 200  # starting workers takes about as long as looking at these
_CHUNK = 16  # images per task of a worker
_REMEMBERED = 100_000  # files whose facts are kept for their next mention


_ALONE = 0.25  # seconds after which workers help; starting them takes about as long
_FEW = 8  # images left for which they are not worth starting
_TOGETHER = 64  # images per task of a worker
_DECODED_TOGETHER = 8  # the same when most are decoded
_REPORTED = 0.1  # seconds between reports of progress


def inspect_all(
    paths: Iterable[str],
    total: int,
    *,
    deep: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    seconds: float = SECONDS,
) -> Iterator[tuple[str, ImageFacts | None]]:
    """Facts of every file, in no particular order; each is looked at once, so `paths` should be distinct.

    `total`: number of paths, which decides the sample; `deep` decodes all. An http(s) URL among the paths is fetched.
    `workers`: processes, by default one per CPU; an image that may be dangerous is never decoded in this process.
    `progress` is told images done and their total. None for facts: its process was killed from outside. Memory does
    not grow with the number of paths: they are consumed, by the calling thread, little ahead of the results.
    """
    tick = _Progress(total, progress)
    share = 1.0 if deep or total <= DECODED else DECODED / total
    tasks = (Task(path, sampled(path, share)) for path in paths)
    several = workers or cpus()
    dangerous: list[Task] = []
    end = time.monotonic() + _ALONE
    for task in tasks:
        found = _here(task, seconds)
        if found is None:
            dangerous.append(task)
        else:
            yield str(task.source), found
            tick()
        left = total - tick.done
        if len(dangerous) > _FEW or (several > 1 and left > _FEW and time.monotonic() > end):
            break
    together = _DECODED_TOGETHER if share > 0.1 else _TOGETHER
    chunks = _chunks(dangerous, tasks, together)
    if first := next(chunks, None):
        with Pool(several, look, seconds=seconds) as pool:
            for task, facts in pool.run(_and(first, chunks)):
                yield str(task.source), facts
                tick()
    tick.report()


def sampled(path: str, share: float) -> bool:
    """Whether the path is in a sample of this share of all. By the path and not by position: order is no matter."""
    return share >= 1 or zlib.crc32(path.encode("utf-8", "surrogatepass"), SEED) < share * 2**32


def look(task: Task, seconds: float) -> ImageFacts:
    """Facts of one image, in a process of its own."""
    source = task.source
    if isinstance(source, str) and _is_url(source):
        from lorachk.facts.imagefetch import NotFetched, fetch  # with it urllib.request, ssl, email ...

        try:
            source = fetch(source, seconds=seconds)
        except NotFetched as error:
            return ImageFacts(decodes=False, problem=str(error))
    return inspect(source, full=task.full, seconds=seconds)


def _here(task: Task, seconds: float) -> ImageFacts | None:
    """Facts of one image, in this process; None when it may hang."""
    if isinstance(task.source, str) and _is_url(task.source):
        return None
    found = survey(task.source, seconds=seconds)
    if found.facts.problem is not None or not (task.full or found.doubtful):
        return found.facts
    return decode(task.source, found.facts, seconds=seconds) if tame(task.source, found.facts) else None


def _is_url(path: str) -> bool:
    return path[:8].lower().startswith(("http://", "https://"))


def _chunks(first: list[Task], rest: Iterator[Task], size: int) -> Iterator[list[Task]]:
    for at in range(0, len(first), size):
        yield first[at : at + size]
    while chunk := list(islice(rest, size)):
        yield chunk


def _and(first: list[Task], rest: Iterator[list[Task]]) -> Iterator[list[Task]]:
    yield first
    yield from rest


class _Progress:
    """Counts, and reports now and then."""

    def __init__(self, total: int, report: Callable[[int, int], None] | None) -> None:
        self.done = 0
        self._total = total
        self._report = report
        self._next = 0.0

    def __call__(self) -> None:
        self.done += 1
        if self._report and (now := time.monotonic()) >= self._next:
            self._next = now + _REPORTED
            self.report()

    def report(self) -> None:
        """Report how far it is."""
        if self._report:
            self._report(self.done, max(self.done, self._total))


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
                    facts = inline(reference) if resolved.kind == "data" else None
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


def inline(reference: str) -> ImageFacts:
    """Facts of an image in a data: URI."""
    head, comma, body = reference.partition(",")
    if not comma:
        return ImageFacts(decodes=False, problem="a data URI without data")
    try:
        data = base64.b64decode(body, validate=False) if head.endswith(";base64") else unquote_to_bytes(body)
    except (binascii.Error, ValueError) as error:
        return ImageFacts(decodes=False, problem=f"not base64: {error}")
    return inspect(data, full=True, hostile=False)
