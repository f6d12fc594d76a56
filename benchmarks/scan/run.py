"""Scan speed and memory against json.load with a loop, both in fresh processes, one after the other, on one file.

    python benchmarks/scan/run.py [--records 100000] [--write]

`--write` records the result in result.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

from generate import generate

HERE = Path(__file__).parent


def measure(arguments: list[str]) -> dict[str, float]:
    """Wall seconds and peak resident memory (MiB) of `python ...`, its own process only."""
    start = time.perf_counter()
    child = os.posix_spawn(sys.executable, [sys.executable, *arguments], dict(os.environ))
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{arguments} failed")
    return {"seconds": round(seconds, 2), "mib": round(_kib(usage) / 1024, 1)}


def _kib(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help="record the result in result.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "train.json"
        generate(data, options.records)
        # The baseline runs before and after, so that a busy machine shows.
        first = measure([str(HERE / "baseline.py"), str(data)])
        collect = measure([str(HERE / "ours.py"), "collect", str(data)])
        judge = measure([str(HERE / "ours.py"), "judge", str(data)])
        second = measure([str(HERE / "baseline.py"), str(data)])
        result = {
            "records": options.records,
            "megabytes": round(data.stat().st_size / 1e6, 1),
            "baseline": first,
            "baseline_again": second,
            "collect": collect,
            "judge": judge,
        }
    base = min(first["seconds"], second["seconds"])
    for name, ours in (("collect", collect), ("judge", judge)):
        result[f"{name}_times_faster"] = round(base / ours["seconds"], 2)
        result[f"{name}_memory_share"] = round(ours["mib"] / first["mib"], 3)
    result["machine"] = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    text = json.dumps(result, indent=1)
    print(text)
    if options.write:
        (HERE / "result.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
