"""What makes a finding the same finding in the next run, although lines moved and counts changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from lorachk.engine.finding import Finding
from lorachk.report.words import shown_path


def fingerprints(findings: Sequence[Finding], root: Path | None = None) -> list[str]:
    """One hexadecimal digest per finding, in order; equal findings of one report are numbered apart."""
    seen: Counter[str] = Counter()
    made = []
    for finding in findings:
        key = _key(finding, root)
        seen[key] += 1
        made.append(sha256(f"{key}\0{seen[key]}".encode("utf-8", "backslashreplace")).hexdigest())
    return made


def _key(finding: Finding, root: Path | None) -> str:
    """Rule, file and pointer, but no line; a counting rule is one finding whatever record comes first."""
    place = finding.places[0] if finding.places else None
    path = shown_path(place.path, root) if place and place.path else ""
    pointer = place.pointer if place and not finding.of else None
    return "\0".join((finding.rule, path, pointer or ""))
