"""Which rules a command judges: by the tables they read, and by --select/--ignore."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lorachk.engine.page import Page
from lorachk.errors import UsageError
from lorachk.run import FIELDS

DATA = frozenset(
    {"dataset", "registry", "record", "field", "turn", "image", "box", "encoding", "tokenizer", "remedy", "worst"}
)
REHEARSAL = frozenset({"rehearsal", "step", "gradient", "update", "saved", "hazard"})
MODEL = frozenset({"module", "target", "hit", "parameter", "memory", "fit"})
RUN = frozenset({"run", "setting", "source", "argument", "known_argument", "given_argument", "resolved", "package"})

# Fields of the run that say by whom and how a dataset is read: rules on data alone ask for them.
_READ_BY = frozenset(
    {
        "trainer",
        "launch",
        "model",
        "tokenizer",
        "model_found",
        "family",
        "model_type",
        "architecture",
        "vocab_size",
        "llm_type",
        "data",
        "eval_data",
        "image_root",
        "max_length",
        "max_slice_nums",
        "environment",
    }
)
_OF_LAUNCH = {name for name, kind in FIELDS.items() if "dict" not in str(kind.type)} - _READ_BY


@dataclass(frozen=True)
class Selection:
    """What the user chose; an empty select means all. `ignore` maps a code or prefix to the reason."""

    select: tuple[str, ...] = ()
    ignore: Mapping[str, str] = field(default_factory=dict)

    def ignores(self, page: Page) -> str | None:
        """The reason why `page` is ignored, or None."""
        return next((reason for prefix, reason in self.ignore.items() if _matches(page, prefix)), None)

    def selects(self, page: Page) -> bool:
        """Whether `page` is asked for; an exact or longer prefix in select beats ignore."""
        return not self.select or any(_matches(page, p) for p in self.select)


def _matches(page: Page, text: str) -> bool:
    return text == "ALL" or page.code.startswith(text) or page.name == text


def validated(selection: Selection, pages: Sequence[Page]) -> Selection:
    """Raise UsageError for a code that no rule has: a typo must not silently select nothing."""
    for where, texts in (("--select", selection.select), ("--ignore", tuple(selection.ignore))):
        for text in texts:
            if text != "ALL" and not any(_matches(p, text) for p in pages):
                import difflib

                names = [p.code for p in pages] + [p.name for p in pages]
                near = difflib.get_close_matches(text, names, 3, 0.5)
                hint = f"did you mean {', '.join(near)}?" if near else "see `lorachk rules list`"
                raise UsageError(f"no rule has the code or name {text!r}", where=where, hint=hint)
    return selection


def interacts(page: Page) -> bool:
    """Whether `page` holds the records of a dataset against the way of launching, beyond who reads them and how."""
    looked_at = page.reads & (DATA | REHEARSAL)
    if not looked_at or looked_at - {"record", "dataset"}:
        return False
    return bool(set(re.findall(r"\w+", page.sql)) & _OF_LAUNCH)


def serves(command: str, page: Page, *, data: bool = False) -> bool:
    """Whether `page` is a rule of `command`, told by what it reads.

    data: dataset facts, and nothing that needs the model or a machine. model: no dataset or rehearsal facts; when
    there is a dataset (`data`), also what its records and the way of launching do to each other.
    smoke-train: rehearsal facts. check: everything.
    """
    match command:
        case "data":
            launched = interacts(page) and not page.code.startswith("D")  # without a launch they would all be skipped
            return bool(page.reads & DATA) and page.reads <= DATA | RUN and not launched
        case "model":
            return not page.reads & (DATA | REHEARSAL) or (data and interacts(page))
        case "smoke-train":
            return bool(page.reads & REHEARSAL)
        case _:
            return True
