"""Judging: a row is a finding, an unknown is never passed, and one bad rule does not take the others down."""

from __future__ import annotations

from lorachk.engine.finding import Report
from lorachk.engine.gather import gather, needed
from lorachk.engine.judge import judge
from lorachk.engine.rules import load_rules
from lorachk.engine.select import Selection
from lorachk.engine.session import exit_code
from lorachk.engine.store import Limits, Store
from lorachk.facts import collector as registry
from lorachk.facts.collector import Collector, Context, NotCollected
from lorachk.run import Run


def _judged(path, fill, selection=None, limits=None) -> Report:
    report = Report("check")
    with Store(limits) as store:
        fill(store)
        judge(store, load_rules([path]).pages, selection or Selection(), report)
    return report


def test_every_row_is_a_finding_at_its_place(page_file):
    path = page_file("SELECT 'bad ' || s.name AS message, s.place AS at FROM setting s ORDER BY s.name")
    rows = [{"name": "a", "place": ("ds.json", 3, 9, "/a")}, {"name": "b", "place": ("ds.json", 4, 9, "/b")}]
    report = _judged(path, lambda s: s.add("setting", rows))
    assert [f.message for f in report.findings] == ["bad a", "bad b"]
    assert report.findings[0].places[0].path == "ds.json"
    assert report.findings[0].places[0].line == 3


def test_a_dataset_rule_gives_one_finding_with_count_and_share(page_file):
    head = 'of: record\nmessage: "{count} of {total} records ({share}) are bad"\n'
    path = page_file("SELECT 'turn ' || turn AS message, path, record, turn FROM turn WHERE role = 'x'", head=head)

    def fill(store: Store) -> None:
        store.add("record", [{"path": "t.json", "record": i} for i in range(200)])
        store.add("turn", [{"path": "t.json", "record": i, "turn": t, "role": "x"} for i in (7, 3) for t in (0, 1)])

    (finding,) = _judged(path, fill).findings
    assert finding.message == "2 of 200 records (1 %) are bad"
    assert (finding.count, finding.total, finding.share) == (2, 200, 0.01)
    assert [(p.record, p.turn, p.note) for p in finding.places][:2] == [(3, 0, "turn 0"), (3, 1, "turn 1")]


def test_a_table_that_was_not_collected_skips_its_rule_with_the_reason(page_file):
    path = page_file("SELECT 'x' AS message FROM gpu")
    report = _judged(path, lambda s: s.unknown("gpu", "no NVIDIA driver here"))
    assert (report.passed, report.findings) == ([], [])
    assert report.skipped[0].reason == "no NVIDIA driver here"


def test_a_needed_column_that_nobody_knows_skips_its_rule(page_file):
    path = page_file("SELECT 'x' AS message FROM run WHERE bf16", head="needs: [run.bf16]\n")
    report = _judged(path, lambda s: s.add("run", [{"fp16": True}]))
    assert report.skipped[0].reason == "bf16 is not known"
    assert not report.passed
    assert _judged(path, lambda s: s.add("run", [{"bf16": False}])).passed == ["X101"]


def test_a_column_known_only_in_part_never_passes_but_still_finds(page_file):
    path = page_file("SELECT 'x' AS message FROM image WHERE NOT exists", head="needs: [image.exists]\n")

    def fill(found: bool):
        def add(store: Store) -> None:
            store.add("image", [{"exists": found}, {"exists": None}])
            store.unknown("image.exists", "1 URL was not fetched", 1)

        return add

    assert _judged(path, fill(True)).skipped[0].reason == "1 URL was not fetched"
    assert len(_judged(path, fill(False)).findings) == 1


def test_a_rule_that_never_ends_is_broken_and_is_no_clean_run(page_file):
    path = page_file(
        "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r) SELECT count(*)::VARCHAR AS message FROM r"
    )
    report = _judged(path, lambda _: None, limits=Limits(seconds=0.5))
    assert "stopped" in report.broken[0].reason
    assert exit_code(report, fail_on="error", no_skips=False) == 2


def test_a_query_that_fails_on_the_facts_is_broken_not_passed(page_file):
    path = page_file("SELECT name::INTEGER::VARCHAR AS message FROM setting")
    report = _judged(path, lambda s: s.add("setting", [{"name": "no number"}]))
    assert report.broken
    assert not report.passed


def test_an_ignored_rule_keeps_its_reason(page_file):
    path = page_file("SELECT 'x' AS message FROM step")
    report = _judged(path, lambda s: s.add("step", [{"step": 1}]), Selection(ignore={"X": "on purpose"}))
    assert report.ignored[0].reason == "on purpose"
    assert not report.findings


def test_a_crashing_collector_is_an_internal_error_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(
        registry,
        "COLLECTORS",
        (
            Collector(("gpu",), "tests.test_judge:crash"),
            Collector(("host",), "tests.test_judge:refuse"),
            Collector(("package",), "tests.test_judge:work"),
        ),
    )
    monkeypatch.setattr("lorachk.engine.gather.COLLECTORS", registry.COLLECTORS)
    report = Report("check")
    with Store() as store:
        gather(Context(Run(), store), store, {"gpu", "host", "package"}, report)
        reasons = {r["fact"]: r["reason"] for r in store.rows("unknown")}
        assert store.collected - {"unknown"} == {"package"}, "half a table does not count as collected"
        assert store.count("gpu") == 0
    assert "ZeroDivisionError" in report.internal_errors[0]
    assert "internal error" in reasons["gpu"]
    assert reasons["host"] == "no /proc here"


def crash(context: Context) -> None:
    context.sink.add("gpu", [{"index": 0}])
    raise ZeroDivisionError("by zero")


def refuse(_: Context) -> None:
    raise NotCollected("no /proc here")


def work(context: Context) -> None:
    context.sink.add("package", [{"name": "torch", "version": "2.13.0"}])


def test_collectors_run_only_for_tables_that_are_wanted():
    assert [c.tables[0] for c in needed({"package"})] == ["package"]
    assert [c.tables[0] for c in needed({"fit"})] == ["gpu", "module", "memory"]


def test_a_rule_whose_record_is_no_number_is_broken_and_takes_no_other_down(page_file):
    bad = page_file("SELECT 'x' AS message, 't.json' AS path, 'seven' AS record FROM step")
    text = bad.read_text().replace("X101", "X102").replace("'seven'", "7").replace("too-many", "too-few")
    (bad.parent / "X102-good.md").write_text(text)

    def fill(store: Store) -> None:
        store.add("step", [{"step": 1}])
        store.add("record", [{"path": "t.json", "record": 7, "line": 3, "pointer": "/7"}])

    report = _judged(bad.parent, fill)
    assert [r.rule for r in report.broken] == ["X101"]
    assert [(f.rule, f.places[0].line, f.places[0].pointer) for f in report.findings] == [("X102", 3, "/7")]
