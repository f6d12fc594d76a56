"""What a trainer takes, and what its parser makes of what it is given, against the real HfArgumentParser."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorachk.facts.argument_classes import Argument, read_all
from lorachk.facts.argument_known import Known, accepted
from lorachk.facts.argument_versions import NotKnown, declared, from_record, from_source, recorded, spans
from lorachk.facts.arguments import _read_as, given_rows, value_problem
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.launchers.values import literal
from lorachk.launchers.versions import installed
from lorachk.run import Location, Run

HERE = Location("run.sh", 1, 1)


def run_of(trainer: str, arguments: dict[str, Any], **versions: str) -> Run:
    """A run that gives a trainer these arguments on its command line."""
    places = dict.fromkeys(arguments, HERE)
    return Run(
        trainer=trainer, launch="run.sh", training_args=arguments, argument_places=places, environment=dict(versions)
    )


def outcome(trainer: str, arguments: dict[str, Any], program: str | None = None, **versions: str) -> dict[str, Any]:
    """Outcome by argument."""
    run = run_of(trainer, arguments, **versions)
    made = accepted(run, program, None, "/nowhere")
    return {row["name"]: row for row in given_rows(run, made, None)}


@pytest.fixture(scope="module")
def parser() -> Any:
    """transformers' own parser of its own arguments."""
    transformers = pytest.importorskip("transformers")
    return transformers.HfArgumentParser(transformers.TrainingArguments)


def test_the_source_says_what_the_library_says(parser: Any) -> None:
    """Every name, default and type that is read from the source must be what the imported dataclass has."""
    import dataclasses
    import json

    transformers = pytest.importorskip("transformers")
    sources = from_source("transformers")
    assert sources is not None
    read = sources.fields("TrainingArguments", {})
    assert read is not None
    real = {f.name: f for f in dataclasses.fields(transformers.TrainingArguments) if f.init and f.name[0] != "_"}
    assert read.keys() == real.keys()
    types = {action.dest: action.type for action in parser._actions}
    for name, argument in read.items():
        if argument.default is not None and real[name].default is not dataclasses.MISSING:
            default = real[name].default
            assert json.loads(argument.default) == getattr(default, "value", default), name
        if argument.type in ("integer", "number"):
            assert types[name] is {"integer": int, "number": float}[argument.type], name


def test_the_record_agrees_with_the_installed_source() -> None:
    """A run on a machine without the library must be judged as one with it."""
    version = installed("transformers")
    if version is None or not version.startswith("5.24"):
        pytest.skip("another transformers is installed")
    source, record = from_source("transformers"), from_record("transformers", version)
    assert source is not None
    assert source.fields("Seq2SeqTrainingArguments", {}) == record.fields("Seq2SeqTrainingArguments", {})


@pytest.mark.parametrize(
    ("name", "first", "until"),
    [
        ("eval_strategy", "4.41.0", None),
        ("evaluation_strategy", "4.28.0", "4.51.0"),
        ("warmup_ratio", "4.28.0", "5.15.0"),
        ("group_by_length", "4.28.0", "5.2.0"),
        ("train_sampling_strategy", "5.2.0", None),
    ],
)
def test_when_arguments_came_and_went(name: str, first: str, until: str | None) -> None:
    """Told the wrong version, a user installs one on which the run fails again."""
    assert spans("transformers", {"TrainingArguments"})[name] == (first, until)


@pytest.mark.parametrize("library", ["transformers", "trl"])
def test_every_recorded_version_can_be_read_back(library: str) -> None:
    """A class whose base is missing from the record would leave every rule about its arguments unjudged."""
    outside = {name: dict[str, Argument]() for name in recorded()["libraries"]["transformers"]["bases"]}
    name = "TrainingArguments" if library == "transformers" else "SFTConfig"
    for version in recorded()["libraries"][library]["versions"]:
        sources = declared(library, version)
        if name not in sources.classes:  # trl 0.8 has no SFTConfig
            assert version == "0.8.0"
            continue
        fields = sources.fields(name, outside if library == "trl" else {})
        assert fields is not None
        assert len(fields) > 10


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_flags_are_read_as_the_real_parser_reads_them(parser: Any, data: st.DataObject) -> None:
    """A flag the parser takes (abbreviated, negated, with dashes) must not be called wrong, nor the other way round."""
    dests = sorted({a.dest for a in parser._actions} - {"help"})
    name = data.draw(st.sampled_from(dests))
    cut = data.draw(st.integers(3, len(name)))
    flag = data.draw(st.sampled_from([name, name[:cut], f"no_{name}", f"{name}x"]))
    run = run_of("hf", {flag: True}, transformers=str(installed("transformers")))
    made = accepted(run, None, None, "/nowhere")
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            _, rest = parser.parse_known_args([f"--{flag}"])
        except SystemExit:
            rest = [] if "ambiguous" not in said.getvalue() else [flag]
    ours = _read_as(flag, made)
    if rest and "ambiguous" in said.getvalue():
        return  # argparse counts --a_b and --a-b apart; what is told of such a flag is not certain
    assert (ours is not None) == (not rest), (flag, rest, said.getvalue())


VALUES = ["1", "1e3", "0.5", "abc", "true", "no", "", "1.0", "steps", "step", "cosine", "cosin", "adamw_torch", "nan"]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    "name",
    ["max_steps", "learning_rate", "bf16", "save_strategy", "lr_scheduler_type", "optim", "tf32", "save_steps", "seed"],
)
def test_values_are_judged_as_the_real_parser_judges_them(parser: Any, name: str, value: str) -> None:
    """A value that ends the run must be found, and one that the run takes must not be."""
    from transformers.trainer_utils import SaveStrategy, SchedulerType
    from transformers.training_args import OptimizerNames

    enums: dict[str, Any] = {"save_strategy": SaveStrategy, "lr_scheduler_type": SchedulerType, "optim": OptimizerNames}
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            parsed = getattr(parser.parse_known_args([f"--{name}={value}"])[0], name)
            taken = name not in enums or bool(enums[name](parsed))
        except (SystemExit, ValueError):
            taken = False
    made = accepted(run_of("hf", {name: value}, transformers=str(installed("transformers"))), None, None, "/nowhere")
    problem = value_problem(made.known[name], literal(value), words=True)
    assert (problem is None) == taken, problem


def test_yaml_says_no_without_quotes() -> None:
    """`eval_strategy: no` is false in YAML, and what LLaMA-Factory's own examples write."""
    known = Known(Argument("eval_strategy", "string"), "", "", "installed", ("no", "steps"), None)
    assert value_problem(known, False, words=False) is None
    assert value_problem(known, "step", words=False) == "eval_strategy cannot be 'step'; did you mean steps?"


def test_a_removed_argument_names_the_version_and_the_new_name() -> None:
    """The two things a user needs to mend the script."""
    row = outcome("minicpmv", {"evaluation_strategy": "steps"}, "finetune.py", transformers="4.51.2")
    assert row["evaluation_strategy"] | {"place": None} == {
        "name": "evaluation_strategy",
        "place": None,
        "source": "transformers 4.51.2",
        "outcome": "stops",
        "nearest": "eval_strategy",
        "until": "4.51.0",
        "successor": "--eval_strategy",
    }
    row = outcome("minicpmv", {"evaluation_strategy": "steps"}, "finetune.py", transformers="4.50.3")
    assert row["evaluation_strategy"]["outcome"] == "accepted"


def test_a_successor_that_this_version_lacks_is_not_offered() -> None:
    """group_by_length is gone from 5.2 on; what took its place must exist where it is recommended."""
    made = outcome("hf", {"group_by_length": True}, transformers="5.2.0")
    assert made["group_by_length"]["successor"] == "--train_sampling_strategy group_by_length"
    assert outcome("hf", {"group_by_length": True}, transformers="5.1.0")["group_by_length"]["outcome"] == "accepted"


@pytest.mark.parametrize(
    ("trainer", "arguments"),
    [
        ("minicpmv", ["llm_type", "lora_target_modules", "max_slice_nums", "tune_vision"]),
        ("llava", ["lora_enable", "mm_projector_lr", "version", "group_by_modality_length"]),
        ("qwen-vl", ["tune_mm_llm", "dataset_use", "max_pixels"]),
        ("qwen-vl-chat", ["fix_vit", "use_lora"]),
        ("qwen-vl-series", ["model_id", "vision_lr", "image_min_pixels", "lora_namespan_exclude"]),
        ("internvl", ["use_llm_lora", "meta_path", "force_image_size", "drop_path_rate"]),
        ("fastchat", ["q_lora", "lazy_preprocess"]),
        ("llamafactory", ["lora_target", "template", "cutoff_len", "freeze_vision_tower", "predict_with_generate"]),
        ("ms-swift", ["tuner_type", "freeze_vit", "target_modules", "max_length", "truncation_strategy"]),
        ("axolotl", ["lora_target_linear", "micro_batch_size", "datasets", "chat_template"]),
    ],
)
def test_trainers_take_their_own_arguments(trainer: str, arguments: list[str]) -> None:
    """An argument from the trainer's documentation must never be called unknown; a made-up one must be."""
    given = dict.fromkeys([*arguments, "output_dir", "no_such_thing"], "x")
    rows = outcome(trainer, given, transformers="4.57.1")
    assert {name for name, row in rows.items() if row["outcome"] != "accepted"} == {"no_such_thing"}
    assert rows["no_such_thing"]["outcome"] == "doubtful"  # another commit may have it


def test_trl_by_program() -> None:
    """GRPO's script has other arguments than SFT's."""
    rows = outcome(
        "trl", {"num_generations": 8, "max_length": 1}, "trl/scripts/grpo.py", trl="1.16.0", transformers="5.24.0"
    )
    assert (rows["num_generations"]["outcome"], rows["max_length"]["outcome"]) == ("accepted", "stops")
    rows = outcome("trl", {"max_seq_length": 8}, "examples/scripts/sft.py", trl="0.25.0", transformers="4.57.1")
    assert (rows["max_seq_length"]["outcome"], rows["max_seq_length"]["successor"]) == ("stops", "--max_length")


@pytest.mark.parametrize(
    ("versions", "reason"),
    [
        ({"transformers": "4.1.0"}, "the arguments of transformers 4.1.0 are not recorded: the oldest is 4.28.0"),
        ({"transformers": "99.0"}, "the arguments of transformers 99.0 are not recorded: the newest is"),
        ({"transformers": "latest"}, "'latest' is no version of transformers"),
    ],
)
def test_a_version_nobody_looked_at_is_not_judged(versions: dict[str, str], reason: str) -> None:
    """Judged by another version's arguments, a good script would be called broken."""
    with pytest.raises(NotKnown, match=reason):
        accepted(run_of("hf", {}, **versions), None, None, "/nowhere")


def test_a_script_of_several_files(tmp_path: Path) -> None:
    """LLaVA's train_mem.py only calls train.py; its classes stand in a third file as in Qwen's."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/__init__.py").write_text("")
    (tmp_path / "pkg/argument.py").write_text(
        "from dataclasses import dataclass\nimport transformers\n"
        "@dataclass\nclass TrainingArguments(transformers.TrainingArguments):\n    my_lr: float = 0.1\n"
    )
    (tmp_path / "pkg/train.py").write_text(
        "import transformers\nfrom pkg.argument import TrainingArguments\n"
        "def train():\n    return transformers.HfArgumentParser((TrainingArguments,)).parse_args_into_dataclasses()\n"
    )
    (tmp_path / "pkg/train_mem.py").write_text("from pkg.train import train\ntrain()\n")
    run = run_of("hf", {"my_lr": 1, "your_lr": 1, "bf16": True}, transformers="4.51.3")
    made = accepted(run, "pkg/train_mem.py", None, str(tmp_path))
    rows = {row["name"]: row["outcome"] for row in given_rows(run, made, None)}
    assert rows == {"my_lr": "accepted", "your_lr": "stops", "bf16": "accepted"}


def test_a_class_that_cannot_be_found_leaves_the_script_out(tmp_path: Path) -> None:
    """With half of a script's arguments known, the other half would be called unknown."""
    (tmp_path / "train.py").write_text(
        "from somewhere import Extra\nfrom transformers import HfArgumentParser, TrainingArguments\n"
        "HfArgumentParser((Extra, TrainingArguments)).parse_args_into_dataclasses()\n"
    )
    run = run_of("hf", {"extra": 1}, transformers="4.51.3")
    made = accepted(run, "train.py", None, str(tmp_path))
    assert [row["outcome"] for row in given_rows(run, made, None)] == ["unknown"]


@pytest.mark.parametrize("text", ["def (:", "\x00", "x = 1", "class A: pass"])
def test_a_script_that_says_nothing(tmp_path: Path, text: str) -> None:
    """Whatever lies beside a launch file, the linter must not fall over it."""
    (tmp_path / "train.py").write_text(text)
    made = accepted(run_of("hf", {}, transformers="4.51.3"), "train.py", None, str(tmp_path))
    assert made.source == "transformers 4.51.3"


def test_types_are_read_as_the_parser_reads_them() -> None:
    """Every form of annotation that trainers write."""
    text = """
from dataclasses import dataclass, field
from typing import List, Literal, Optional, Union
@dataclass
class A:
    a: int = 1
    b: Optional[float] = None
    c: "bool | None" = field(default=None)
    d: List[str] = field(default_factory=lambda: ["x"])
    e: Literal["p", "q"] = "p"
    f: Union[dict, str, None] = None
    g: str = field(default="", metadata={"aliases": ["--gee", "-g"]})
    h: int = field(init=False, default=3)
    _i: int = 0
"""
    fields = read_all([text]).fields("A", {})
    assert fields == {
        "a": Argument("a", "integer", default="1"),
        "b": Argument("b", "number", default="null"),
        "c": Argument("c", "boolean", default="null"),
        "d": Argument("d", "array", default='["x"]'),
        "e": Argument("e", "string", ("p", "q"), default='"p"'),
        "f": Argument("f", None, default="null"),
        "g": Argument("g", "string", default='""', aliases=("gee", "g")),
    }


def test_nothing_given_is_nothing_to_judge(tmp_path: Path) -> None:
    """`lorachk model --config ds.json` has no arguments; rules about them must pass, not be skipped."""
    from lorachk.facts.arguments import collect
    from lorachk.facts.collector import Context

    rows: dict[str, list[Any]] = {}

    class Sink:
        def add(self, table: str, found: Any) -> None:
            rows[table] = list(found)

        def unknown(self, fact: str, reason: str, count: int | None = None) -> None:
            raise AssertionError(fact, reason)

    path = tmp_path / "ds.json"
    path.write_text("{}")
    run = resolve(ResolveOptions(isolated=True, deepspeed=str(path))).run
    collect(Context(run, Sink()))
    assert rows == {"known_argument": [], "given_argument": []}
