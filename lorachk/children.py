"""Child processes: none may outlive lorachk."""

from __future__ import annotations

import os


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, also when it is killed and cannot clean up."""
    import ctypes
    import signal
    import sys

    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died before the request
            os._exit(1)
