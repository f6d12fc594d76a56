"""Expected outputs as files: `LORACHK_UPDATE_SNAPSHOTS=1 pytest` writes them, a plain run compares."""

from __future__ import annotations

import os
from pathlib import Path

from lorachk import __version__

FOLDER = Path(__file__).parent / "snapshots"


def check_snapshot(name: str, text: str) -> None:
    """Compare `text` with tests/snapshots/`name`; lorachk's own version is left out of it."""
    path = FOLDER / name
    text = text.replace(f'"{__version__}"', '"VERSION"')
    if os.environ.get("LORACHK_UPDATE_SNAPSHOTS") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{name}: no snapshot yet; run with LORACHK_UPDATE_SNAPSHOTS=1 and read what it writes"
    assert text == path.read_text(encoding="utf-8")
