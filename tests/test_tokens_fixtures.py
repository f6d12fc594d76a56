"""fixtures/tokens: in each family a record that just fits, one whose image is cut, one with no label left.

And model folders with one thing wrong: the report names the file and the reason, and nothing crashes.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorachk.cli import main
from lorachk.engine.store import Store
from lorachk.facts.collector import Context
from lorachk.facts.dataset import collect
from lorachk.launchers.resolve import ResolveOptions, resolve

FIXTURES = Path(__file__).parent.parent / "fixtures"
RUNS = sorted(path.parent.name for path in (FIXTURES / "tokens").glob("*/lorachk.toml"))
TEXT = ("qwen2", "llama3", "gemma2")
# LLaMA-Factory keeps a part of a single answer, however long its question is, but where the images alone are too many.
ANSWERS_STAY = ("qwen2-vl",)


def reported(tmp_path: Path, *options: str) -> dict[str, Any]:
    output = tmp_path / "report.json"
    code = main(["data", *options, "--format", "json", "--output", str(output)])
    found: dict[str, Any] = json.loads(output.read_text())
    assert (found["exit_code"], found["broken"], found["internal_errors"]) == (code, [], [])
    return found


@pytest.mark.parametrize("run", RUNS)
def test_the_findings_and_numbers_of_a_family(run: str, tmp_path: Path) -> None:
    """A record too long for its limit would otherwise stop the run, or teach nothing, and nobody was told."""
    folder = FIXTURES / "tokens" / run
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    found = reported(tmp_path, "--config", str(folder / "lorachk.toml"))
    counts: Counter[str] = Counter()
    for finding in found["findings"]:
        counts[finding["rule"]] += finding["count"] or 1
    assert dict(counts) == expected["findings"]
    with Store() as store:
        resolved = resolve(ResolveOptions(toml=str(folder / "lorachk.toml"))).run
        collect(Context(resolved, store))
        rows = sorted(store.rows("encoding"), key=lambda row: row["record"])
    names = expected["records"][0].keys()
    assert [{name: row[name] for name in names} for row in rows] == expected["records"]
    limit = resolved.max_length
    fits, just, *cut, long = rows
    assert fits["tokens"] < just["tokens"] == just["kept"] == limit < long["tokens"]
    assert fits["verdict"] == just["verdict"] == "kept"
    if run not in TEXT:
        assert cut[0]["image_cut"] or run == "paligemma"  # whose images stand in front and are never cut
        assert not cut[0]["supervised"] or run in ANSWERS_STAY
    if run not in (*ANSWERS_STAY, "paligemma"):
        assert (long["supervised"], long["image_cut"]) == (0, False)
        assert long["supervised_before"] > 0
        assert "T107" in counts


def test_every_family_with_a_tokenizer_has_a_run() -> None:
    """A family nobody runs is a family nobody knows to work."""
    models = {path.parent.name for path in (FIXTURES / "models").glob("*-tiny/tokenizer.json")}
    used = {Path(resolve_model(run)).name for run in RUNS}
    left_out = {
        "minicpmv-2_0-tiny",  # whose branch of the script fails for every record
        "minicpmv-4_0-tiny",  # whose answers the script does not find
        "internvl2-tiny",  # as 2.5
        "llava-next-vicuna-tiny",  # as the other
    }
    assert models - used == left_out


def resolve_model(run: str) -> str:
    model = resolve(ResolveOptions(toml=str(FIXTURES / "tokens" / run / "lorachk.toml"))).run.model
    assert model
    return model


TURNS = [{"role": "user", "content": "What is the total?"}, {"role": "assistant", "content": "12.40"}]
SYSTEM = {"role": "system", "content": "Be brief."}
# Model folder, options of the trainer, whether there is a system message; the rule or None, and what must be named.
WRONG: dict[str, tuple[str, str, dict[str, Any], bool, str | None, tuple[str, ...]]] = {
    "tokenizer.json ends in the middle": (
        *("models-broken/tokenizer-cut-off", "trl", {}, False),
        *("T202", ("tokenizer.json", "JSON")),
    ),
    "the template does not parse": (
        *("models-broken/template-syntax-error", "trl", {}, False),
        *("T203", ("chat_template.jinja",)),
    ),
    "no chat template": ("models-broken/template-missing", "trl", {}, False, "T204", ("chat template",)),
    "no generation tags": (
        *("models-broken/template-without-generation", "trl", {"assistant_only_loss": True}, False),
        *("T109", ("chat_template.jinja", "generation")),
    ),
    "the template refuses a system message": ("models/gemma2-tiny", "trl", {}, True, "T205", ("system",)),
    "the tokenizer of another family": (
        *("models-broken/tokenizer-of-another-family", "minicpmv", {"llm_type": "qwen"}, False),
        *("T206", ("<image>",)),
    ),
    "no tokenizer": ("models/qwen2_5-7b", "trl", {}, False, None, ("no tokenizer",)),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_tokenizer_is_said(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken download shows here as its file and line, not as a traceback an hour into the queue."""
    model, trainer, args, system, rule, words = WRONG[case]
    turns = [SYSTEM, *TURNS] if system else TURNS
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    record = {"image": "a.png", "conversations": turns} if trainer == "minicpmv" else {"messages": turns}
    (tmp_path / "train.json").write_text(json.dumps([record] * 3))
    given = "".join(f"{name} = {json.dumps(value)}\n" for name, value in args.items())
    (tmp_path / "lorachk.toml").write_text(
        f'[run]\ntrainer = "{trainer}"\nmodel = "{FIXTURES / model}"\ndata = ["train.json"]\nmax_length = 64\n'
        f"[run.args]\n{given}"
    )
    found = reported(tmp_path, "--config", str(tmp_path / "lorachk.toml"))
    assert "Traceback" not in "".join(capsys.readouterr())
    if rule is None:
        reasons = [skipped["reason"] for skipped in found["skipped"]]
        assert any(all(word in reason for word in words) for reason in reasons), reasons
        return
    told = [finding for finding in found["findings"] if finding["rule"] == rule]
    assert told, [(finding["rule"], finding["message"]) for finding in found["findings"]]
    assert all(word in json.dumps(told, ensure_ascii=False) for word in words), told
