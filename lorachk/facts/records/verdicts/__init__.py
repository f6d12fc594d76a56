"""What each trainer would do with a record: one module per trainer, each naming the commit it was read from.

Where a module says that it was compared with the trainer's code, that code was run on mutated records, most of them
broken, without model, tokenizer and image files, and their fates were set side by side: kept and changed counted as one
there, since the code does not say which, and a verdict of None was left out.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from lorachk.facts.records.verdicts.types import KEPT as KEPT
from lorachk.facts.records.verdicts.types import Loader as Loader
from lorachk.facts.records.verdicts.types import Settings as Settings
from lorachk.facts.records.verdicts.types import Verdict as Verdict

_MODULES = {
    "minicpmv": "minicpmv",
    "llava": "llava",
    "llamafactory": "llamafactory",
    "ms-swift": "swift",
    "vlm-r1": "vlm_r1",
    "qwen-vl": "qwen_vl",
    "qwen-vl-chat": "qwen_vl_chat",
    "qwen-vl-series": "qwen_vl_series",
    "trl": "trl",
    "axolotl": "axolotl",
    "internvl": "internvl",
    "fastchat": "fastchat",
}


@cache
def loader(trainer: str | None) -> Loader | None:
    """How `trainer` reads records; None where that is not known (no trainer, or `hf`: the user's own script)."""
    module = _MODULES.get(trainer or "")
    if module is None:
        return None
    found = import_module(f"{__name__}.{module}").LOADER
    assert isinstance(found, Loader)
    return found
