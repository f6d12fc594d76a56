"""Runs encoding jobs in processes, in order."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

from lorachk.facts.encoding.exact import Answer, Job, encode
from lorachk.facts.imagepool import cpus

_AHEAD = 4  # jobs that wait beside those being run


def mapped(jobs: Iterator[Job], workers: int | None) -> Iterator[list[Answer]]:
    """The answers of each job. A process that dies ends the collector (BrokenProcessPool)."""
    count = workers or cpus()
    # Not fork: threads of other libraries (DuckDB) may hold locks.
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_alone)
    waiting: deque[Future[list[Answer]]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(encode, job))
            if len(waiting) >= count + _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def _alone() -> None:
    """One thread per process: there is a process for each CPU."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
