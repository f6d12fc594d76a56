"""TRL's launch files: `trl sft --config`, its scripts behind accelerate, and defaults that moved between releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.errors import UsageError
from lorachk.launchers.resolve import Resolved, ResolveOptions, resolve
from lorachk.run import Run

NEW = {"trl": "1.9.0", "transformers": "5.8.0", "torch": "2.10.0"}
MODEL = "--model_name_or_path Qwen/Qwen3-4B --dataset_name a/b --output_dir o "


def resolved(folder: Path, command: str, environment: dict[str, str] | None = None, **files: str) -> Resolved:
    """What becomes of a script with this command; `files` are YAML files beside it."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "t.sh").write_text(command + "\n")
    options = ResolveOptions(isolated=True, launch=str(folder / "t.sh"), environment=environment or NEW)
    return resolve(options)


def started(folder: Path, command: str, environment: dict[str, str] | None = None, **files: str) -> Run:
    """Its run."""
    return resolved(folder, command, environment, **files).run


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"trl": "0.11.0"}, {"bf16": False, "learning_rate": 5e-5}),
        ({"trl": "0.17.0"}, {"bf16": False, "gradient_checkpointing": False, "load_dtype": None}),
        ({"trl": "0.19.0"}, {"bf16": True, "gradient_checkpointing": False}),
        ({"trl": "0.22.0"}, {"bf16": True, "gradient_checkpointing": True, "load_dtype": None}),
        ({"trl": "0.27.0"}, {"gradient_checkpointing": True, "load_dtype": "float32"}),
        ({"trl": "0.27.0", "transformers": "4.57.1"}, {"use_reentrant": True}),
        ({"trl": "0.28.0", "transformers": "4.57.1"}, {"use_reentrant": False}),
        ({"trl": "1.9.0", "transformers": "5.8.0"}, {"use_reentrant": False, "learning_rate": 2e-5}),
    ],
)
def test_defaults_by_release(tmp_path: Path, environment: dict[str, str], expected: dict[str, Any]) -> None:
    """The same command trains with and without checkpointing, depending on what is installed."""
    run = started(tmp_path, f"trl sft {MODEL} --accelerate_config multi_gpu", environment)
    assert {name: getattr(run, name) for name in expected} == expected


def test_a_release_that_is_not_known_decides_nothing(tmp_path: Path) -> None:
    """No default may be told that is another one in half of the releases."""
    run = started(tmp_path, f"trl sft {MODEL}", {"trl": "unreleased", "transformers": "5.8.0"})
    assert (run.gradient_checkpointing, run.bf16, run.use_reentrant, run.learning_rate) == (None, None, None, None)


@pytest.mark.parametrize(
    ("command", "rate", "length"),
    [
        ("trl sft", 2e-5, 1024),
        ("trl dpo", 1e-6, 1024),
        ("trl kto", 1e-6, 1024),
        ("trl grpo", 1e-6, None),
        ("trl rloo", 1e-6, None),
        ("trl reward", 1e-4, 1024),
        ("python trl/scripts/sft.py", 2e-5, 1024),
        ("python examples/scripts/sft_vlm.py", 2e-5, None),
        ("python examples/scripts/dpo_vlm.py", 1e-6, 1024),
        ("python examples/scripts/grpo_vlm.py", 1e-6, None),
        ("python -m trl.scripts.dpo", 1e-6, 1024),
        ("python my/own_sft.py --use_peft", None, 1024),
    ],
)
def test_every_trainer_has_its_own_defaults(
    tmp_path: Path, command: str, rate: float | None, length: int | None
) -> None:
    """A learning rate of DPO judged by that of SFT would be a false alarm."""
    run = started(tmp_path, f"{command} {MODEL}")
    assert (run.trainer, run.learning_rate, run.max_length) == ("trl", rate, length)


@pytest.mark.parametrize(
    ("flags", "stage", "reentrant"),
    [
        ("--use_peft --accelerate_config zero3", 3, True),
        ("--use_peft --accelerate_config zero3 --gradient_checkpointing_kwargs '{\"use_reentrant\": false}'", 3, True),
        ("--accelerate_config zero3", 3, False),
        ("--use_peft --accelerate_config zero2", 2, False),
        ("--use_peft --accelerate_config multi_gpu", 0, False),
        ("--use_peft --accelerate_config zero2 --gradient_checkpointing_kwargs '{\"use_reentrant\": true}'", 2, True),
        ("--use_peft", None, None),  # accelerate's own file on that machine may say zero3
    ],
)
def test_zero3_with_peft_is_made_reentrant(
    tmp_path: Path, flags: str, stage: int | None, reentrant: bool | None
) -> None:
    """TRL guards against ZeRO-3 with non-reentrant checkpointing since 0.28: no error may be told."""
    run = started(tmp_path, f"trl sft {MODEL} {flags}")
    assert (run.zero_stage, run.use_reentrant) == (stage, reentrant)


def test_older_releases_do_not_guard(tmp_path: Path) -> None:
    """0.26's sft_vlm.py asks for non-reentrant checkpointing, and ZeRO-3 then fails: the rule must see it."""
    run = started(
        tmp_path,
        f"accelerate launch --config_file a.yaml examples/scripts/sft_vlm.py {MODEL} --use_peft",
        {"trl": "0.26.0", "transformers": "4.57.1"},
        a="distributed_type: DEEPSPEED\ndeepspeed_config:\n  zero_stage: 3\nnum_machines: 1\nnum_processes: 8\n",
    )
    assert (run.zero_stage, run.use_reentrant, run.gradient_checkpointing) == (3, False, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lora_target_modules: [q_proj, v_proj]\n", (["q_proj", "v_proj"], False)),
        ("lora_target_modules: [all-linear]\n", (["all-linear"], False)),
        ("lora_target_modules: all-linear\n", (["all-linear"], False)),
        ("lora_target_modules: [q_proj]\n", (["q_proj"], True)),  # ModelConfig makes a string of one: a regex to PEFT
    ],
)
def test_one_target_is_a_regex(tmp_path: Path, text: str, expected: tuple[list[str], bool]) -> None:
    """PEFT matches a string as a whole: one name alone matches no module."""
    run = started(tmp_path, "trl sft --config c.yaml", c=f"model_name_or_path: org/m\nuse_peft: true\n{text}")
    assert (run.target_modules, run.target_regex) == expected


def test_a_config_file_and_the_command_line(tmp_path: Path) -> None:
    """The command line goes before the file; what neither TRL nor the script reads goes to accelerate."""
    found = resolved(
        tmp_path,
        "trl sft --config c.yaml --lora_r 8 --num_processes 2",
        c="model_name_or_path: Qwen/Qwen3-4B\ndataset_name: a/b\nuse_peft: true\nlora_r: 64\nnum_processes: 4\n"
        "accelerate_config: zero2\nenv:\n  CUDA_VISIBLE_DEVICES: 0,1\nlora_rnak: 3\n",
    )
    run = found.run
    assert (run.lora_r, run.lora_alpha, run.num_gpus, run.zero_stage) == (8, 32.0, 2, 2)
    assert run.at("lora_r") == (str(tmp_path / "t.sh"), 1, 34, "/lora_r")
    assert {"accelerate_config", "num_processes", "env"} & run.training_args.keys() == set()
    assert run.training_args["lora_rnak"] == 3
    assert run.program == "trl/scripts/sft.py"
    launcher = {setting.pointer: setting.value for setting in found.settings if setting.kind == "launcher"}
    assert (launcher["/use_deepspeed"], launcher["/num_processes"]) == (True, 2)


def test_a_yaml_alone(tmp_path: Path) -> None:
    """Which of its commands will read it is not known, and neither is what differs between them."""
    path = tmp_path / "c.yaml"
    path.write_text("model_name_or_path: Qwen/Qwen3-4B\ndataset_name: a/b\nuse_peft: true\naccelerate_config: zero3\n")
    run = resolve(ResolveOptions(isolated=True, launch=str(path), environment=NEW)).run
    assert (run.trainer, run.use_lora, run.zero_stage, run.num_gpus) == ("trl", True, 3, 8)
    assert (run.learning_rate, run.packing, run.use_reentrant) == (None, None, True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("single_gpu", {"num_gpus": 1, "zero_stage": 0, "fsdp": False}),
        ("multi_gpu", {"num_gpus": 8, "zero_stage": 0, "fsdp": False}),
        ("zero1", {"num_gpus": 8, "zero_stage": 1, "offload_param": "none"}),
        ("zero3", {"num_gpus": 8, "zero_stage": 3, "offload_optimizer": "none"}),
        ("fsdp2", {"num_gpus": 8, "zero_stage": 0, "fsdp": True}),
        ("own.yaml", {"num_gpus": 3, "zero_stage": 2}),
    ],
)
def test_accelerate_config_by_name_or_path(tmp_path: Path, name: str, expected: dict[str, Any]) -> None:
    """A name stands for a file inside TRL, which need not be installed here."""
    own = "distributed_type: DEEPSPEED\ndeepspeed_config:\n  zero_stage: 2\nnum_machines: 1\nnum_processes: 3\n"
    run = started(tmp_path, f"trl sft {MODEL} --accelerate_config {name}", own=own)
    assert {field: getattr(run, field) for field in expected} == expected


def test_an_accelerate_config_that_is_nowhere(tmp_path: Path) -> None:
    """TRL stops on a name it does not have."""
    with pytest.raises(UsageError, match="zero4"):
        started(tmp_path, f"trl sft {MODEL} --accelerate_config zero4")


def test_the_server_beside_the_training_is_no_training(tmp_path: Path) -> None:
    """GRPO scripts start `trl vllm-serve` first, with as many flags."""
    run = started(tmp_path, f"trl vllm-serve --model m --tensor-parallel-size 2 &\ntrl grpo {MODEL} --use_vllm")
    assert (run.program, run.model) == ("trl/scripts/grpo.py", "Qwen/Qwen3-4B")


@pytest.mark.parametrize(
    ("text", "data", "reason"),
    [
        ("dataset_name: here\n", ["here"], None),
        ("dataset_name: org/name\n", [], "org/name: on the hub; it is not fetched"),
        (
            "datasets:\n  - path: json\n    data_files: here/a.json\n  - path: org/b-v2.5\n",
            ["here/a.json", "org/b-v2.5"],
            None,
        ),
        ("datasets:\n  - path: org/a\n  - path: org/b\n", [], "org/a, org/b: on the hub; it is not fetched"),
    ],
)
def test_data(tmp_path: Path, text: str, data: list[str], reason: str | None) -> None:
    """A folder here is read; a name on the hub is told as the reason why rules on the data are skipped."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here/a.json").write_text("[]")
    run = started(tmp_path, "trl sft --config c.yaml", c=f"model_name_or_path: org/m\nuse_peft: true\n{text}")
    assert run.data == [name if name.startswith("org") else str(tmp_path / name) for name in data]
    assert run.because.get("data") == reason


@pytest.mark.parametrize(("command", "said"), [("dpo", "for DPO"), ("grpo", "for GRPO"), ("online-dpo", "not named")])
def test_records_for_other_trainers_are_not_judged_as_for_sft(tmp_path: Path, command: str, said: str) -> None:
    """Preferences have no answer to learn: every record would be called wrong."""
    (tmp_path / "here").mkdir()
    run = started(tmp_path, f"trl {command} --model_name_or_path org/model --dataset_name here --use_peft")
    assert run.data == []
    assert said in run.because["data"]
    chosen = ResolveOptions(isolated=True, launch=str(tmp_path / "t.sh"), data=["mine.json"])
    assert resolve(chosen).run.data == ["mine.json"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", {"use_lora": False, "lora_r": None, "frozen_parameters": False, "input_require_grads": None}),
        ("--use_peft", {"lora_r": 16, "lora_alpha": 32.0, "lora_dropout": 0.05, "input_require_grads": True}),
        ("--use_peft --load_in_4bit", {"load_in_4bit": True, "bnb_4bit_compute_dtype": "float32"}),
        ("--use_peft --load_in_4bit --dtype bfloat16", {"bnb_4bit_compute_dtype": "bfloat16"}),
        ("--use_peft --lora_target_parameters a b", {"target_parameters": True}),
        ("--no_gradient_checkpointing", {"gradient_checkpointing": False}),
        ("--fp16", {"fp16": True, "bf16": False}),
        ("--packing", {"packing": True}),
    ],
)
def test_flags_of_model_config(tmp_path: Path, flags: str, expected: dict[str, Any]) -> None:
    """A switch without a value, and what follows from it."""
    run = started(tmp_path, f"trl sft {MODEL} {flags}")
    assert {name: getattr(run, name) for name in expected} == expected


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_a_script_of_ones_own_with_a_file_of_arguments(tmp_path: Path, ending: str) -> None:
    """`python run_x.py args.json` is HfArgumentParser's own way."""
    arguments = {"output_dir": "o", "per_device_train_batch_size": 2, "learning_rate": 1e-4, "lora_r": 8, "mine": [1]}
    (tmp_path / f"args.{ending}").write_text(json.dumps(arguments))
    run = started(tmp_path, f"python run_x.py args.{ending}")
    assert (run.trainer, run.per_device_train_batch_size, run.lora_r, run.num_gpus) == ("hf", 2, 8, 1)
    assert (run.learning_rate, run.training_args["mine"]) == (1e-4, [1])
    assert run.at("learning_rate") is not None


@pytest.mark.parametrize("text", ["a: [1,\n", "- a\n", "", "a: &a [*a]\n"])
def test_a_broken_config_is_named(tmp_path: Path, text: str) -> None:
    """Bad input never gives a traceback."""
    with pytest.raises(UsageError) as caught:
        started(tmp_path, "trl sft --config c.yaml", c=text)
    assert "c.yaml" in (caught.value.where or "")


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    """The place that names it is told."""
    with pytest.raises(UsageError, match=r"there is no file .*none\.yaml") as caught:
        started(tmp_path, "trl sft --config none.yaml")
    assert (caught.value.where or "").endswith("t.sh:1:18")
