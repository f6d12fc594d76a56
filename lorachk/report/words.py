"""What all formats say alike: places, numbers, shares and sizes in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from lorachk.engine.finding import Finding, Place, Report, Severity, Skipped, percent
from lorachk.report.escape import clipped, sentence, visible

GIB = 2**30
_NOUN = {"encoding": "record", "gpu": "GPU"}  # tables whose rows a person calls something else


def plural(count: int, noun: str) -> str:
    """ "1 record", "2 records", "665,000 records"."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def gib(size: float | None) -> str:
    """Bytes as "12.3 GiB"; "-" when unknown."""
    return "-" if size is None else f"{size / GIB:,.1f} GiB"


def how_many(finding: Finding) -> str | None:
    """ "133 of 665,000 records (0.02 %)" for rules that count offenders; None for others."""
    if not finding.total or not finding.of:
        return None
    share = percent(finding.count, finding.total)
    return f"{finding.count:,} of {plural(finding.total, _NOUN.get(finding.of, sentence(finding.of)))} ({share})"


def shown_path(path: str, root: Path | None = None) -> str:
    """`path` relative to `root` (default: the working folder) when it is below it, so that editors and CI find it."""
    pure = PurePath(path)
    base = root or Path.cwd()
    return str(pure.relative_to(base)) if pure.is_absolute() and pure.is_relative_to(base) else path


def spot(place: Place, root: Path | None = None) -> str:
    """`path:line:column`, as far as it is known; "" without a path."""
    if place.path is None:
        return ""
    parts = [visible(shown_path(place.path, root))]
    if place.line is not None and place.line > 0:
        parts.append(str(place.line))
        if place.column is not None and place.column > 0:
            parts.append(str(place.column))
    return ":".join(parts)


def inside(place: Place, pointer_limit: int = 60) -> str:
    """ "record 7, turn 2, /7/conversations/2/content": where in the file's structure."""
    parts = []
    if place.record is not None:
        parts.append(f"record {place.record}")
    if place.turn is not None:
        parts.append(f"turn {place.turn}")
    if place.pointer:
        parts.append(clipped(visible(place.pointer), pointer_limit))
    return ", ".join(parts)


def more(finding: Finding, shown: Iterable[Place]) -> int:
    """How many offenders are not among `shown`."""
    places = list(shown)
    if not finding.total:
        return len(finding.places) - len(places)
    # A record that offends in several turns has several places and counts once.
    seen = len({(p.path, p.record) for p in places}) if finding.of == "record" else len(places)
    return max(finding.count - seen, 0)


_LIST_MARK = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_LINK = re.compile(r"\[([^\]]+)\]\([^)\s]+\)")


def short_fix(fix: str, limit: int = 300) -> str:
    """The first advice of a page's section "Fix" as one line of plain text, without a lead-in ("In this order:")."""
    blocks = _blocks(fix)
    text = blocks[0] if blocks else ""
    if text.endswith(":") and len(blocks) > 1:
        text = f"{text} {blocks[1]}" if blocks[1].startswith("`") else blocks[1]
    return clipped(text, limit)


def changes(findings: Sequence[Finding]) -> list[str]:
    """What --fix would do for these findings, and for scripts, which are not written, the flags to change."""
    if not any(finding.edits for finding in findings):
        return []
    from lorachk.fixes.settings import editor, told

    made: list[bool] = []
    by_hand: list[str] = []
    for finding in (finding for finding in findings if finding.edits):
        if all(editor(edit.path) for edit in finding.edits):  # all of them are made, or none
            made.append(finding.safe)
        else:
            by_hand += [sentence(told(edit)) for edit in finding.edits]
    options = "--fix" if all(made) else "--fix --unsafe-fixes"
    return [*dict.fromkeys(by_hand), *([f"`{options}` makes the change in the file"] if made else [])]


def _blocks(fix: str) -> list[str]:
    """Paragraphs, list items and code blocks of a piece of Markdown, each as one line."""
    blocks: list[list[str]] = [[]]
    fenced = False
    for line in fix.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
            blocks.append(["`"] if fenced else [])
        elif fenced or (line.strip() and not _LIST_MARK.match(line)):
            blocks[-1].append(line)
        else:
            blocks.append([_LIST_MARK.sub("", line)])
    texts = [_LINK.sub(r"\1", sentence(" ".join(b))).replace("**", "") for b in blocks]
    return [f"`{t[1:].strip()}`" if b[:1] == ["`"] else t for b, t in zip(blocks, texts, strict=True) if t]


def worst_first(report: Report) -> list[Finding]:
    """The findings by severity, then by code."""
    return sorted(report.findings, key=lambda f: (-f.severity, f.rule))


def tally(report: Report) -> str:
    """ "2 errors, 1 warning, 3 infos"; "" without findings."""
    counts = Counter(f.severity for f in report.findings)
    return ", ".join(plural(counts[s], s.name) for s in sorted(Severity, reverse=True) if counts[s])


def rules_tally(report: Report) -> str:
    """ "24 rules passed, 3 skipped, 1 ignored"."""
    parts = [f"{plural(len(report.passed), 'rule')} passed"]
    others = (("skipped", report.skipped), ("ignored", report.ignored), ("broken", report.broken))
    parts += [f"{len(rules):,} {word}" for word, rules in others if rules]
    return ", ".join(parts)


def verdict(report: Report) -> str:
    """The one sentence that a reader takes away."""
    troubles = []
    if report.broken:
        troubles.append(f"{plural(len(report.broken), 'rule')} broke")
    if report.internal_errors:
        troubles.append(plural(len(report.internal_errors), "internal error"))
    if report.findings:
        crashed = f", with {plural(len(report.internal_errors), 'internal error')}" if report.internal_errors else ""
        return f"Found {tally(report)} ({rules_tally(report)}){crashed}."
    if troubles:
        return f"Nothing found, but {' and '.join(troubles)} ({rules_tally(report)})."
    if not report.passed:
        return f"Nothing was checked ({rules_tally(report)})."
    return f"Nothing found: {rules_tally(report)}."


def by_reason(rules: Iterable[Skipped]) -> list[tuple[str, list[str]]]:
    """Reasons with the codes they hold for, the reason of most rules first."""
    groups: dict[str, list[str]] = {}
    for rule in rules:
        groups.setdefault(sentence(rule.reason), []).append(visible(rule.rule))
    return sorted(((r, sorted(codes)) for r, codes in groups.items()), key=lambda g: (-len(g[1]), g[1]))


# Tables whose rows a person counts, in the order of reading.
_COUNTED = {
    "record": "record",
    "image": "image",
    "setting": "setting",
    "package": "package",
    "parameter": "parameter tensor",
    "gpu": "GPU",
}


def looked_at(report: Report) -> str:
    """ "Looked at 42 records, 40 images in 4.1 s."."""
    seen = ", ".join(plural(report.facts[t], noun) for t, noun in _COUNTED.items() if report.facts.get(t))
    return f"{f'Looked at {seen}' if seen else 'Done'} in {report.seconds:.1f} s."
