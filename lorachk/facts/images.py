"""Looks at the images a dataset names: each file once, in worker processes when there are many.

Headers and structure of all files are read. Pixels are decoded of a random sample of about DECODED files (all, when
there are no more), drawn by a hash of the path with SEED, so that the sample does not depend on the order.
"""

from __future__ import annotations

import base64
import binascii
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from urllib.parse import unquote_to_bytes

from lorachk.facts.imagefile import SECONDS, ImageFacts, decode, inspect, survey, tame
from lorachk.facts.imagepool import Pool, Task, cpus

DECODED = 1000  # images decoded in full; of more, a sample of about this many
SEED = 0


_ALONE = 2.0  # seconds after which workers help; starting them takes a quarter of that, and longer on a busy machine
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
    return inspect(source, full=task.full, hostile=True, seconds=seconds)


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


def inline(reference: str) -> ImageFacts:
    """Facts of an image in a data: URI."""
    head, comma, body = reference.partition(",")
    if not comma:
        return ImageFacts(decodes=False, problem="a data URI without data")
    try:
        data = base64.b64decode(body, validate=False) if head.endswith(";base64") else unquote_to_bytes(body)
    except (binascii.Error, ValueError) as error:
        return ImageFacts(decodes=False, problem=f"not base64: {error}")
    return inspect(data, full=True)
