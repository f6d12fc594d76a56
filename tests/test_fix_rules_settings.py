"""Fixes of our own configuration rules, made in real files: JSON, YAML and TOML as people have them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonpatch  # type: ignore[import-untyped]
import jsonschema
import pytest

from lorachk.cli import main
from lorachk.engine.example import _files, _judged, run_examples
from lorachk.engine.page import Page
from lorachk.engine.rules import builtin_rules, load_rules
from lorachk.fixes.settings import editor
from lorachk.fixes.settings.patch import operations, parsed, replacements

PAGES = [page for page in load_rules([builtin_rules()])[0] if page.brief.fix]
SCHEMA = json.loads((Path(__file__).parent / "schemas/sarif-schema-2.1.0.json").read_text())


def test_most_configuration_rules_that_can_have_a_fix_have_one() -> None:
    """A page that loses its line `fix:` would not be tested below, and nobody would be offered the change."""
    assert len(PAGES) >= 36


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.code)
def test_the_fix_of_every_page_mends_a_bad_example(page: Page) -> None:
    """A fix that is never made, or leaves what it should mend, makes --fix a promise that is not kept."""
    outcomes = run_examples(replace(page, good=()))
    assert [outcome.problem for outcome in outcomes if outcome.problem] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.code)
def test_patch_and_regions_say_what_fix_writes(page: Page) -> None:
    """Bots take the RFC 6902 patch and editors the regions; they must come to the file that --fix writes."""
    done = False
    for example in page.bad:
        if done:  # one is enough, and each takes a while
            break
        with _files(page, example) as folder:
            for finding in _judged(page, example, folder).findings:
                for path in {edit.path for edit in finding.edits}:
                    change = editor(path)
                    if change is None:
                        continue
                    mine = [edit for edit in finding.edits if edit.path == path]
                    before = text = Path(path).read_text()
                    for edit in mine:
                        text = change(text, edit)
                    assert _put(before, replacements(path, mine)) == text
                    patched = jsonpatch.apply_patch(parsed(path), operations(path, mine))
                    Path(path).write_text(text)
                    assert parsed(path) == patched
                    Path(path).write_text(before)
                    done = True
    assert done


def _put(text: str, regions: Any) -> str:
    """What an editor makes of regions in lines and columns."""
    lines = text.splitlines(keepends=True)

    def offset(line: int, column: int) -> int:
        return sum(map(len, lines[: line - 1])) + column - 1

    for one in reversed(regions):
        text = text[: offset(*one.start)] + one.text + text[offset(*one.end) :]
    return text


DS = """\
{
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "8",
    "gradient_clipping": 0.5,
    "overlap_comm": true,
    "fp16": {"enabled": true},
    "bf16": {"enabled": "auto"},
    "zero_optimization": {
        "stage": 3,
        "cpu_offload": false
    }
}
"""
YAML = """\
# our SFT run
model_name_or_path: org/base   # the base
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
lora_rank: 8
dataset: mine
template: qwen
output_dir: out
per_device_train_batch_size: 2
gradient_accumulation_steps: 8   # 2 x 8 x 4 GPUs
learning_rate: 1.0e-4
max_grad_norm: 1.0
bf16: true  # Ampere
evaluation_strategy: "no" # later
warmup_ratio: 0.03 # as in the paper
deepspeed: ds.json
"""
TOML = """\
# told here, since the cluster knows it
[run]
launch = "train.yaml" # LLaMA-Factory
num_gpus = 4

[run.args]
group_by_length = true # saves padding
device_map = "auto" # never worked

[environment]
transformers = "5.24.0"
deepspeed = "0.18.9"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("ds.json", DS), ("train.yaml", YAML), ("lorachk.toml", TOML)):
        (tmp_path / name).write_text(text)
    return tmp_path


RULES = "Z103,Z104,Z108,Z216,N106,L106,Q104"
ARGUMENTS = ["model", "--no-build", "--select", RULES]


def test_a_folder_with_many_faults_ends_clean(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One command mends three files, and every comment in them still stands where it stood."""
    assert main([*ARGUMENTS, "--format", "json"]) == 1
    found = {finding["rule"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert found == set(RULES.split(","))
    assert main([*ARGUMENTS, "--fix"]) == 0, capsys.readouterr().out
    assert (folder / "ds.json").read_text() == (
        DS.replace('"8"', "8")
        .replace("0.5", '"auto"')
        .replace('    "overlap_comm": true,\n', "")
        .replace('"fp16": {"enabled": true}', '"fp16": {"enabled": "auto"}')
        .replace('"cpu_offload": false', '"overlap_comm": true')
    )
    assert (folder / "train.yaml").read_text() == (
        YAML.replace('evaluation_strategy: "no" # later', 'eval_strategy: "no"       # later').replace(
            "warmup_ratio", "warmup_steps"
        )
    )
    assert (folder / "lorachk.toml").read_text() == (
        TOML.replace("group_by_length = true #", 'train_sampling_strategy = "group_by_length" #').replace(
            'device_map = "auto" # never worked\n', ""
        )
    )


def test_sarif_holds_the_fix(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An editor that shows the findings offers the change with them."""
    assert main([*ARGUMENTS, "--format", "sarif"]) == 1
    log = json.loads(capsys.readouterr().out)
    jsonschema.Draft7Validator(SCHEMA).validate(log)
    fixes = {result["ruleId"]: result["fixes"] for result in log["runs"][0]["results"] if "fixes" in result}
    assert fixes["Z104"][0]["artifactChanges"] == [
        {
            "artifactLocation": {"uri": "ds.json", "uriBaseId": "%SRCROOT%"},
            "replacements": [
                {
                    "deletedRegion": {"startLine": 3, "startColumn": 1, "endLine": 4, "endColumn": 1},
                    "insertedContent": {"text": '    "gradient_accumulation_steps": 8,\n'},
                }
            ],
        }
    ]
    assert {"Z104", "Z108", "L106"} <= fixes.keys()


def test_a_script_has_no_region_in_sarif(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script may compute its flags: an editor must not be told to write them."""
    script = tmp_path / "t.sh"
    script.write_text("torchrun --nproc_per_node 8 finetune.py --llm_type qwen --output_dir out --use_lora true\n")
    arguments = ["model", "--launch", str(script), "--isolated", "--no-build", "--select", "P113", "--format", "sarif"]
    assert main(arguments) == 1
    [result] = json.loads(capsys.readouterr().out)["runs"][0]["results"]
    assert "fixes" not in result


KEPT = {  # the file alone says it, and the change would lose it
    "Z103": (
        {"train_micro_batch_size_per_gpu": "auto", "gradient_clipping": 0.5, "zero_optimization": {"stage": 2}},
        "learning_rate = 1e-4\n",
    ),
    "N106": (
        {"train_micro_batch_size_per_gpu": "auto", "fp16": {"enabled": True}, "zero_optimization": {"stage": 2}},
        "learning_rate = 1e-4\n",
    ),
    "Z102": (
        {
            "train_batch_size": 256,
            "train_micro_batch_size_per_gpu": 2,
            "gradient_accumulation_steps": 16,
            "zero_optimization": {"stage": 2},
        },
        "per_device_train_batch_size = 2\n",
    ),
    "Z219": ({"train_micro_batch_size_per_gpu": "auto", "zero_optimisation": {"stage": 3}}, ""),
    "Z211": ({"train_batch_sizes": 32, "zero_optimization": {"stage": 2}}, ""),
}


@pytest.mark.parametrize("code", KEPT)
def test_what_only_the_file_says_is_not_lost(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A safe fix that throws the user's only statement away for a default would train something else."""
    monkeypatch.chdir(tmp_path)
    ds, arguments = KEPT[code]
    Path("ds.json").write_text(json.dumps(ds))
    toml = f'[run]\ntrainer = "hf"\ndeepspeed = "ds.json"\nnum_gpus = 7\n\n[run.args]\n{arguments}'
    Path("lorachk.toml").write_text(toml)
    assert main(["model", "--no-build", "--select", code, "--fix"]) == 1
    assert f"error[{code}]" in capsys.readouterr().out
    assert json.loads(Path("ds.json").read_text()) == ds
