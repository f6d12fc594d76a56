"""A picture of the lengths: where the token limit cuts, what the records are made of, how large the images are.

matplotlib is an extra and is imported only to draw.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lorachk.errors import UsageError

if TYPE_CHECKING:
    from lorachk.facts.encoding.drawing import Drawing

ENDINGS = (".png", ".svg", ".pdf")


def ready(path: Path) -> None:
    """Raise UsageError when no picture could be written to `path`: told before the dataset is read, not after."""
    if path.suffix.lower() not in ENDINGS:
        what = f"the ending {path.suffix!r} is no picture's" if path.suffix else "the name has no ending"
        raise UsageError(what, where=f"--plot {path}", hint=f"endings: {', '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise UsageError("no such folder", where=f"--plot {path}", hint=f"make {path.parent} first")
    if path.is_dir():
        raise UsageError("it is a folder", where=f"--plot {path}", hint=f"name the file: {path / 'lengths.png'}")
    if find_spec("matplotlib") is None:
        hint = "pip install 'lorachk[plot]', or pip install 'matplotlib>=3.7'"
        raise UsageError("a picture needs matplotlib, which is not installed here", where="--plot", hint=hint)


def save(drawing: Drawing | None, path: Path) -> bool:
    """Draw, and write the file whole or not at all. With nothing to draw, say why on standard error and write nothing.

    Raises UsageError when the file cannot be written.
    """
    from lorachk.report import keep
    from lorachk.report.escape import sentence

    if drawing is None or drawing.empty:
        why = (drawing.missing if drawing else None) or "no record's tokens and no image's size are known"
        print(f"lorachk: {sentence(str(path))} was not written: {sentence(why)}", file=sys.stderr)
        return False
    from lorachk.report.plot.figure import picture

    keep(picture(drawing, path.suffix.lower()[1:]), path, "the picture")
    return True
