"""ms-swift's commands and files: every name it has had, what it does by itself, and files as people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.errors import UsageError
from lorachk.launchers.by_trainer import ms_swift
from lorachk.launchers.by_trainer.ms_swift_deepspeed import NAMES, preset
from lorachk.launchers.layers import Layers
from lorachk.launchers.resolve import Resolved, ResolveOptions, resolve
from lorachk.launchers.values import Found, Unknown
from lorachk.run import Location, Run

FILES = Path(__file__).parent.parent / "fixtures/clean/recipes/deepspeed-files"


@pytest.fixture
def script(tmp_path: Path) -> Any:
    """Resolve the `swift` command given, with variables in front."""

    def run(arguments: str, variables: str = "", command: str = "swift sft", **options: Any) -> Run:
        (tmp_path / "train.sh").write_text(f"{variables} {command} {arguments}\n")
        return resolve(ResolveOptions(launch=str(tmp_path / "train.sh"), isolated=True, **options)).run

    return run


def config(folder: Path, text: str, name: str = "sft.yaml", **options: Any) -> Resolved:
    (folder / name).write_text(text)
    return resolve(ResolveOptions(launch=str(folder / name), isolated=True, **options))


@pytest.mark.parametrize("name", ["zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload"])
def test_a_configuration_of_ms_swift_is_its_file(name: str) -> None:
    """A wrong stage or bucket in the copy would judge a run that nobody starts."""
    held = preset(name)
    assert held == json.loads((FILES / f"ms_swift_{name}.json").read_text())
    assert held is not None
    held["zero_optimization"]["stage"] = 9
    assert preset(name) != held  # nobody else sees the change


def test_the_configurations_of_ms_swift_2_held_an_optimizer() -> None:
    """Rules about optimizers in the file must see them."""
    held = preset("default-zero3")
    assert held is not None
    assert held["optimizer"]["type"] == "AdamW"
    assert held["zero_optimization"]["offload_param"]["device"] == "none"
    offload = preset("zero3-offload")
    assert offload is not None
    assert (offload["zero_optimization"]["offload_optimizer"], offload["zero_optimization"]["offload_param"]) == (
        {"device": "none", "pin_memory": True},
        {"device": "cpu", "pin_memory": True},
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_finding_in_such_a_configuration_points_to_the_flag(script: Any, name: str) -> None:
    """There is no file to open: the flag is the place to look at."""
    run = script(f"--model m --deepspeed {name}")
    assert run.deepspeed == f"{name} of ms-swift"
    assert run.zero_stage == int(name[name.index("zero") + 4])
    at = run.at("zero_stage")
    assert (Path(at.path).name, at.line) == ("train.sh", 1)


def test_deepspeed_as_file_json_and_nonsense(script: Any, tmp_path: Path) -> None:
    """A file that is called as a preset is goes first; what is neither is unknown and no default."""
    (tmp_path / "zero2").write_text('{"zero_optimization": {"stage": 1}}')
    assert script("--model m --deepspeed zero2").zero_stage == 1
    assert script("""--model m --deepspeed '{"zero_optimization": {"stage": 3}}'""").zero_stage == 3
    assert script("--model m --deepspeed zero4").zero_stage is None
    assert script("--model m --deepspeed 2").zero_stage is None
    with pytest.raises(UsageError, match=r"zero9\.json"):
        script("--model m --deepspeed zero9.json")


def test_zero_plus_plus_goes_into_the_configuration(script: Any) -> None:
    """ms-swift writes the partition size into the configuration; DeepSpeed's own rules then apply to it."""
    run = script("--model m --deepspeed zero3 --zero_hpz_partition_size 4")
    assert run.deepspeed_config["zero_optimization"]["zero_hpz_partition_size"] == 4


@pytest.mark.parametrize("flag", ["tuner_type", "train_type", "sft_type"])
def test_the_adapter_by_every_name_it_has_had(script: Any, flag: str) -> None:
    """Files of ms-swift 2 and 3 are still around."""
    lora, full, other = (script(f"--model m --{flag} {kind}") for kind in ("lora", "full", "adalora"))
    assert (lora.use_lora, lora.lora_r, lora.learning_rate) == (True, 8, 1e-4)
    assert (full.use_lora, full.lora_r, full.learning_rate) == (False, None, 1e-5)
    assert (other.use_lora, other.peft_type, other.frozen_parameters) == (False, "ADALORA", True)
    assert other.learning_rate == 1e-4


def test_nothing_said_is_lora_on_all_linear_layers(script: Any) -> None:
    """`swift sft --model m --dataset d` is what the README starts with."""
    run = script("--model m --dataset swift/self-cognition", variables="CUDA_VISIBLE_DEVICES=0")
    assert (run.use_lora, run.target_modules, run.lora_alpha, run.lora_dropout) == (True, ["all-linear"], 32, 0.05)
    assert (run.per_device_train_batch_size, run.gradient_accumulation_steps) == (1, 16)
    assert (run.weight_decay, run.adam_beta2, run.lr_scheduler_type) == (0.1, 0.95, "cosine")
    assert (run.gradient_checkpointing, run.input_require_grads, run.use_reentrant) == (True, True, True)
    assert (run.eval_strategy, run.remove_unused_columns, run.dataloader_num_workers) == ("no", False, 1)
    assert run.max_length is None  # the model's own
    assert run.data == []
    assert run.because["lora_r"].startswith("default of ms-swift")


@pytest.mark.parametrize(
    ("variables", "micro", "steps"),
    [("NPROC_PER_NODE=3", 1, 6), ("NPROC_PER_NODE=8 NNODES=2", 1, 1), ("NPROC_PER_NODE=2", 4, 2), ("NNODES=2", 16, 1)],
)
def test_accumulation_makes_sixteen_records(script: Any, variables: str, micro: int, steps: int) -> None:
    """ceil(16 / records / ranks), never below one: the batch size that rules multiply."""
    run = script(f"--model m --per_device_train_batch_size {micro}", variables=variables)
    assert run.gradient_accumulation_steps == steps


def test_accumulation_of_grpo_is_one(script: Any) -> None:
    """GRPO has a default of its own."""
    run = script("--model m --rlhf_type grpo", command="swift rlhf")
    assert run.gradient_accumulation_steps == 1


def test_ranks_that_are_not_known_leave_open_what_follows(script: Any) -> None:
    """A default in place of an unknown would be a guess."""
    run = script("--model m", variables="NPROC_PER_NODE=$GPUS")
    assert (run.num_gpus, run.world_size, run.gradient_accumulation_steps, run.use_reentrant) == (None,) * 4
    odd = script("--model m", variables="NPROC_PER_NODE=gpu")
    assert (odd.num_gpus, odd.world_size) == (None, None)


def test_checkpointing_by_what_shards_and_by_version(script: Any) -> None:
    """DDP gets the non-reentrant kind since 3.6, DeepSpeed the reentrant one: Z101 and L101 hang on it."""
    ddp = {"variables": "NPROC_PER_NODE=2"}
    assert script("--model m", **ddp).use_reentrant is False
    assert script("--model m", **ddp, environment={"ms-swift": "3.5.3"}).use_reentrant is True
    assert script("--model m --deepspeed zero2", **ddp).use_reentrant is True
    assert script("--model m --fsdp fsdp2", **ddp).use_reentrant is True
    stated = """--model m --gradient_checkpointing_kwargs '{"use_reentrant": true}'"""
    assert script(stated, **ddp).use_reentrant is True
    assert script("--model m --gradient_checkpointing false", **ddp).input_require_grads is False


def test_one_process_over_several_gpus_maps_devices(script: Any) -> None:
    """Two GPUs and one rank is no data parallelism: the layers are spread."""
    run = script("--model m", variables="CUDA_VISIBLE_DEVICES=0,1")
    assert (run.num_gpus, run.world_size, run.device_map) == (1, 1, "auto")
    assert script("--model m", variables="CUDA_VISIBLE_DEVICES=0,1 NPROC_PER_NODE=2").device_map is None


def test_the_dtype_of_the_weights_decides_the_precision(script: Any, tmp_path: Path) -> None:
    """ms-swift has no --bf16 in its examples: it follows the checkpoint."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text('{"model_type": "qwen2", "torch_dtype": "bfloat16"}')
    run = script("--model m")
    assert (run.load_dtype, run.bf16, run.fp16) == ("bfloat16", True, False)
    half = script("--model m --torch_dtype float32")
    assert (half.load_dtype, half.bf16, half.fp16) == ("float32", False, True)
    assert script("--model elsewhere").bf16 is None
    old = script("--model_id_or_path m --dtype fp16")
    assert (old.load_dtype, old.fp16) == ("float16", True)


@pytest.mark.parametrize(
    ("arguments", "four", "eight"),
    [
        ("--quant_method bnb --quant_bits 4", True, False),
        ("--quant_method bnb --quant_bits 8", False, True),
        ("--quant_method hqq --quant_bits 4", False, False),
        ("--quant_bits 4", False, False),  # nothing quantizes without the method
        ("--quantization_bit 4", True, False),  # ms-swift 2 took bnb
        ("--quant_method bnb --quant_bits $BITS", None, None),
        ("", False, False),
    ],
)
def test_quantization(script: Any, arguments: str, four: bool | None, eight: bool | None) -> None:
    """QLoRA that is none trains in full size and does not fit."""
    run = script(f"--model m {arguments}")
    assert (run.load_in_4bit, run.load_in_8bit) == (four, eight)


def test_targets_are_a_list_even_when_they_look_like_a_pattern(script: Any) -> None:
    """PEFT compares a list by name ends: a pattern in target_modules matches nothing, in target_regex it does."""
    run = script(r"--model m --target_modules '^model\..*q_proj$'")
    assert (run.target_modules, run.target_regex) == ([r"^model\..*q_proj$"], False)
    regex = script(r"--model m --target_regex '^model\..*q_proj$'")
    assert (regex.target_modules, regex.target_regex) == ([r"^model\..*q_proj$"], True)
    assert script("--model m --target_modules q_proj v_proj").target_modules == ["q_proj", "v_proj"]
    assert script("--sft_type lora --lora_target_modules ALL").target_modules == ["all-linear"]
    assert script("--sft_type lora --lora_target_modules DEFAULT").target_modules is None
    assert script("--model m --modules_to_save all-embedding lm_head").modules_to_save is None


def test_freeze_flags_of_models_with_images(script: Any) -> None:
    """freeze_vit is true by default; on a text model it means nothing."""
    vision = script("--model Qwen/Qwen2.5-VL-7B-Instruct --freeze_aligner false")
    assert (vision.tune_llm, vision.tune_vision, vision.tune_projector) == (True, False, True)
    text = script("--model Qwen/Qwen2.5-7B-Instruct --tuner_type full")
    assert (text.tune_vision, text.frozen_parameters) == (None, None)
    both = script("--model Qwen/Qwen2.5-VL-7B-Instruct --tuner_type lora_llm --lora_dropout 0.1")
    assert (both.use_lora, both.tune_vision, both.tune_projector, both.lora_dropout) == (True, True, True, 0.0)


def test_datasets_that_are_files(script: Any, tmp_path: Path) -> None:
    """#500 takes 500 records of a file; a name on a hub is no file, and a file that is missing is one."""
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "odd#name").write_text("{}")
    hub = "AI-ModelScope/alpaca-gpt4-data-zh#500 HF::org/set:sub#9"
    run = script(f"--model m --dataset {hub} a.jsonl#500 'odd#name' gone/b.jsonl --val_dataset swift/x a.jsonl")
    assert [Path(path).name for path in run.data] == ["a.jsonl", "odd#name", "b.jsonl"]
    assert [Path(path).name for path in run.eval_data] == ["a.jsonl"]
    assert run.eval_strategy == "steps"
    assert script("--model m --custom_train_dataset_path a.jsonl").data == [str(tmp_path / "a.jsonl")]
    assert script("--model m --dataset $DATA").data == []


def test_environment_variables_that_ms_swift_reads(script: Any, tmp_path: Path) -> None:
    """Image paths are joined to ROOT_IMAGE_DIR; a YAML may set variables, the command's go first."""
    assert script("--model m", variables="ROOT_IMAGE_DIR=pictures").image_root == str(tmp_path / "pictures")
    run = config(tmp_path, "model: m\ntuner_type: lora\nENV: {NPROC_PER_NODE: 4, ROOT_IMAGE_DIR: /data}\n").run
    assert (run.num_gpus, run.image_root) == (4, "/data")
    assert script("sft.yaml", variables="NPROC_PER_NODE=2").num_gpus == 2


def test_a_yaml_alone_does_not_say_how_many_ranks(tmp_path: Path) -> None:
    """NPROC_PER_NODE stands on the command line that nobody gave."""
    run = config(tmp_path, "model: m\ntuner_type: lora\n").run
    assert (run.trainer, run.num_gpus, run.gradient_accumulation_steps) == ("ms-swift", None, None)


def test_the_command_line_goes_before_the_file(script: Any, tmp_path: Path) -> None:
    """`swift sft x.yaml --learning_rate ...` is how people try things out."""
    (tmp_path / "sft.yaml").write_text("model: m\ntuner_type: lora\nlearning_rate: 1e-5\nlora_rank: 16\nmy_own: 3\n")
    run = script("sft.yaml --learning_rate 2e-4 --deepspeed zero2")
    assert (run.learning_rate, run.lora_r, run.zero_stage) == (2e-4, 16, 2)
    assert Path(run.at("learning_rate").path).name == "train.sh"
    assert (Path(run.at("lora_r").path).name, run.at("lora_r").line) == ("sft.yaml", 4)
    assert run.training_args["my_own"] == 3  # an argument that we do not know is kept


def test_json_works_as_well(tmp_path: Path) -> None:
    """`swift sft x.json` is read since 4."""
    text = json.dumps({"model": "m", "train_type": "full", "deepspeed": "zero3", "max_length": -1})
    run = config(tmp_path, text, "sft.json").run
    assert (run.trainer, run.use_lora, run.zero_stage, run.max_length) == ("ms-swift", False, 3, None)


def test_ms_swift_2_has_other_defaults(script: Any) -> None:
    """2048 tokens, one epoch, a warm-up: where the names say that it is ms-swift 2."""
    run = script("--sft_type lora --model_id_or_path m --batch_size 2", variables="CUDA_VISIBLE_DEVICES=0")
    assert (run.model, run.max_length, run.num_train_epochs, run.warmup_ratio) == ("m", 2048, 1.0, 0.05)
    assert (run.per_device_train_batch_size, run.gradient_accumulation_steps) == (2, 8)
    assert (run.target_modules, run.use_reentrant) == (None, None)


def test_the_training_is_found_among_other_commands(tmp_path: Path) -> None:
    """Scripts also export and infer; those lines train nothing."""
    (tmp_path / "a.sh").write_text(
        "swift export --model m --quant_bits 4 --quant_method awq\n"
        "swift sft --model b --lora_rank 4\n"
        "swift infer --model c\n"
    )
    run = resolve(ResolveOptions(launch=str(tmp_path / "a.sh"), isolated=True)).run
    assert (run.model, run.lora_r, run.load_in_4bit) == ("b", 4, False)
    (tmp_path / "b.sh").write_text("swift infer --model c --adapters x\n")
    with pytest.raises(UsageError, match="no command that starts a training"):
        resolve(ResolveOptions(launch=str(tmp_path / "b.sh"), isolated=True))


def test_a_project_file_goes_the_same_way(tmp_path: Path) -> None:
    """[run.args] with trainer ms-swift is no other language."""
    (tmp_path / "lorachk.toml").write_text(
        '[run]\ntrainer = "ms-swift"\nnum_gpus = 2\n[run.args]\nmodel = "m"\ntuner_type = "lora"\n'
        'deepspeed = "zero2"\nattn_impl = "flash_attn"\nadapters = ["old"]\ntarget_modules = "all-linear"\n'
    )
    run = resolve(ResolveOptions(toml=str(tmp_path / "lorachk.toml"))).run
    assert (run.zero_stage, run.attn_implementation, run.adapter) == (2, "flash_attention_2", "old")
    assert (run.gradient_accumulation_steps, run.target_regex) == (8, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: m\n\ttuner_type: lora\n", r"sft\.yaml:2:1.*tab"),
        ("- model\n- lora\n", "a list"),
        ("tuner_type: lora\nmodel: [m\n", r"sft\.yaml:3:1"),
        ("", "is empty"),
    ],
)
def test_a_broken_file_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    """A traceback helps nobody."""
    with pytest.raises(UsageError, match=message):
        config(tmp_path, text, trainer="ms-swift")


_ARGUMENTS = (
    *("tuner_type", "target_modules", "target_regex", "modules_to_save", "quant_method", "quant_bits", "dataset"),
    *("deepspeed", "torch_dtype", "freeze_vit", "adapters", "init_weights", "attn_impl", "max_length", "model", "ENV"),
    *("gradient_checkpointing_kwargs", "zero_hpz_partition_size", "split_dataset_ratio", "rlhf_type", "fsdp"),
)
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.floats(allow_nan=False),
    st.text(max_size=6),
    st.lists(st.one_of(st.text(max_size=4), st.integers(), st.none()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just(Unknown("the shell's")),
    st.sampled_from(["zero3", "lora", "lora_llm", "full", "bnb", "ALL", "bf16", "a.jsonl#3", "::#"]),
)


@given(st.dictionaries(st.sampled_from(_ARGUMENTS), _VALUES, max_size=6))
def test_odd_values_never_break_the_reader(values: dict[str, Any]) -> None:
    """Whatever stands in somebody's file, the answer is a run with unknowns and no traceback."""
    at = Location("sft.yaml", 1, 1, "/x")
    arguments = {name: Found(value, at) for name, value in values.items()}
    layers = Layers()
    layers.add(ms_swift.fields(arguments, "/nowhere", {}))
    ms_swift.complete(layers, arguments, {"ms-swift": "4.5.2"}, launched=True)
    assert layers.get("remove_unused_columns") is False
    assert layers.get("per_device_train_batch_size") == 1


@pytest.mark.parametrize(
    ("arguments", "resized"), [("--new_special_tokens '<a>' '<b>'", True), ("--lora_rank 8", False)]
)
def test_tokens_that_are_added(script: Any, arguments: str, resized: bool) -> None:
    """LoRA alone does not train their rows."""
    assert script(f"--model a/b {arguments}").resize_vocab is resized
