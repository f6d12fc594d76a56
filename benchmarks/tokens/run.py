"""Exact encoding facts of a large dataset against tokenising everything with encode_batch, in one run.

    python benchmarks/tokens/run.py [--records 665000] [--tokenised 665000] [--sizes 10000] [--write]

`lorachk`: the whole of `lorachk data` with the rules on tokens, as a user runs it, for LLaMA-Factory's qwen2_vl
template at cutoff_len 2048. `encode_batch`: the rendered text of every record through encode_batch on all cores, and
nothing else; with fewer `--tokenised`, of so many records, scaled up. `--sizes`: lorachk alone on files of other sizes:
memory must not grow with them. `--write` records the result in result.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from generate import dataset, model

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "scan"))
from measuring import measure  # noqa: E402

_TOML = """[run]
trainer = "llamafactory"
model = "model"
data = ["train.json"]
max_length = 2048

[run.args]
template = "qwen2_vl"
"""


def lorachk(folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of `lorachk data`, and how many records are known exactly."""
    facts = folder / "facts.duckdb"
    command = [sys.executable, "-m", "lorachk", "data", "--select", "T", "--format", "json", "--output", "/dev/null"]
    found = measure(command, folder)
    subprocess.run([*command, "--save", str(facts)], cwd=folder, check=False, capture_output=True)
    query = "SELECT count(*) AS records, count(tokens) AS exact, count(*) FILTER (cut) AS cut FROM encoding"
    asked = [sys.executable, "-m", "lorachk", "sql", "--facts", str(facts), "--format", "json", query]
    done = subprocess.run(asked, cwd=folder, check=True, capture_output=True, text=True)
    facts.unlink()
    return {**found, **json.loads(done.stdout)[0]}


def compared(folder: Path, records: int, tokenised: int) -> dict[str, Any]:
    """Both on one file."""
    data = folder / "train.json"
    dataset(data, records)
    result: dict[str, Any] = {"records": records, "megabytes": round(data.stat().st_size / 1e6, 1)}
    result["lorachk"] = lorachk(folder)
    command = [sys.executable, str(HERE / "everything.py"), str(data), str(folder / "model"), str(tokenised)]
    found = measure(command, folder)
    result["encode_batch"] = found
    if tokenised < records:
        result["encode_batch"] = {**found, "records": tokenised}
    whole = found["seconds"] * records / min(tokenised, records)
    result["times_faster"] = round(whole / result["lorachk"]["seconds"], 2)
    data.unlink()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=665_000)
    parser.add_argument("--tokenised", type=int, default=665_000)
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    parser.add_argument("--write", action="store_true", help="record the result in result.json")
    options = parser.parse_args()
    started = time.time()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model(folder / "model")
        (folder / "lorachk.toml").write_text(_TOML)
        result = compared(folder, options.records, options.tokenised)
        result["lorachk_alone"] = []
        for records in options.sizes:
            dataset(folder / "train.json", records)
            result["lorachk_alone"].append({"size": records, **lorachk(folder)})
    result["machine"] = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    result["minutes"] = round((time.time() - started) / 60, 1)
    text = json.dumps(result, indent=1)
    print(text)
    if options.write:
        (HERE / "result.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
