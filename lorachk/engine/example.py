"""Running the examples of rule pages: their files go through the real readers and collectors."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lorachk.engine.edits import mend
from lorachk.engine.finding import Report
from lorachk.engine.gather import gather
from lorachk.engine.judge import judge
from lorachk.engine.page import Block, Example, Page, PageError
from lorachk.engine.picture import picture
from lorachk.engine.select import MODEL, REHEARSAL, Selection
from lorachk.engine.store import Limits, Store
from lorachk.errors import UsageError
from lorachk.facts.collector import Batch, Context, Options, Row
from lorachk.facts.tables import tables
from lorachk.fixes.settings import editor
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.run import Location, Run

_OF_FILES = frozenset({"run", "setting", "source", "argument", "resolved"})  # an edit cannot change rows that are given


@dataclass(frozen=True)
class Outcome:
    """What came of one example; `problem` is None when it did what its page promises.

    `skipped`: it needs a model built with torch, which is not installed.
    """

    page: Page
    example: Example
    good: bool
    problem: str | None
    skipped: bool = False

    @property
    def label(self) -> str:
        """`D108 bad 'two images, one placeholder' (rules/data/D108-x.md:40)`."""
        kind = "good" if self.good else "bad"
        title = f" '{self.example.title}'" if self.example.title else ""
        return f"{self.page.code} {kind}{title} ({self.page.path}:{self.example.line})"


def run_examples(page: Page) -> list[Outcome]:
    """Run all examples of a prepared page: bad ones must be found, good ones must pass."""
    runs = [(e, False) for e in page.bad] + [(e, True) for e in page.good]
    if not can_run(page):
        return [Outcome(page, example, good, None, skipped=True) for example, good in runs]
    mended: list[Example] = []
    outcomes = [Outcome(page, example, good, _problem(page, example, good, mended)) for example, good in runs]
    if page.brief.fix is not None and not mended and not any(outcome.problem for outcome in outcomes):
        problem = "no bad example has a fix that could be made in its JSON, YAML or TOML file"
        outcomes[0] = replace(outcomes[0], problem=problem)
    return outcomes


def can_run(page: Page) -> bool:
    """Whether what the page's examples need is installed."""
    return not page.reads & MODEL or find_spec("torch") is not None


def _problem(page: Page, example: Example, good: bool, mended: list[Example]) -> str | None:
    """What is wrong with an example; one whose files were really mended is added to `mended`."""
    try:
        report = judge_example(page, example)
    except UsageError as error:
        return str(error)
    if report.internal_errors:
        return report.internal_errors[0]
    if report.broken:
        return f"the query failed: {report.broken[0].reason}"
    if good:
        if report.findings:
            return f"found, though it is good: {report.findings[0].message}"
        return f"skipped, not passed: {report.skipped[0].reason}" if report.skipped else None
    if report.findings:
        return _unmended(page, example, report, mended)
    return f"skipped, not found: {report.skipped[0].reason}" if report.skipped else "not found, though it is bad"


def _unmended(page: Page, example: Example, report: Report, mended: list[Example]) -> str | None:
    """What is wrong with the page's fix: made in the bad example, it must leave nothing to find but what has no fix."""
    edits = [edit for finding in report.findings for edit in finding.edits]
    if page.brief.fix is None or not edits or _facts(page, example).keys() & _OF_FILES:
        return None
    if any(editor(edit.path) is None for edit in edits):
        return None  # a script is not written
    with _files(page, example) as folder:
        work = mend(lambda: _judged(page, example, folder), with_unsafe=True)
    assert work.report
    if work.report.internal_errors or work.report.broken:
        return "after the fix the rule cannot be judged"
    known = {finding.message for finding in report.findings if not finding.edits}
    left = [finding for finding in work.report.findings if finding.edits or finding.message not in known]
    if not left:
        mended.append(example)
    return f"the fix leaves: {left[0].message}" if left else None


def judge_example(page: Page, example: Example) -> Report:
    """Write the example's files, collect, and judge them by its own page alone."""
    with _files(page, example) as folder:
        return _judged(page, example, folder)


@contextmanager
def _files(page: Page, example: Example) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lorachk-example-") as name:
        for block in example.blocks:
            if block.name != "facts":
                _write(page, block, Path(name))
        yield Path(name)


def _judged(page: Page, example: Example, folder: Path) -> Report:
    facts = _facts(page, example)
    report = Report("example")
    with Store(Limits(memory="500MB")) as store:
        resolved = resolve(_options(folder))
        for table, rows in facts.items():
            if table != "run":
                store.add(table, rows)
        sink = _Given(store, frozenset(facts) - {"run"})
        run = _overlaid(resolved.run, facts.get("run", []))
        wanted = set(page.reads) - sink.given
        if heavy := wanted & REHEARSAL:
            raise PageError(page.path, example.line, f"the example must give rows of {', '.join(sorted(heavy))}")
        context = Context(run, sink, list(resolved.settings), list(resolved.sources), Options(workers=1))
        gather(context, store, wanted, report)
        judge(store, [page], Selection(), report)
    return report


@dataclass
class _Given:
    """A sink that leaves alone the tables whose rows the example gives itself."""

    store: Store
    given: frozenset[str]

    def add(self, table: str, rows: Iterable[Row]) -> None:
        if table not in self.given:
            self.store.add(table, rows)

    def append(self, batch: Batch) -> None:
        if batch.table not in self.given:
            self.store.append(batch)

    def name_paths(self, paths: Sequence[str], *, large: bool = False) -> None:
        if not self.given:
            self.store.name_paths(paths, large=large)

    def stage(self, name: str, types: Mapping[str, str], rows: Iterable[Row]) -> None:
        self.store.stage(name, types, rows)

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        return self.store.select(sql, parameters)

    def remake(self, table: str, sql: str) -> None:
        if table not in self.given:
            self.store.remake(table, sql)

    def unknown(self, fact: str, reason: str, count: int | None = None) -> None:
        if fact.partition(".")[0] not in self.given:
            self.store.unknown(fact, reason, count)


def _facts(page: Page, example: Example) -> dict[str, list[dict[str, Any]]]:
    import yaml

    block = next((b for b in example.blocks if b.name == "facts"), None)
    if block is None:
        return {}
    try:
        data = yaml.safe_load(block.text)
    except yaml.MarkedYAMLError as error:
        raise PageError(page.path, block.line, f"facts: {error.problem}") from None
    if not isinstance(data, dict) or not all(isinstance(rows, list) for rows in data.values()):
        raise PageError(page.path, block.line, "facts: expected 'table: [ {column: value}, ... ]'")
    for table, rows in data.items():
        if table not in tables():
            raise PageError(page.path, block.line, f"facts: no fact table named {table}")
        names = {c.name for c in tables()[table].columns}
        for row in rows:
            if not isinstance(row, dict) or not row.keys() <= names:
                raise PageError(page.path, block.line, f"facts: a row of {table} has a column that is not declared")
    return data


def _overlaid(run: Run, rows: list[dict[str, Any]]) -> Run:
    if not rows:
        return run
    update = {k: v for k, v in rows[0].items() if not k.endswith("_at")}
    places = {k[:-3]: Location(**v) for k, v in rows[0].items() if k.endswith("_at") and v}
    return replace(run, **update, origins={**run.origins, **places})


def _options(folder: Path) -> ResolveOptions:
    def named(*names: str) -> str | None:
        return next((str(folder / n) for n in names if (folder / n).exists()), None)

    toml = folder / "lorachk.toml"
    if toml.exists():
        return ResolveOptions(toml=str(toml))
    data = named("train.json", "train.jsonl")
    scripts = sorted(folder.glob("*.sh"))
    return ResolveOptions(
        isolated=True,
        data=[data] if data else [],
        deepspeed=named("ds.json"),
        launch=str(scripts[0]) if scripts else None,
        peft=named("adapter_config.json"),
        model=named("model"),
    )


def _write(page: Page, block: Block, folder: Path) -> None:
    if not block.name:
        raise PageError(page.path, block.line, "a block of an example needs a file name: ```json train.json")
    path = (folder / block.name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise PageError(page.path, block.line, f"{block.name} leaves the example's folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    if block.language == "image":
        try:
            path.write_bytes(picture(block.text, block.name))
        except (ValueError, KeyError, OSError) as error:
            raise PageError(page.path, block.line, f"image: {error}") from None
    else:
        path.write_text(block.text, encoding="utf-8")
