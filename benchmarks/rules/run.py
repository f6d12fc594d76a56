"""How long the data rules take on a dataset the size of LLaVA's 665k mix: `python benchmarks/rules/run.py [FILTER]`.

Fills a store with made-up facts (665,000 records, 7,300,000 turns; DuckDB's `range`), then judges every data rule as
`lorachk data` does and prints the seconds of each; writes result.json beside this file when no filter is given.
Most records are sound, one in a thousand is not, and `--broken` makes every record wrong, the worst case for a page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from pathlib import Path

from lorachk.engine.finding import Report
from lorachk.engine.judge import judge
from lorachk.engine.page import Page
from lorachk.engine.rules import builtin_rules, load_rules
from lorachk.engine.select import Selection
from lorachk.engine.store import Limits, Store

RECORDS = 665_000  # of 10 and 12 turns: 7,315,000
_AREAS = ("data",)

_FILL = (
    """INSERT INTO dataset (path, split, container, bytes, encoding, records)
       VALUES ('data/llava_v1_5_mix665k.json', 'train', 'array', 1200000000, 'utf-8', {records}),
              ('data/eval.json', 'eval', 'array', 1200000, 'utf-8', 1000)""",
    """INSERT INTO record (path, record, line, "offset", pointer, split, dialect, style, image_field, image_count,
         video_count, placeholder_count, turns_with_placeholder, turn_count, verdict, reason, digest)
       SELECT path, n, n, n * 1800, '/' || n, split, dialect, 'from/value', image_field, image_count, 0,
         CASE WHEN {wrong} THEN 3 ELSE image_count END, image_count, 10 + n % 2 * 2, verdict, reason,
         hash(CASE WHEN {wrong} THEN n % 1000 ELSE n END)
       FROM (SELECT n, 'data/llava_v1_5_mix665k.json' AS path, 'train' AS split,
               CASE WHEN n % 16 = 0 THEN 'sharegpt' ELSE 'llava' END AS dialect,
               CASE WHEN n % 16 = 0 THEN 'absent' ELSE 'string' END AS image_field,
               (n % 16 <> 0)::INTEGER AS image_count,
               CASE WHEN {wrong} THEN 'replaced' WHEN n % 1000 = 0 THEN 'crash' ELSE 'kept' END AS verdict,
               CASE WHEN {wrong} OR n % 1000 = 0 THEN 'turn 3 has no value' END AS reason
             FROM range({records}) r(n)
             UNION ALL SELECT n, 'data/eval.json', 'eval', 'llava', 'string', 1, 'kept', NULL FROM range(1000) r(n))""",
    """INSERT INTO turn (path, record, turn, role, speaker, previous, content_type, characters, bytes, blank,
         placeholders, keys, literals)
       SELECT d.path, d.record, t, CASE WHEN t % 2 = 0 THEN 'human' ELSE 'gpt' END,
         CASE WHEN t % 2 = 0 THEN 'user' ELSE 'assistant' END,
         CASE WHEN t = 0 THEN NULL WHEN (t % 2 = 0) <> {wrong} THEN 'assistant' ELSE 'user' END,
         'string', 40 + (d.record * 7 + t) % 300, 40 + (d.record * 7 + t) % 300,
         {wrong} OR d.record % 1000 = 7 AND t = 3,
         ({wrong} OR t = 0 AND d.image_count > 0)::INTEGER, [],
         CASE WHEN {wrong} OR d.record % 1000 = 9 AND t = 1 THEN ['<unk>'] ELSE [] END
       FROM record d, range(12) r(t) WHERE t < d.turn_count""",
    """INSERT INTO image (path, record, position, pointer, reference, resolved, kind, "exists", bytes, format, mode,
         width, height, frames)
       SELECT path, record, 0, '/image', 'coco/train2017/' || record || '.jpg',
         '/data/coco/train2017/' || record || '.jpg', 'file', record % 1000 <> 11, 150000, 'JPEG', 'RGB', 640, 480, 1
       FROM record WHERE image_count > 0""",
    """INSERT INTO field (path, split, pointer, type, count, record)
       VALUES ('data/llava_v1_5_mix665k.json', 'train', '', 'object', {records}, 0),
              ('data/llava_v1_5_mix665k.json', 'train', '/id', 'string', {records} - 700, 0),
              ('data/llava_v1_5_mix665k.json', 'train', '/id', 'integer', 700, 33)""",
    "INSERT INTO run (trainer, data) VALUES ({trainer}, ['data/llava_v1_5_mix665k.json'])",
)


def filled(records: int, trainer: str | None, memory: str, broken: bool) -> Store:
    """A store with the made-up facts."""
    store = Store(Limits(memory=memory))
    values = {
        "records": records,
        "wrong": "true" if broken else "false",
        "trainer": f"'{trainer}'" if trainer else "NULL",
    }
    store._db.execute("SET threads = 2")
    store.name_paths(["data/llava_v1_5_mix665k.json", "data/eval.json"], large=True)
    for sql in _FILL:
        store._db.execute(sql.format(**values))
    store.collected |= {"run", "dataset", "record", "turn", "image", "field", "box", "encoding", "package"}
    return store


def timed(store: Store, pages: list[Page]) -> dict[str, dict[str, object]]:
    """Seconds and outcome per page."""
    results: dict[str, dict[str, object]] = {}
    for page in pages:
        report = Report("data")
        began, spent = time.perf_counter(), time.process_time()
        judge(store, [page], Selection(), report)
        seconds, cpu = time.perf_counter() - began, time.process_time() - spent
        outcome = "found" if report.findings else "passed" if report.passed else "skipped"
        if report.broken:
            outcome = f"broken: {report.broken[0].reason}"
        count = report.findings[0].count if report.findings else 0
        results[page.code] = {"seconds": round(seconds, 4), "cpu": round(cpu, 4), "outcome": outcome, "count": count}
    return results


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("filter", nargs="?", default="", help="only codes that start so")
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--memory", default="500MB", help="DuckDB's memory limit")
    parser.add_argument("--trainer", default="llava", help="trainer of the run; '' for none")
    parser.add_argument("--broken", action="store_true", help="every record is wrong")
    options = parser.parse_args()
    chosen = load_rules([builtin_rules()]).pages
    pages = [p for p in chosen if Path(p.path).parent.name in _AREAS and p.code.startswith(options.filter)]
    began = time.perf_counter()
    with filled(options.records, options.trainer or None, options.memory, options.broken) as store:
        fill = time.perf_counter() - began
        turns = store.count("turn")
        results = timed(store, pages)
    total = sum(float(str(r["seconds"])) for r in results.values())
    cpu = sum(float(str(r["cpu"])) for r in results.values())
    for code, row in sorted(results.items(), key=lambda r: -float(str(r[1]["seconds"]))):
        print(f"{code}  {row['seconds']:>8} s  cpu {row['cpu']:>8}  {row['count']:>9}  {row['outcome']}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(results)} pages: {total:.2f} s, {cpu:.2f} s of CPU; {options.records:,} records, {turns:,} turns, "
        f"filled in {fill:.1f} s, peak {peak:.0f} MB"
    )
    if not options.filter and not options.broken and options.records == RECORDS:
        import duckdb

        summary = {
            "records": options.records,
            "turns": turns,
            "memory_limit": options.memory,
            "trainer": options.trainer,
            "threads": 2,
            "cpus": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "duckdb": duckdb.__version__,
            "peak_mb": round(peak),
            "total_seconds": round(total, 2),
            "total_cpu": round(cpu, 2),
            "pages": results,
        }
        Path(__file__).with_name("result.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
