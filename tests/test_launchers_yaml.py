"""YAML positions and files of arguments: a finding at the wrong line sends people to the wrong place."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lorachk.errors import UsageError
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.launchers.yaml_positions import parse_yaml
from lorachk.run import Run

WORDS = st.text("abcdefgh :-#'\"{}[],&*!|>%@`\n\té", max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=16,
)


@given(VALUES, st.sampled_from([None, True, False]))
def test_every_position_is_where_the_value_stands(value: Any, flow: bool | None) -> None:
    """What PyYAML writes is read again as the same value, and each scalar begins at the place that is told."""
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    document = parse_yaml(text, "x.yaml")
    assert document.value == value
    assert document.duplicates == []
    lines = text.split("\n")
    for leaf in document.leaves:
        if isinstance(leaf.value, bool):
            assert lines[leaf.line - 1][leaf.col - 1 :].startswith(str(leaf.value).lower())
        elif isinstance(leaf.value, int):
            assert lines[leaf.line - 1][leaf.col - 1 :].startswith(str(leaf.value))


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "2e5", "-3E+2", "5e-06"])
def test_exponents_are_numbers_without_a_point_as_well(text: str) -> None:
    """LLaMA-Factory reads 1e-4 as a number; a rule on the learning rate must see it."""
    assert parse_yaml(f"a: {text}", "x.yaml").value == {"a": float(text)}


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("a:\n\tb: 1\n", "2:1", "a tab indents this line"),
        ("a:\n  b: 1\n\tc: 2\n", "3:1", "a tab indents this line"),
        ("a: b: c\n", "1:5", "mapping values are not allowed"),
        ("a: [1,\n", "2:1", "expected the node content"),
        ("a: 1\n---\nb: 1\n", "2:1", "a second document begins here"),
        ("a: &a [*a]\n", "1:4", "a value holds itself"),
        ("a: !!python/object/apply:os.system ['true']\n", "1:4", "could not determine a constructor"),
        ("? [a]\n: 1\n", "1:3", "unhashable key"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, place: str, says: str) -> None:
    """People mend the line that is named; a traceback names none."""
    with pytest.raises(UsageError) as error:
        parse_yaml(text, "x.yaml")
    assert f"x.yaml:{place}" in str(error.value)
    assert says in str(error.value)


def test_aliases_cannot_make_a_file_grow_without_end() -> None:
    """A few lines of aliases stand for a billion values; reading them must not take the machine's memory."""
    text = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(UsageError, match="holds more than 20,000 values"):
        parse_yaml(text, "x.yaml")


def test_merged_keys_have_their_own_place() -> None:
    """`<<: *base` is common where several runs share their settings."""
    document = parse_yaml("base: &b\n  lr: 1\nrun:\n  <<: *b\n  r: 2\n", "x.yaml")
    assert document.value["run"] == {"lr": 1, "r": 2}
    assert [(leaf.line, leaf.col) for leaf in document.leaves if leaf.pointer == "/run/lr"] == [(2, 7)]


YAML = """\
model_name_or_path: Qwen/Qwen2-7B
finetuning_type: lora
stage: sft
learning_rate: 1e-4
learning_rate: 2e-4
output_dir: out
deepspeed:
  zero_optimization:
    stage: 2
"""


def written(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)


def run_of(path: Path, **options: Any) -> Run:
    return resolve(ResolveOptions(isolated=True, launch=str(path), **options)).run


def test_a_key_that_stands_twice_counts_once_and_is_told(tmp_path: Path) -> None:
    """One of the two learning rates that a person sees in the file has no effect."""
    written(tmp_path, x_yaml=YAML)
    found = resolve(ResolveOptions(isolated=True, launch=str(tmp_path / "x.yaml")))
    assert found.run.learning_rate == 2e-4
    assert [(s.problem, s.line, s.col) for s in found.sources if s.problem] == [
        ('"learning_rate" stands twice; the last one counts', 5, 1)
    ]


def test_the_command_line_goes_before_the_file_it_names(tmp_path: Path) -> None:
    """llamafactory-cli train x.yaml learning_rate=3e-4: what is judged must be what is trained."""
    written(tmp_path, x_yaml=YAML, x_sh="llamafactory-cli train x.yaml learning_rate=3e-4\n")
    run = run_of(tmp_path / "x.sh")
    assert (run.trainer, run.learning_rate, run.model) == ("llamafactory", 3e-4, "Qwen/Qwen2-7B")
    assert run.at("learning_rate") == (str(tmp_path / "x.sh"), 1, 45, "/learning_rate")
    at = run.at("model")
    assert at is not None
    assert at[:2] == (str(tmp_path / "x.yaml"), 1)


def test_a_deepspeed_configuration_inside_the_arguments_is_read_with_its_places(tmp_path: Path) -> None:
    """transformers takes an object instead of a path; its mistakes are no fewer."""
    written(tmp_path, x_yaml=YAML)
    run = run_of(tmp_path / "x.yaml")
    assert run.zero_stage == 2
    assert run.at("zero_stage") == (str(tmp_path / "x.yaml"), 9, 12, "/deepspeed/zero_optimization/stage")
    assert run.deepspeed_config == {"zero_optimization": {"stage": 2}}


@pytest.mark.parametrize("form", ["base64", "json"])
def test_a_deepspeed_configuration_on_the_command_line_is_read(tmp_path: Path, form: str) -> None:
    """The DeepSpeed launcher and transformers pass it on as base64, people write JSON in quotes."""
    text = json.dumps({"zero_optimization": {"stage": 3}})
    given = base64.urlsafe_b64encode(text.encode()).decode() if form == "base64" else f"'{text}'"
    written(tmp_path, x_sh=f"torchrun --nproc_per_node 2 t.py --output_dir o --deepspeed {given}\n")
    run = run_of(tmp_path / "x.sh", trainer="hf")
    assert run.zero_stage == 3
    assert run.deepspeed_config == {"zero_optimization": {"stage": 3}}
    at = run.at("zero_stage")
    assert at is not None
    assert at[:2] == (str(tmp_path / "x.sh"), 1)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.yaml", "", "is empty"),
        ("x.yaml", "- 1\n", "holds a list, not a mapping"),
        ("x.json", '{"zero_optimization": {}}', "it is a DeepSpeed file"),
        ("x.json", '{"peft_type": "LORA"}', "an adapter's configuration"),
        ("x.yaml", "distributed_type: DEEPSPEED\n", "accelerate's configuration"),
        ("x.yaml", "name: x\n", "no trainer is known that has such arguments"),
        ("x.json", '{"a": 1,}', "comma before the closing"),
        ("x.py", "import torch\n", "cannot be used as a launch file"),
    ],
)
def test_a_file_that_launches_nothing_says_what_it_is(tmp_path: Path, name: str, text: str, says: str) -> None:
    """People give the wrong one of five files; the message must name the option that takes it."""
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as error:
        run_of(tmp_path / name)
    assert says in str(error.value)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("llamafactory-cli train missing.yaml\n", "there is no file"),
        ('llamafactory-cli train "$1.yaml"\n', "cannot be known"),
        ('llamafactory-cli train "$(ls *.yaml)"\n', "cannot be known: $(ls *.yaml)"),
        ("axolotl train $CONFIG\n", "cannot be known: $CONFIG"),
    ],
)
def test_a_file_of_arguments_that_cannot_be_found_is_named_with_its_place(
    tmp_path: Path, script: str, says: str
) -> None:
    """The script is not executed, so its variables may be unknown; nothing may be guessed for them."""
    written(tmp_path, x_sh=script)
    with pytest.raises(UsageError) as error:
        run_of(tmp_path / "x.sh")
    assert says in str(error.value)
    assert "x.sh:1:" in str(error.value)
