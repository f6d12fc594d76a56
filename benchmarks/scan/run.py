"""Scan speed and memory against json.load with a loop, and against datasets, each in a fresh process, on one file.

    python benchmarks/scan/run.py [--records 665000] [--sizes 10000 100000 6000000] [--write]

`--sizes` adds files of other sizes that lorachk alone scans: time must grow with the file, memory must not. `--write`
records the result in result.json beside this file. Memory is the largest sum of resident memory that lorachk's process
and its workers had at one time, each looked at every tenth of a second (pages that they share count for each).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from generate import generate
from measuring import measure

HERE = Path(__file__).parent


def script(name: str, data: Path, *options: str) -> dict[str, float]:
    """One of the scripts beside this file, on the data."""
    return measure([sys.executable, str(HERE / name), str(data), *options])


def compared(records: int, folder: Path, *, with_datasets: bool) -> dict[str, Any]:
    """All readers on one file. The loop runs before and after, so that a busy machine shows.

    `loop` asks the questions of the D rules, `lean_loop` the five that people think of first.
    """
    data = folder / "train.json"
    generate(data, records)
    result: dict[str, Any] = {"records": records, "megabytes": round(data.stat().st_size / 1e6, 1)}
    result["lean_loop"] = script("baseline.py", data, "--lean")
    result["loop"] = script("baseline.py", data)
    result["lorachk"] = script("ours.py", data)
    result["lorachk_again"] = script("ours.py", data)
    result["loop_again"] = script("baseline.py", data)
    if with_datasets and find_spec("datasets"):
        result["datasets"] = script("with_datasets.py", data)
    ours = min(result["lorachk"]["seconds"], result["lorachk_again"]["seconds"])
    loop = min(result["loop"]["seconds"], result["loop_again"]["seconds"])
    result["times_faster_than_loop"] = round(loop / ours, 2)
    result["times_faster_than_lean_loop"] = round(result["lean_loop"]["seconds"] / ours, 2)
    result["share_of_its_memory"] = round(result["lorachk"]["mib"] / result["loop"]["mib"], 3)
    data.unlink()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=665_000)
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    parser.add_argument("--no-datasets", action="store_true", help="leave datasets out, which takes longest")
    parser.add_argument("--write", action="store_true", help="record the result in result.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = compared(options.records, folder, with_datasets=not options.no_datasets)
        sizes = []
        for records in options.sizes:
            data = folder / "train.json"
            generate(data, records)
            sizes.append({"records": records, "megabytes": data.stat().st_size // 10**6, **script("ours.py", data)})
            data.unlink()
        result["lorachk_alone"] = sizes
    result["machine"] = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    text = json.dumps(result, indent=1)
    print(text)
    if options.write:
        (HERE / "result.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
