"""The command line as a user or a CI job meets it: exit codes, one clear message, nothing heavy imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorachk import __version__

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "fixtures" / "demo"
CLEAN = ROOT / "fixtures" / "clean" / "demo-fixed"


@pytest.fixture
def lorachk(run_in, monkeypatch):
    """Run one command in a folder, 100 columns wide; returns exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "100")
    return run_in


def _modules_after(code: str, folder: Path) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.__stderr__)"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return {line.partition(".")[0] for line in done.stderr.splitlines()}


def test_version_imports_nothing_heavy():
    code = "from lorachk.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass"
    assert not _modules_after(code, ROOT) & {"torch", "duckdb", "pydantic", "rich", "PIL", "yaml", "msgspec"}


def test_data_never_imports_torch():
    code = "from lorachk.cli import main\nmain(['data', '--fail-on', 'never'])"
    assert not _modules_after(code, DEMO) & {"torch", "transformers", "peft", "deepspeed", "numpy"}


def test_config_lint_never_imports_torch():
    code = (
        "from lorachk.cli import main\nmain(['model', '--isolated', '--config', 'ds_zero3.json', '--fail-on', 'never'])"
    )
    assert not _modules_after(code, DEMO) & {"torch", "transformers", "peft", "deepspeed"}


def test_the_demo_shows_its_mistakes_where_they_are(lorachk):
    code, out, _ = lorachk(DEMO, "data", "--format", "json")
    found = {f["rule"]: f for f in json.loads(out)["findings"]}
    assert code == 1
    assert {"D105", "D106", "D107", "D109", "D110", "D111", "I101", "I102"} <= set(found)
    place = found["D109"]["locations"][0]
    assert place["path"] == "train.json"
    assert place["record"] is not None
    assert place["turn"] == 2
    turn = (DEMO / "train.json").read_text().splitlines()[place["line"] - 1 :][:4]
    assert any("<image>" in line for line in turn), "the mistake is in the turn that starts at the reported line"
    assert "32 of 40 records of train.json would be trained" in found["D106"]["message"]


def test_config_mistakes_of_the_demo_point_to_their_lines(lorachk):
    code, out, _ = lorachk(DEMO, "model", "--select", "Z", "--format", "json")
    found = {f["rule"]: f for f in json.loads(out)["findings"]}
    assert code == 1
    assert "0.18.9" in found["Z101"]["message"]
    place = found["Z104"]["locations"][0]
    assert '"2"' in (DEMO / place["path"]).read_text().splitlines()[place["line"] - 1]


def test_the_clean_twin_has_no_finding(lorachk):
    code, out, err = lorachk(CLEAN, "check", "--no-train", "--no-trace", "--format", "json")
    report = json.loads(out)
    assert [f["message"] for f in report["findings"] if f["severity"] == "error"] == []
    assert (code, err) == (0, "")
    assert report["internal_errors"] == report["broken"] == []


def test_skipped_rules_can_fail_the_gate(lorachk, tmp_path):
    (tmp_path / "ds.json").write_text('{"zero_optimization": {"stage": 2}}')
    assert lorachk(tmp_path, "model", "--config", "ds.json")[0] == 0
    assert lorachk(tmp_path, "model", "--config", "ds.json", "--no-skips")[0] == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["data", "missing.json"], "missing.json"),
        (["data"], "no dataset is named"),
        (["model"], "nothing to check is named"),
        (["smoke-train"], "no model is named"),
        (["check"], "nothing to check is named"),
        (["model", "--config", "missing.json"], "missing.json"),
        (["model", "--config", "broken.json"], "broken.json:2:"),
        (["model", "--config", "broken.toml"], "broken.toml:1:"),
        (["check", "--config", "missing.toml"], "missing.toml"),
        (["check", "missing.sh"], "missing.sh"),
        (["data", "--fromat", "json"], "did you mean --format?"),
        (["dta"], "did you mean data?"),
        (["good.json"], "lorachk model --config good.json"),
        (["train.jsonl"], "lorachk data train.jsonl"),
        (["finetune.sh"], "lorachk check finetune.sh"),
        (["rules", "tset"], "did you mean test?"),
        (["rules", "test", "god.json"], "did you mean good.json?"),
        (["data", "--facts", "god.json"], "did you mean good.json?"),
        (["data", "good.json", "--facts", "good.json"], "instead of a dataset"),
        (["explain", "bad-rolse"], "D105 bad-roles"),
        (["sql", "SELECT 1", "--fromat", "json"], "did you mean --format?"),
        (["model", "--gpu", "RTX 4909", "--config", "good.json"], "RTX 4090"),
        (["model", "--config", "good.json", "--select", "Z999"], "Z999"),
        (["model", "--config", "good.json", "--rules", "nowhere"], "nowhere"),
        (["model", "--config", "good.json", "--output", "nowhere/else/report.txt"], "nowhere/else"),
        (["model", "--facts", "good.json"], "good.json"),
        (["explain", "no such thing at all"], "no rule has this code"),
        (["rules", "test", "nowhere"], "nowhere"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_what_cannot_run_says_why_in_one_message(lorachk, tmp_path, words, says):
    (tmp_path / "good.json").write_text('{"zero_optimization": {"stage": 2}}')
    (tmp_path / "broken.json").write_text('{"zero_optimization":\n  {"stage": 2,}}')
    (tmp_path / "broken.toml").write_text("[run\n")
    code, out, err = lorachk(tmp_path, *words)
    assert code == 2
    assert says in err
    assert "Traceback" not in out + err
    assert len(err.splitlines()) <= 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.json", "broken.toml", "good.json"]


def test_without_torch_the_model_rules_are_skipped_with_the_command_that_helps(tmp_path):
    block = tmp_path / "blocked"
    block.mkdir()
    (block / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "found = PathFinder.find_spec\n"
        "hidden = {'torch', 'transformers', 'peft', 'deepspeed', 'accelerate'}\n"
        "def find_spec(name, path=None, target=None):\n"
        "    return None if name.partition('.')[0] in hidden else found(name, path, target)\n"
        "PathFinder.find_spec = find_spec\n"
    )
    env = {**os.environ, "PYTHONPATH": str(block), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "lorachk", "check", "--format", "json"],
        cwd=CLEAN,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["internal_errors"] == []
    reasons = {s["rule"]: s["reason"] for s in report["skipped"]}
    assert "pip install" in reasons["P101"]
    assert "pip install" in reasons["G102"]
    assert done.stderr == ""


def test_facts_can_be_judged_elsewhere(lorachk, tmp_path):
    file = tmp_path / "facts.duckdb"
    _, here, _ = lorachk(DEMO, "data", "--save", str(file), "--format", "json")
    code, there, _ = lorachk(tmp_path, "data", "--facts", str(file), "--format", "json")
    assert code == 1
    mine, theirs = json.loads(here)["findings"], json.loads(there)["findings"]
    # Elsewhere the dataset cannot be opened to find the column: places are those of the records.
    assert [[p["record"] for p in f.pop("locations")] for f in theirs] == [
        [p["record"] for p in f.pop("locations")] for f in mine
    ]
    assert theirs == mine
    assert b"Which total is printed" not in file.read_bytes()


def test_an_error_text_leads_to_its_rule(lorachk):
    code, out, _ = lorachk(
        ROOT, "explain", "CheckpointError: Recomputed values for the following tensors have different metadata"
    )
    assert code == 0
    assert "Z101" in out
    code, out, _ = lorachk(ROOT, "explain", "z101")
    assert code == 0
    assert "## Fix" in out


def test_version(lorachk):
    assert lorachk(ROOT, "--version")[:2] == (0, f"lorachk {__version__}\n")
