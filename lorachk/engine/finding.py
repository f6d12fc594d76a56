"""What a judgement is made of: findings, and the rules that passed, were skipped, ignored or broke."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorachk.facts.encoding.drawing import Drawing
    from lorachk.facts.encoding.histogram import Lengths
    from lorachk.facts.encoding.imagesizes import Sizes
    from lorachk.fixes.settings import Edit


class Severity(IntEnum):
    """A promise: *error* crashes or silently trains the wrong thing; *warning* wastes time, memory or quality."""

    info = 1
    warning = 2
    error = 3


@dataclass(frozen=True)
class Place:
    """A location of a finding. `note` is what was seen at this place."""

    path: str | None = None
    line: int | None = None
    column: int | None = None
    pointer: str | None = None
    record: int | None = None
    turn: int | None = None
    note: str | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. A dataset rule gives one finding with `count` and `share`, not one per record."""

    rule: str
    name: str
    severity: Severity
    message: str
    fix: str  # what to do, from the page's section "Fix" (Markdown)
    places: tuple[Place, ...] = ()  # the first ones; `count` may be larger
    count: int = 1
    total: int | None = None  # rows that were looked at, for rules with `of`
    of: str | None = None  # the table those rows are in: record, turn, image
    edits: tuple[Edit, ...] = ()  # changes of files that mend it
    safe: bool = True  # the edits lose nothing and train nothing else than was meant

    @property
    def share(self) -> float | None:
        """count / total."""
        return self.count / self.total if self.total else None


@dataclass(frozen=True)
class Skipped:
    """A rule that could not be judged, or was ignored on purpose; `reason` says why."""

    rule: str
    name: str
    reason: str


@dataclass
class Report:
    """Everything one command found out."""

    command: str
    findings: list[Finding] = field(default_factory=list)  # worst first, then by code
    passed: list[str] = field(default_factory=list)  # codes
    skipped: list[Skipped] = field(default_factory=list)
    ignored: list[Skipped] = field(
        default_factory=list
    )  # deselected by --ignore or lorachk.toml, with the user's reason
    broken: list[Skipped] = field(default_factory=list)  # the rule itself failed; reason is the error
    internal_errors: list[str] = field(default_factory=list)  # collectors that crashed
    facts: dict[str, int] = field(default_factory=dict)  # rows per collected table
    names: dict[str, str] = field(default_factory=dict)  # code -> name of every selected rule
    notes: list[str] = field(default_factory=list)  # facts that are only partly known
    tables: dict[str, list[dict[str, Any]]] = field(
        default_factory=dict
    )  # rows a renderer may show: fit, gpu, rehearsal ...
    lengths: Lengths | None = None  # tokens per record, as a histogram for people
    sizes: Sizes | None = None  # of the images
    heaviest: list[dict[str, Any]] | None = None  # records, when they were asked for
    drawing: Drawing | None = None  # what a picture shows, when one was asked for
    seconds: float = 0.0
    exit_code: int = 0

    def worst(self) -> Severity | None:
        """Highest severity found."""
        return max((f.severity for f in self.findings), default=None)


def percent(count: int, total: int) -> str:
    """count / total in per cent; never "100 %" when some are left, never "0 %" when there are some."""
    share = 100 * count / total if total else 0.0
    if count == total or not count:
        return f"{share:.0f} %"
    if share < 0.01:
        return "<0.01 %"
    if share > 99.9:
        return ">99.9 %"
    return f"{share:.0f} %" if 10 <= share < 99.5 else f"{share:.3g} %" if share >= 10 else f"{share:.2g} %"


def spelled(count: int, total: int) -> dict[str, str]:
    """What a page's message may use beside its own columns: numbers, and verbs that agree with the count."""
    verbs = {"have": "has", "are": "is", "do": "does"}
    agreeing = {plural: singular if count == 1 else plural for plural, singular in verbs.items()}
    return {"count": f"{count:,}", "total": f"{total:,}", "share": percent(count, total), **agreeing}
