"""Stops Python code that runs longer than it may, whatever thread it runs in: a model folder's template is hostile.

A daemon thread looks every quarter of a second whether a watched thread is over its time and raises TooLong in it.
Entering and leaving cost a lock each, so that it can stand around every rendering. What a single C function does at
length cannot be interrupted; the template's operators that could are refused before (see template.py).
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_PERIOD = 0.25  # seconds between two looks

_lock = threading.Lock()
_ends: dict[int, float] = {}  # thread -> time.monotonic() at which it must be done
_raised: set[int] = set()
_watching = False


class TooLong(Exception):
    """The code ran longer than it may."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise TooLong in the code inside once it has run for `seconds`. Does not nest."""
    thread = threading.get_ident()
    with _lock:
        _ends[thread] = time.monotonic() + seconds
        _watch()
    try:
        yield
    finally:
        with _lock:
            _ends.pop(thread, None)
            if thread in _raised:
                _raised.discard(thread)
                # It may not have arrived yet; then it must not arrive later, somewhere else.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)


def _forked() -> None:
    """The watcher is gone in a forked child, and may have held the lock."""
    global _lock, _watching
    _lock = threading.Lock()
    _watching = False
    _ends.clear()
    _raised.clear()


os.register_at_fork(after_in_child=_forked)


def _watch() -> None:
    global _watching
    if not _watching:
        _watching = True
        threading.Thread(target=_look, name="lorachk-deadline", daemon=True).start()


def _look() -> None:
    while True:
        time.sleep(_PERIOD)
        now = time.monotonic()
        with _lock:
            for thread in [t for t, end in _ends.items() if end < now and t not in _raised]:
                _raised.add(thread)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TooLong))
