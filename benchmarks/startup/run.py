"""How long `lorachk` takes for little: its version, one record, the bundled demo, configurations without a model.

    python benchmarks/startup/run.py [--times 15] [--write]

Wall and CPU seconds (user and system, the process and its children) of whole processes, the best of several, with
bytecode as an installed package has it. The unit of comparison is `python -c "import duckdb, pydantic, msgspec"`, run
in turn with the others, so that a busy machine shows in it as well. `--write` records the result in result.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
YAML = "fixtures/clean/recipes/llamafactory-vl-sft/examples/train_lora/qwen3vl_lora_sft.yaml"
_RECORD = {
    "id": "0",
    "image": "image.jpg",
    "conversations": [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A chart."}],
}


def _commands(folder: Path) -> dict[str, list[str]]:
    small = folder / "train.json"
    small.write_text(json.dumps([_RECORD]))
    image = next((ROOT / "fixtures/demo/images").glob("*.jpg"))
    (folder / "image.jpg").write_bytes(image.read_bytes())
    module = [sys.executable, "-m", "lorachk"]
    return {
        "imports": [sys.executable, "-c", "import duckdb, pydantic, msgspec"],
        "version": [*module, "--version"],
        "one record": [*module, "data", str(small)],
        "demo": [*module, "data", "fixtures/demo/train.json"],
        "deepspeed file": [*module, "model", "--config", "fixtures/demo/ds_zero2.json", "--isolated"],
        "script and deepspeed file": [*module, "model", "--no-build", "--config", "fixtures/demo/lorachk.toml"],
        "yaml": [*module, "model", "--no-build", "--isolated", "--launch", YAML],
    }


def _measured(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
    wall = time.perf_counter() - started
    if done.returncode not in (0, 1):
        raise SystemExit(f"{command} failed: {done.stderr.decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="record the result in result.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        commands = _commands(Path(folder))
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for command in commands.values():  # writes the bytecode
            _measured(command, environment)
        for _ in range(options.times):
            for name, command in commands.items():
                runs[name].append(_measured(command, environment))
    best = {name: {"wall": min(r[0] for r in done), "cpu": min(r[1] for r in done)} for name, done in runs.items()}
    result = {
        "seconds": {name: {key: round(value, 3) for key, value in row.items()} for name, row in best.items()},
        "times the imports": {
            name: {key: round(row[key] / best["imports"][key], 2) for key in row} for name, row in best.items()
        },
        "load": [round(value, 1) for value in os.getloadavg()],
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print(json.dumps(result, indent=2))
    if options.write:
        (HERE / "result.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
