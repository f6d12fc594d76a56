"""GitHub Markdown for job summaries ($GITHUB_STEP_SUMMARY), merge request comments and chat."""

from __future__ import annotations

from collections.abc import Sequence

from lorachk.engine.finding import Finding, Report, Severity, Skipped, percent
from lorachk.report import Options, fit, rehearsed
from lorachk.report.escape import clipped, markdown, markdown_cell, no_commands, sentence
from lorachk.report.words import (
    by_reason,
    how_many,
    inside,
    looked_at,
    more,
    plural,
    short_fix,
    spot,
    verdict,
    worst_first,
)

_EXAMPLES = 5
_SIGN = {Severity.error: "❌ error", Severity.warning: "⚠️ warning", Severity.info: "ℹ️ info"}


def render(report: Report, options: Options) -> str:
    """Verdict, one section per finding, memory and rehearsal, then what was not judged, folded."""
    parts = ["## lorachk", f"**{verdict(report)}** {markdown(looked_at(report))}"]
    parts += [_finding(f, options) for f in worst_first(report)]
    parts += _lengths(report) if report.lengths else []
    parts += _heaviest(report, options) if report.heaviest else []
    parts += _tables(report)
    parts += _folded("skipped", report.skipped) + _folded("ignored", report.ignored)
    if report.notes:
        parts.append("Only partly known:\n\n" + _items(report.notes))
    trouble = [f"{r.rule} {r.name} broke: {r.reason}" for r in report.broken]
    trouble += [f"internal error: {e}" for e in report.internal_errors]
    if trouble:
        parts.append(_items(trouble))
    return no_commands("\n\n".join(parts)) + "\n"


def _finding(finding: Finding, options: Options) -> str:
    lines = [f"### {_SIGN[finding.severity]} {markdown(finding.rule)} {markdown(finding.name)}", ""]
    lines.append(markdown(finding.message))
    message = sentence(finding.message)
    if (many := how_many(finding)) and "%" not in message:
        lines += ["", markdown(many)]
    shown = finding.places[:_EXAMPLES]
    items = []
    for place in shown:
        note = sentence(place.note or "")
        texts = [spot(place, options.root), inside(place), "" if note == message else clipped(note, 300)]
        if text := "; ".join(markdown(t) for t in texts if t):
            items.append(f"- {text}")
    if rest := more(finding, shown):
        items.append(f"- ... and {rest:,} more")
    if items:
        lines += ["", *items]
    if fix := short_fix(finding.fix):
        lines += ["", f"**Fix:** {markdown(fix)}"]
    return "\n".join(lines)


def _lengths(report: Report) -> list[str]:
    from lorachk.report.bars import kinds_in
    from lorachk.report.lengths import beyond, known, longest, pictures, undecided

    lengths = report.lengths
    assert lengths
    kinds = kinds_in(lengths.bins)
    head = ["tokens", "records", *(kind.words for kind in kinds)]
    body = []
    for row in lengths.bins:
        shares = [percent(getattr(row, kind.name), row.tokens) if row.tokens else "-" for kind in kinds]
        over = " (over the limit)" if lengths.limit is not None and row.low > lengths.limit else ""
        body.append([f"{row.low:,} to {row.high:,}{over}", f"{row.records:,}", *shares])
    limit = f"limit {lengths.limit:,}: " if lengths.limit is not None else ""
    said = [f"{limit}{beyond(lengths)}; {longest(lengths)}", undecided(lengths), known(lengths)]
    said += [pictures(report.sizes)] if report.sizes else []
    said.append("per cent: of the tokens of these records")
    parts = ["### Tokens per record", "\n".join(f"- {markdown(text)}" for text in said if text), _table(head, body)]
    return ["\n\n".join(parts)]


def _heaviest(report: Report, options: Options) -> list[str]:
    from lorachk.report.heaviest import HEAD, caption, cells, verdict, where, why

    rows = report.heaviest or []
    head = [*HEAD, "verdict", "record", "reason"]
    body = [[*cells(row), verdict(row), where(row, options.root), why(row)] for row in rows]
    return [f"### {caption(rows)}\n\n{_table(head, body)}"]


def _tables(report: Report) -> list[str]:
    parts = []
    if rows := report.tables.get("fit", []):
        several = len(fit.gpus(rows)) > 1
        head = [*fit.HEAD, *(["GPU"] if several else []), "this run"]
        body = []
        for row in rows:
            gpu = [sentence(str(row.get("gpu") or "-"))] if several else []
            body.append([*fit.cells(row), *gpu, "yes" if row.get("configured") else ""])
        parts.append(f"### {markdown(fit.caption(rows))}\n\n{_table(head, body)}")
    if rows := report.tables.get("rehearsal", []):
        title = f"### Rehearsal\n\n{markdown(rehearsed.what_ran(rows[0]))}: {markdown(rehearsed.outcome(rows[0]))}"
        steps = report.tables.get("step", [])
        if said := rehearsed.conditions(rows[0]):
            title += f"\n\n{markdown(said)}"
        table = f"\n\n{_table(*rehearsed.steps(steps))}" if steps else ""
        saved = report.tables.get("saved", [])
        parts.append(title + table + (f"\n\n{markdown(rehearsed.saved(saved))}" if saved else ""))
    return parts


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *([markdown_cell(cell) for cell in row] for row in body)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _folded(word: str, rules: Sequence[Skipped]) -> list[str]:
    if not rules:
        return []
    items = "\n".join(f"- {markdown(', '.join(codes))}: {markdown(reason)}" for reason, codes in by_reason(rules))
    summary = f"{plural(len(rules), 'rule')} {word}"
    return [f"<details><summary>{summary}</summary>\n\n{items}\n\n</details>"]


def _items(texts: Sequence[str]) -> str:
    return "\n".join(f"- {markdown(t)}" for t in texts)
