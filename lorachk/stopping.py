"""Ending on a signal: unwind as for Ctrl-C, so that no training process and no temporary folder is left behind."""

from __future__ import annotations

import contextlib
import signal
from typing import NoReturn

_received: list[int] = []


def listen() -> None:
    """From now on SIGINT, SIGTERM (a cancelled CI job) and SIGHUP raise KeyboardInterrupt.

    What is ignored stays ignored: `nohup lorachk ... &` must outlive the terminal.
    """
    _received.clear()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError):  # not in the main thread
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _receive)


def _receive(number: int, _: object) -> NoReturn:
    _received.append(number)
    raise KeyboardInterrupt


def received() -> int | None:
    """The signal that came first.

    Whoever catches Exception must ask: DuckDB drops the KeyboardInterrupt and raises RuntimeError("Query interrupted").
    """
    return _received[0] if _received else None
