"""Processes that look at images: a picture may hang its decoder in native code, or kill it, and is then named.

Each process is kept by a thread, which hands it a chunk at a time and ends it when one image takes too long. After a
death the chunk is tried again image by image, so that exactly the culprit is accused.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from lorachk.facts.imagefile import SECONDS, ImageFacts

_GRACE = 5.0  # beyond the limit, which the process itself keeps where it can
_START = 60.0  # seconds in which a process must have started
_KILLED = "kills the process that decodes it"


class Task(NamedTuple):
    """An image to look at: a path (or URL, or content) and whether all its pixels are to be decoded."""

    source: str | bytes
    full: bool


Look = Callable[[Task, float], ImageFacts]


class Pool:
    """Use as a context manager; leaving it ends the processes. `look(task, seconds)` must be importable by name."""

    def __init__(self, workers: int, look: Look, *, seconds: float = SECONDS) -> None:
        self._workers = workers
        self._tasks: queue.SimpleQueue[list[Task] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[list[tuple[Task, ImageFacts | None]] | BaseException] = queue.SimpleQueue()
        self._keepers = [_Keeper(self._tasks, self._done, look, seconds) for _ in range(workers)]

    def __enter__(self) -> Pool:
        for keeper in self._keepers:
            keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        for keeper in self._keepers:
            keeper.stop()
        for _keeper in self._keepers:
            self._tasks.put(None)
        for keeper in self._keepers:
            keeper.join(5)

    def run(self, chunks: Iterable[list[Task]]) -> Iterator[tuple[Task, ImageFacts | None]]:
        """Facts of each task, in the order in which they come in; None when only the machine is to blame.

        `chunks` is consumed by the calling thread, some chunks ahead of the results.
        """
        ahead = 0
        for chunk in chunks:
            self._tasks.put(chunk)
            ahead += 1
            while ahead >= 3 * self._workers:
                yield from self._next()
                ahead -= 1
        for _ in range(ahead):
            yield from self._next()

    def _next(self) -> list[tuple[Task, ImageFacts | None]]:
        found = self._done.get()
        if isinstance(found, BaseException):
            raise found
        return found


class _Keeper(threading.Thread):
    """Keeps one process at work."""

    def __init__(self, tasks: queue.SimpleQueue[Any], done: queue.SimpleQueue[Any], look: Look, seconds: float) -> None:
        super().__init__(daemon=True, name="lorachk-images")
        self._tasks, self._done = tasks, done
        self._look, self._seconds = look, seconds
        self._stopped = False
        self._process: Any = None
        self._connection: Any = None
        self._current: Any = None

    def run(self) -> None:
        """Chunk after chunk, until told to stop."""
        while (chunk := self._tasks.get()) is not None and not self._stopped:
            try:
                self._done.put(self._chunk(chunk))
            except BaseException as error:  # noqa: PERF203 - per chunk; handed to the thread that waits
                self._done.put(error)
        self._end()

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._stopped = True
        process = self._process
        if process is not None:
            process.kill()

    def _chunk(self, chunk: list[Task]) -> list[tuple[Task, ImageFacts | None]]:
        facts = self._attempt(chunk)
        if isinstance(facts, list):
            return list(zip(chunk, facts, strict=True))
        if len(chunk) == 1:
            return [(chunk[0], self._alone(chunk[0], facts))]
        result: list[tuple[Task, ImageFacts | None]] = []
        for task in chunk:
            if self._stopped:
                break
            result += self._chunk([task])
        return result

    def _alone(self, task: Task, problem: str) -> ImageFacts | None:
        """What to say of an image that failed alone: one death may be chance, a second is not."""
        if problem == _KILLED and not self._stopped:
            again = self._attempt([task])
            if isinstance(again, list):
                return again[0]
            problem = again
        return ImageFacts(decodes=False, problem=problem) if problem else None

    def _attempt(self, chunk: list[Task]) -> list[ImageFacts] | str:
        """Facts of a chunk, or what its process died of; "" when that was no image's fault."""
        if self._process is None:
            self._begin()
        try:
            self._connection.send(chunk)
            return self._wait()
        except (EOFError, OSError):
            self._process.join(5)
            code = self._process.exitcode
            self._end()
            # Killed from outside: most likely by the kernel, for memory that some other process took.
            return "" if code == -getattr(signal, "SIGKILL", 9) or self._stopped else _KILLED

    def _wait(self) -> list[ImageFacts] | str:
        seen, since = self._current.value, time.monotonic()
        while not self._connection.poll(0.25):
            number, now = self._current.value, time.monotonic()
            if number != seen:
                seen, since = number, now
            elif now - since > (self._seconds + _GRACE if number >= 0 else _START):
                self._end()
                return f"takes more than {self._seconds:g} s to decode" if number >= 0 else ""
        facts: list[ImageFacts] = self._connection.recv()
        return facts

    def _begin(self) -> None:
        # Not fork: threads of other libraries (DuckDB) may hold locks.
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._current = context.RawValue("q", -1)
        arguments = (theirs, self._current, self._look, self._seconds)
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
            self._connection.close()
            self._process = None


def _work(connection: Any, current: Any, look: Look, seconds: float) -> None:
    """A process: answer chunks until the other end closes."""
    for name in ("SIGINT", "SIGHUP"):  # the parent ends its processes itself
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    count = 0
    while True:
        try:
            chunk = connection.recv()
        except (EOFError, OSError):
            return
        found = []
        for task in chunk:
            current.value = count = count + 1
            found.append(look(task, seconds))
        try:
            connection.send(found)
        except OSError:
            return


def cpus() -> int:
    """CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
