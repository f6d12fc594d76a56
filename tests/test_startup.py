"""What a small run imports. Time itself is measured by benchmarks/startup; what a module costs stands beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Milliseconds to import on the machine where a run of one record takes 580 (Python 3.11, bytecode there).
_HEAVY = {
    "torch": 2000,
    "transformers": 900,
    "numpy": 100,
    "pandas": 300,
    "pyarrow": 60,
    "duckdb": 110,  # its compiled module `_duckdb` is enough
    "pydantic": 90,
    "yaml": 25,
    "importlib.metadata": 40,
    "packaging.version": 10,
    "urllib.request": 50,
    "multiprocessing": 10,
    "concurrent.futures.process": 25,
    "rich.table": 10,
    "lorachk.families.visual": 20,
    "tokenizers": 30,
    "jinja2": 30,
    "rich.progress": 40,
    "lorachk.launchers.shell_script": 10,
    "lorachk.launchers.project_file": 10,
    "lorachk.launchers.deepspeed": 5,
    "lorachk.facts.records.parallel": 5,
    "lorachk.facts.records.parquet": 5,
    "lorachk.report.terminal_tables": 10,
}


def _imported(code: str, folder: Path) -> set[str]:
    script = f"import sys\nfrom lorachk.cli import main\n{code}\nprint('\\n'.join(sys.modules), file=sys.__stderr__)"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines())


@pytest.fixture
def small(tmp_path: Path) -> Path:
    turns = [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A chart."}]
    (tmp_path / "train.json").write_text(json.dumps([{"image": "lost.jpg", "conversations": turns}]))
    return tmp_path


def test_a_small_dataset_imports_nothing_that_it_does_not_need(small: Path) -> None:
    """Each of these would show in every run of a pre-commit hook."""
    loaded = _imported("assert main(['data', 'train.json']) == 1", small)
    assert "_duckdb" in loaded or "duckdb" in loaded
    heavy = set(_HEAVY) - ({"duckdb"} if "_duckdb" not in loaded else set())  # before DuckDB 1.4
    assert loaded & heavy == set()


def test_a_run_without_a_terminal_report_does_not_import_rich(small: Path) -> None:
    loaded = _imported("assert main(['data', 'train.json', '--format', 'json']) == 1", small)
    assert not [name for name in loaded if name.partition(".")[0] == "rich"]


def test_the_version_imports_next_to_nothing(tmp_path: Path) -> None:
    loaded = _imported("try: main(['--version'])\nexcept SystemExit: pass", tmp_path)
    ours = {name for name in loaded if name.partition(".")[0] == "lorachk"}
    assert ours <= {"lorachk", "lorachk.cli", "lorachk.arguments", "lorachk.errors"}
    assert not {"dataclasses", "json", "inspect"} & loaded
