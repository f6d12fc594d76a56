"""Stand-ins for images that hang their decoder or kill it; imported by worker processes, so nothing heavy here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from lorachk.facts.imagefile import ImageFacts
from lorachk.facts.imagepool import Task


def look(task: Task, _seconds: float) -> ImageFacts:
    """What the path's name says."""
    name = Path(str(task.source)).name
    if name.startswith("hang"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        time.sleep(600)
    elif name.startswith("die"):
        os.kill(os.getpid(), signal.SIGSEGV)
    elif name.startswith("memory"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif name.startswith("once"):
        try:
            Path(str(task.source)).unlink()
        except FileNotFoundError:
            return ImageFacts(bytes=1)
        os.kill(os.getpid(), signal.SIGSEGV)
    return ImageFacts(bytes=len(name))
