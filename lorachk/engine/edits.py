"""From a rule's column `fix` to edits of files, and edits made until nothing is left to mend."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorachk.engine.finding import Finding, Report
from lorachk.fixes.settings import CannotEdit, Edit, editor
from lorachk.launchers.text import overlaid, read_text

_ROUNDS = 20  # mending one thing can show another; more than a few in a row means that two fixes undo each other


def edits_of(given: Any) -> tuple[Edit, ...]:
    """The edits in a column `fix`: what the macros replacing, removing, adding, renaming and moving give, or a list."""
    return tuple(_edit(one) for one in (given if isinstance(given, list) else [given]) if one is not None)


def _edit(given: dict[str, Any]) -> Edit:
    at, key, operation = given["place"], given["key"], given["operation"]
    value = None if given["value"] is None else json.loads(given["value"])
    pointer = at["pointer"] or ""
    if operation == "add":
        pointer, key = f"{pointer}/{key}", None
    return Edit(operation, at["path"], pointer, value, key, at["line"], at["col"])


@dataclass
class Mended:
    """What became of the files: new texts by path, the findings that were mended, and edits that a person must make.

    `by_hand` holds those of findings that are still there in the end.
    """

    texts: dict[str, str] = field(default_factory=dict)
    originals: dict[str, str] = field(default_factory=dict)
    mended: list[Finding] = field(default_factory=list)
    by_hand: list[tuple[Finding, Edit]] = field(default_factory=list)
    report: Report | None = None  # on the files as they are then


def mend(judged: Callable[[], Report], *, with_unsafe: bool) -> Mended:
    """Judge, make the edits of what was found, and judge again, until no edit is left. Nothing is written.

    `judged` resolves and judges the run; it reads the files as they are in memory. All edits of a finding are made, or
    none of them.
    """
    work = Mended()
    tried: set[str] = set()
    for _ in range(_ROUNDS):
        with overlaid(work.texts):
            work.report = judged()
        changed: list[Edit] = []
        for finding in work.report.findings:
            if not finding.edits or not (finding.safe or with_unsafe) or _key(finding) in tried:
                continue
            if any(_meet(mine, other) for mine in finding.edits for other in changed):
                continue  # made for what was there before that change; the next round tells whether it still is wanted
            tried.add(_key(finding))
            if _make(work, finding):
                changed += finding.edits
        if not changed:
            break
    there = {_key(finding) for finding in work.report.findings} if work.report else set()
    work.by_hand = [(finding, edit) for finding, edit in work.by_hand if _key(finding) in there]
    return work


def _key(finding: Finding) -> str:
    """What tells a change from another one; its values may be objects, which have no hash."""
    return f"{finding.rule} {finding.edits!r}"


def _meet(one: Edit, other: Edit) -> bool:
    """Whether two edits touch the same value, or one a value inside the other's."""

    def inside(inner: str, outer: str) -> bool:
        return inner == outer or inner.startswith(f"{outer}/")

    touched = {one.pointer, one.target()}, {other.pointer, other.target()}
    return one.path == other.path and any(inside(a, b) or inside(b, a) for a in touched[0] for b in touched[1])


def _make(work: Mended, finding: Finding) -> bool:
    texts = dict(work.texts)
    for edit in finding.edits:
        change = editor(edit.path)
        if change is None:
            work.by_hand += [(finding, one) for one in finding.edits]
            return False
        try:
            with overlaid(texts):
                text = read_text(edit.path, "configuration")[0]
            work.originals.setdefault(edit.path, text)
            texts[edit.path] = change(text, edit)
        except CannotEdit:
            work.by_hand += [(finding, one) for one in finding.edits]
            return False
    work.texts.update(texts)
    work.mended.append(finding)
    return True


def write(texts: dict[str, str]) -> None:
    """Write files, each whole or not at all; line ends and mode stay. Raises OSError."""
    import os
    import shutil

    for name, text in texts.items():
        path = Path(name).resolve()
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with partial.open("x", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(path, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def unsafe_left(findings: Sequence[Finding]) -> list[str]:
    """Codes of findings that --unsafe-fixes would mend."""
    return sorted({f.rule for f in findings if f.edits and not f.safe and all(editor(e.path) for e in f.edits)})
