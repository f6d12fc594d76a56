"""Run the failures that depend on a library's version against those versions, on CPU ranks.

    python benchmarks/versions/verify.py                 # every case
    python benchmarks/versions/verify.py Z114 Z101       # the cases of these rules
    python benchmarks/versions/verify.py 0.18.9          # those with this version in their environment
    python benchmarks/versions/verify.py --list
    python benchmarks/versions/verify.py --record        # writes result.json beside this file

The first run installs old versions (environments.py: kept in ~/.cache/lorachk-versions or $LORACHK_VERSIONS); later
ones take a few minutes. Exit code 1 when a version does not do what rules/ says of it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from cases import CASES, HANGS, Case
from environments import python_with

HERE = Path(__file__).parent
STARTING = 300  # seconds for the imports of a worker


class Result(NamedTuple):
    """How a case ended; `holds` tells whether that is what the rule says."""

    case: Case
    seen: str
    seconds: int
    holds: bool
    libraries: str = ""


def outcomes(python: Path, cases: list[Case]) -> Iterator[Result]:
    """Run cases of one environment and one worker, in one process after another."""
    command: list[str | Path] = [python, HERE / "runner.py", cases[0].worker]
    command += [f"{case.ranks}:{case.seconds}:{case.mode}" for case in cases]
    # no GPU, one thread a rank, and nothing that fetches
    env = {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    limit = STARTING + sum(case.seconds + 20 for case in cases)
    libraries, rest = "", list(cases)
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            ["nice", "-n", "15", *command], stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | env
        ) as run:
            watch = threading.Timer(
                limit, run.kill
            )  # each case has its own limit in runner.py; this is for the imports
            watch.start()
            for line in run.stdout or ():
                kind, _, told = line.rstrip("\n").partition("\t")
                if kind == "VERSIONS":
                    libraries = told
                if kind == "OUTCOME" and rest:
                    _, seconds, seen = told.split("\t", 2)
                    case = rest.pop(0)
                    yield Result(case, seen, int(seconds), case.holds(seen), libraries)
            watch.cancel()
        errors.seek(0)
        said = errors.read()
    if os.environ.get("LORACHK_VERSIONS_LOGS"):
        sys.stderr.write(said)
    last = (said.strip().splitlines() or ["nothing printed"])[-1][-300:]
    for case in rest:  # the worker could not be imported, or the process died; that no rule expects
        yield Result(case, f"{HANGS}: {last}", 0, False, libraries)


def chosen(words: list[str]) -> list[Case]:
    """Cases of the rules, modes or versions that were named."""
    return [c for c in CASES if not words or any(w in (c.rule, c.mode) or w in " ".join(c.versions) for w in words)]


def results(cases: list[Case]) -> Iterator[Result]:
    """Run all cases, environment by environment."""
    for versions in dict.fromkeys(case.versions for case in cases):
        here = [case for case in cases if case.versions == versions]
        try:
            python = python_with(versions)
        except subprocess.CalledProcessError as error:
            last = (error.stderr or str(error)).strip().splitlines()[-1]
            yield from (Result(case, f"not installed: {last}", 0, False) for case in here)
            continue
        for worker in dict.fromkeys(case.worker for case in here):
            yield from outcomes(python, [case for case in here if case.worker == worker])


def named(case: Case) -> str:
    """The versions that differ from the installed ones, without what only comes along."""
    told = [v for v in case.versions if v.partition("==")[0] in ("transformers", "accelerate", "peft", "deepspeed")]
    return ", ".join(v.replace("==", " ") for v in told) or "installed"


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Columns side by side."""
    lines = list(rows)
    widths = [max(len(row[i]) for row in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in lines)


def record(all_results: list[Result], seconds: float) -> None:
    """Write what was seen to result.json; what it holds of other cases stays."""
    installed = {name: version(name) for name in ("torch", "deepspeed", "transformers", "accelerate", "peft")}
    rows = [
        {"rule": r.case.rule, "mode": r.case.mode, "versions": named(r.case), "expected": r.case.outcome}
        | {"seen": r.seen[:200], "holds": r.holds, "seconds": r.seconds, "libraries": r.libraries}
        for r in all_results
    ]
    file = HERE / "result.json"
    before: dict[str, Any] = (
        json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"cases": [], "seconds": 0}
    )
    new = {(row["rule"], row["mode"], row["versions"]) for row in rows}
    known = {(c.rule, c.mode, named(c)) for c in CASES}
    rows += [row for row in before["cases"] if (row["rule"], row["mode"], row["versions"]) in known - new]
    told: dict[str, object] = {"date": datetime.datetime.now(datetime.timezone.utc).date().isoformat()}
    told |= {"python": platform.python_version(), "installed": installed, "cpus": os.cpu_count()}
    told |= {"seconds": round(seconds) if new == known else before["seconds"], "cases": rows}
    file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Compare every outcome with what is expected; prints a line as each ends, and a table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", help="codes of rules, modes, or parts of versions; all without")
    parser.add_argument("--list", action="store_true", help="print the cases and run none")
    parser.add_argument("--record", action="store_true", help="write result.json")
    options = parser.parse_args()
    cases = chosen(options.only)
    if not cases:
        parser.error(f"no case of {' '.join(options.only)}; --list prints them")
    if options.list:
        print(table((c.rule, c.mode, named(c), c.outcome) for c in cases))
        return 0
    start, done = time.monotonic(), []
    for result in results(cases):
        done.append(result)
        word = "as expected" if result.holds else "NOT as expected"
        print(f"{result.case.rule} {result.case.mode} ({named(result.case)}): {word} in {result.seconds} s", flush=True)
    head = ("rule", "mode", "versions", "expected", "seen", "")
    rows = (
        (r.case.rule, r.case.mode, named(r.case), r.case.outcome, r.seen[:90], "" if r.holds else "!") for r in done
    )
    print("\n" + table((head, *rows)))
    if options.record:
        record(done, time.monotonic() - start)
    wrong = [r for r in done if not r.holds]
    print(f"\n{len(done)} cases, {len(wrong)} not as expected, {time.monotonic() - start:.0f} s")
    for r in wrong:
        print(f"  {r.case.rule} {r.case.mode} ({named(r.case)}), expected {r.case.outcome!r}: {r.seen}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
