"""Input that nobody would write on purpose: no command may crash, hang, or claim what it did not look at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from lorachk import stopping
from lorachk.errors import UsageError
from lorachk.facts.records import array
from lorachk.facts.records.reader import Reader
from lorachk.facts.records.repair import repair
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.launchers.shell_words import commands
from lorachk.launchers.text import read_text
from tests.conftest import PAGE
from tests.test_cli import lorachk

__all__ = ["lorachk"]


def test_records_that_never_close_are_not_looked_through_to_the_end_each_time(tmp_path, monkeypatch):
    # 200,000 such lines took hours: each was searched for its end through everything after it.
    looked = []
    real = array.repair

    def counted(text: str, start: int, stop: int | None = None):
        looked.append((len(text) if stop is None else stop) - start)
        return real(text, start, stop)

    monkeypatch.setattr(array, "repair", counted)
    monkeypatch.setattr(array, "_PATIENCE", 10_000)
    path = tmp_path / "broken.jsonl"
    path.write_text("{bad\n" * 5000 + '{"id": 1}\n', encoding="utf-8")
    assert [item.value for item in Reader(path)] == [{"id": 1}]
    assert sum(looked) < 10_000 + 3 * path.stat().st_size


def test_faults_in_a_large_file_keep_the_index_and_line_of_each_record(tmp_path):
    # Reading starts again in the middle of the buffer after a fault; what comes after must not move.
    path = tmp_path / "single.json"
    path.write_text("[" + ",\n".join(f"{{'id': {i}, 'text': '{'x' * 50}'}}" for i in range(3000)) + "]", "utf-8")
    items = list(Reader(path))
    assert [(i.value["id"], i.number, i.line) for i in items] == [(i, i, i + 1) for i in range(3000)]


def test_what_is_nested_too_deeply_costs_one_look_per_500_levels(tmp_path, monkeypatch):
    calls = []
    real = array.decode
    monkeypatch.setattr(array, "decode", lambda text, start: (calls.append(start), real(text, start))[1])
    path = tmp_path / "deep.json"
    path.write_text("[" + '{"a":' * 20_000, encoding="utf-8")
    assert not list(Reader(path))
    assert len(calls) < 1200


def test_an_unclosed_string_of_megabytes_takes_no_gigabytes():
    import tracemalloc

    tracemalloc.start()
    try:
        assert repair('{"id": "' + "x" * 4_000_000, 0) is None
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["pipe.json", "/dev/zero", "", "x" * 5000 + ".json", "good.json/x"])
def test_what_is_no_file_is_said_to_be_none(lorachk, tmp_path, name):
    os.mkfifo(tmp_path / "pipe.json")  # opening it would wait for a writer for ever
    (tmp_path / "good.json").write_text("[]", encoding="utf-8")
    for words in (("data", name), ("model", "--config", name or "./"), ("model", "--launch", name or "./")):
        code, out, err = lorachk(tmp_path, *words)
        assert (code, out) == (2, "")
        assert err.startswith("lorachk: ")
        assert "internal" not in err


def test_a_device_is_no_configuration_file():
    with pytest.raises(UsageError, match="is a device"):
        read_text("/dev/zero", "toml")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"zero_optimization": 99}, "zero_stage"),
        ({"zero_optimization": []}, "zero_stage"),
        ({"zero_optimization": None}, "zero_stage"),
        ({"zero_optimization": {"stage": 99}}, "zero_stage"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": "cpu"}}, "offload_optimizer"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "nonsense"}}}, "offload_optimizer"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": ["cpu"]}}}, "offload_optimizer"),
        ({"bf16": 5}, "ds_bf16"),
        ({"fp16": {"enabled": 7}}, "ds_fp16"),
        ({"train_micro_batch_size_per_gpu": -3}, "ds_micro_batch_size"),
        ({"train_batch_size": "many"}, "ds_train_batch_size"),
    ],
)
def test_what_deepspeed_refuses_is_not_taken_for_its_default(tmp_path, monkeypatch, content, field):
    # deepspeed 0.19.8 raises TypeError or ValidationError for each; judged as "stage 0" or "none" it passed
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ds.json").write_text(json.dumps(content), encoding="utf-8")
    assert getattr(resolve(ResolveOptions(deepspeed="ds.json", isolated=True)).run, field) is None


def test_the_oldest_form_of_zero_is_stage_1(tmp_path):
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": true}', encoding="utf-8")
    run = resolve(ResolveOptions(deepspeed=str(path), isolated=True)).run
    assert (run.zero_stage, run.offload_optimizer) == (1, "none")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_query_ends_lorachk(tmp_path, number):
    # DuckDB turns the signal into RuntimeError("Query interrupted"): taken for a broken rule, lorachk went on
    (tmp_path / "tmp").mkdir()
    (tmp_path / "ds.json").write_text("{}", encoding="utf-8")
    rule = PAGE.format(
        head="",
        sql="SELECT 'x' AS message FROM run, range(100000000000) a WHERE hash(a.range) = 1",
        bad_title="one",
        bad="step: []",
        good="step: []",
    )
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "X101-too-many.md").write_text(rule, encoding="utf-8")
    program = (
        "import os, signal, sys, threading\n"
        "from lorachk.engine import judge\n"
        "real = judge._judge_one\n"
        "def slow(store, page, *rest):\n"
        f"    if page.code == 'X101': threading.Timer(0.2, os.kill, (os.getpid(), {int(number)})).start()\n"
        "    real(store, page, *rest)\n"
        "judge._judge_one = slow\n"
        "from lorachk.cli import main\n"
        "sys.exit(main(['model', '--config', 'ds.json', '--rules', 'rules', '--select', 'X101', '--isolated']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr == f"lorachk: interrupted by {signal.Signals(number).name}\n"
    assert not list((tmp_path / "tmp").iterdir())


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stopping.listen()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_crash_is_not_exit_code_1(lorachk, tmp_path, monkeypatch):
    # 1 says "looked, and found something"; a gate must not take a bug of lorachk for that
    def crash(*_: object) -> int:
        raise KeyError("\x1b[31moops")

    monkeypatch.setattr("lorachk.commands.run", crash)
    code, out, err = lorachk(tmp_path, "data", "x.json")
    assert (code, out) == (2, "")
    assert err.startswith("lorachk: internal error: KeyError")
    assert "Traceback" not in err
    assert "\x1b" not in err


LONG = "x" * 300  # pathlib raises OSError for such a name, before Python 3.12


@pytest.mark.parametrize("key", ["model", "launch", "deepspeed", "peft", "image_root"])
def test_a_name_that_no_file_system_takes_is_a_missing_file(lorachk, tmp_path, key):
    (tmp_path / "lorachk.toml").write_text(f'[run]\n{key} = "{LONG}"\n', encoding="utf-8")
    code, out, err = lorachk(tmp_path, "model", "--no-trace")
    assert code in (0, 2)
    assert "internal" not in out + err


@pytest.mark.parametrize("number", ["1000000000000000000000000000000", "1e30", "3000000000"])
def test_a_number_that_nothing_can_count_is_unknown(lorachk, tmp_path, number):
    # 10^30 is tokenizers' "no limit"; in a column of the facts it was a crash
    text = f"[run]\nnum_gpus = 2\n[run.lora]\nr = {number}\n[run.args]\nmodel_max_length = {number}\n"
    (tmp_path / "lorachk.toml").write_text(text, encoding="utf-8")
    code, out, _ = lorachk(tmp_path, "model", "--no-trace", "--format", "json")
    report = json.loads(out)
    assert (code, report["internal_errors"]) == (0, [])
    assert report["tables"]["run"][0]["lora_r"] is None
    (tmp_path / "lorachk.toml").write_text(f"[run]\nnum_gpus = {number.replace('1e30', '9' * 30)}\n", encoding="utf-8")
    code, out, err = lorachk(tmp_path, "model", "--config", "lorachk.toml", "--gpu-memory", "24GiB", "--select", "Z")
    assert "internal" not in out + err


@pytest.mark.parametrize(
    "grown",
    [
        "A=aaaaaaaaaa\n" + "A=$A$A$A$A$A$A$A$A$A$A\n" * 12,
        "A=x\n" + "A+=$A\n" * 60,
        "a=(x y)\n" + 'a=("${a[@]}" "${a[@]}" "${a[@]}" "${a[@]}")\n' * 14,
        "a=(x y)\n" + "a=(${a[@]} ${a[@]} ${a[@]} ${a[@]})\n" * 14,
        "A=" + "${A:-" * 3000 + "}" * 3000 + "\n",
    ],
)
def test_a_script_whose_variables_explode_is_refused(lorachk, tmp_path, grown):
    # terabytes, had it been followed to the end
    (tmp_path / "run.sh").write_text(grown + "torchrun finetune.py --use_lora true --x $A\n", encoding="utf-8")
    code, out, err = lorachk(tmp_path, "check", "run.sh", "--no-train", "--no-trace", "--isolated")
    assert (code, out) == (2, "")
    assert err.startswith("lorachk: run.sh")
    assert "internal" not in err


def test_places_in_a_long_script_are_right():
    text = "# one\n" + "\n" * 5 + "torchrun f.py \\\n  --a 'b\nc' \\\n  --d ${E:-f}\n"
    (command,) = commands(text, "run.sh")
    assert [(w[0].line, w[0].col) for w in command.words] == [(7, 1), (7, 10), (8, 3), (8, 8), (10, 3), (10, 7)]
    assert [(p.line, p.col) for p in command.words[-1][0].default] == [(10, 12)]
