"""DuckDB as the engine uses it: its compiled module alone, and a time limit for queries."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_TICK = 0.02  # seconds between looks at the clock


def driver() -> Any:
    """DuckDB's module. Nothing here uses the relational API that the package `duckdb` lays over it.

    Importing that takes 0.1 s of 0.15 s (duckdb 2.0.0), longer than judging a small dataset. Connections and
    exceptions are the same objects either way; before DuckDB 1.4 the compiled module was a part of the package.
    """
    try:
        return import_module("_duckdb")
    except ImportError:
        return import_module("duckdb")


class Deadline:
    """Interrupts what runs too long. One thread for all queries: starting one takes longer than most of them."""

    def __init__(self, interrupt: Callable[[], object]) -> None:
        self._interrupt = interrupt
        self._lock = threading.Lock()
        self._until: float | None = None
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self.passed = False  # the query that ran last was interrupted

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Interrupt the body once it has run for `seconds`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        with self._lock:
            self.passed, self._until = False, time.monotonic() + seconds
        try:
            yield
        finally:
            with self._lock:
                self._until = None

    def close(self) -> None:
        """End the thread; nothing is interrupted any more."""
        self._closed.set()
        if self._thread:
            self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(_TICK):
            with self._lock:
                if self._until is not None and time.monotonic() > self._until:
                    self.passed, self._until = True, None
                    self._interrupt()
