"""axolotl's YAML and commands: what each key makes of the run, and files as people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.errors import UsageError
from lorachk.launchers.by_trainer import axolotl
from lorachk.launchers.by_trainer.axolotl_deepspeed import NAMES, shipped
from lorachk.launchers.layers import Layers
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.launchers.values import Found, Unknown
from lorachk.run import Location, Run

FILES = Path(__file__).parent.parent / "fixtures/clean/recipes/deepspeed-files"
BASE = "base_model: m\nadapter: lora\nlora_r: 8\nlora_alpha: 16\nmicro_batch_size: 2\n"


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Resolve a YAML with the lines given behind the usual ones."""

    def run(lines: str = "", base: str = BASE, **options: Any) -> Run:
        (tmp_path / "x.yaml").write_text(base + lines)
        return resolve(ResolveOptions(launch=str(tmp_path / "x.yaml"), isolated=True, **options)).run

    return run


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Resolve a command that starts x.yaml."""

    def run(command: str, lines: str = "") -> Run:
        (tmp_path / "x.yaml").write_text(BASE + lines)
        (tmp_path / "train.sh").write_text(f"{command}\n")
        return resolve(ResolveOptions(launch=str(tmp_path / "train.sh"), isolated=True)).run

    return run


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_axolotl_ships_is_its_file(name: str) -> None:
    """A wrong stage or offload in the copy would judge a run that nobody starts."""
    assert shipped(f"deepspeed_configs/{name}.json") == json.loads((FILES / f"axolotl_{name}.json").read_text())
    assert shipped(f"./deepspeed_configs/{name}.json") is not None


def test_other_paths_are_files(read: Any, tmp_path: Path) -> None:
    """One's own file goes before the shipped one; what is missing is told and not made up."""
    assert [shipped(path) for path in ("zero2.json", "deepspeed_configs/mine.json", "deepspeed_configs/zero2")] == [
        None,
        None,
        None,
    ]
    assert read("deepspeed: deepspeed_configs/zero2.json\n").offload_optimizer == "cpu"
    (tmp_path / "deepspeed_configs").mkdir()
    (tmp_path / "deepspeed_configs/zero2.json").write_text('{"zero_optimization": {"stage": 1}}')
    run = read("deepspeed: deepspeed_configs/zero2.json\n")
    assert (run.zero_stage, run.deepspeed) == (1, str(tmp_path / "deepspeed_configs/zero2.json"))
    assert read("deepspeed: {zero_optimization: {stage: 3}}\n").zero_stage == 3
    assert read("deepspeed:\n").zero_stage == 0
    with pytest.raises(UsageError, match=r"mine\.json"):
        read("deepspeed: deepspeed_configs/mine.json\n")


def test_what_little_says(read: Any) -> None:
    """Defaults that decide memory and speed."""
    run = read()
    assert (run.trainer, run.use_lora, run.lora_dropout, run.max_length) == ("axolotl", True, 0.0, 512)
    assert (run.gradient_accumulation_steps, run.num_train_epochs, run.optim) == (1, 1.0, "adamw_torch_fused")
    assert (run.lr_scheduler_type, run.weight_decay, run.packing) == ("cosine", 0.0, False)
    assert (run.gradient_checkpointing, run.use_reentrant, run.input_require_grads) == (False, None, True)
    assert (run.save_strategy, run.eval_strategy, run.load_best_model_at_end) == ("epoch", "no", False)
    assert (run.num_gpus, run.world_size, run.ddp_find_unused_parameters) == (None, None, False)
    assert run.because["lora_dropout"] == "default of axolotl"


def test_no_adapter_is_full_training(read: Any) -> None:
    """`adapter:` without a value says nothing, as in half of axolotl's examples."""
    run = read("adapter:\n", base="base_model: m\nmicro_batch_size: 1\n")
    assert (run.use_lora, run.lora_r, run.frozen_parameters, run.input_require_grads) == (False, None, None, None)
    assert read("adapter: llama-adapter\n", base="base_model: m\nnum_epochs: 1\n").peft_type == "ADAPTION_PROMPT"
    assert read("adapter: mora\n", base="base_model: m\nnum_epochs: 1\n").use_lora is None
    frozen = read("unfrozen_parameters: [lm_head]\n", base="base_model: m\nnum_epochs: 1\n")
    assert frozen.frozen_parameters is True


@pytest.mark.parametrize(
    ("adapter", "lines", "four", "eight"),
    [
        ("qlora", "load_in_4bit: true\n", True, False),
        ("lora", "load_in_8bit: true\nload_in_4bit: false\n", False, True),
        ("lora", "load_in_4bit: true\n", False, False),  # nothing quantizes: the base is loaded whole
        ("qlora", "load_in_8bit: true\n", False, False),
    ],
)
def test_quantization_goes_by_the_adapter(read: Any, adapter: str, lines: str, four: bool, eight: bool) -> None:
    """load_in_4bit beside adapter: lora has no effect, and the run needs four times the memory."""
    run = read(lines, base=f"base_model: m\nadapter: {adapter}\nmicro_batch_size: 1\n")
    assert (run.load_in_4bit, run.load_in_8bit) == (four, eight)
    assert run.bnb_4bit_quant_storage == ("bfloat16" if four else None)


def test_bnb_options_of_ones_own(read: Any) -> None:
    """bnb_config_kwargs go over what axolotl sets; ZeRO-3 stands and falls with the storage (Q101)."""
    base = "base_model: m\nadapter: qlora\nload_in_4bit: true\nbf16: true\n"
    run = read("bnb_config_kwargs: {bnb_4bit_quant_storage: uint8}\n", base=base)
    assert (run.bnb_4bit_quant_storage, run.bnb_4bit_compute_dtype) == ("uint8", "bfloat16")


@pytest.mark.parametrize(
    ("lines", "targets", "regex"),
    [
        ("lora_target_linear: true\n", ["all-linear"], False),
        ("lora_target_linear: true\nlora_target_modules: [q_proj]\n", ["all-linear", "q_proj"], False),
        ("lora_target_linear: false\nlora_target_modules: [q_proj, v_proj]\n", ["q_proj", "v_proj"], False),
        (r"lora_target_modules: 'model.layers.\d+.(q|v)_proj'" + "\n", [r"model.layers.\d+.(q|v)_proj"], True),
        ("", None, None),
    ],
)
def test_targets(read: Any, lines: str, targets: list[str] | None, regex: bool | None) -> None:
    """A list is matched by name ends, a string as a pattern."""
    run = read(lines)
    assert (run.target_modules, run.target_regex) == (targets, regex)


@pytest.mark.parametrize(
    ("lines", "bf16", "fp16", "dtype"),
    [
        ("bf16: true\nfp16:\n", True, False, "bfloat16"),
        ("bf16: true\nfp16: true\n", True, False, "bfloat16"),
        ("bf16: false\nfp16: true\n", False, True, "float16"),
        ("bf16:\n", False, False, "float32"),
        ("bf16: full\n", False, False, "bfloat16"),
        ("bfloat16: true\nbf16: false\n", True, False, "bfloat16"),
        ("bf16: auto\n", None, None, None),  # the GPU decides
        ("", None, None, None),
        ("fp16: true\n", False, True, "float16"),
    ],
)
def test_precision(read: Any, lines: str, bf16: bool | None, fp16: bool | None, dtype: str | None) -> None:
    """fp16 on a bf16 checkpoint overflows: which one is on must be known, or known to be unknown."""
    run = read(lines)
    assert (run.bf16, run.fp16, run.load_dtype) == (bf16, fp16, dtype)


def test_auto_precision_on_a_gpu_that_is_named(read: Any) -> None:
    """--gpu answers what auto asks."""
    new, old = read("bf16: auto\n", gpu="RTX 4090"), read("bf16: auto\ntf32: auto\n", gpu="Tesla T4")
    assert (new.bf16, new.fp16, new.load_dtype) == (True, False, "bfloat16")
    assert (old.bf16, old.fp16, old.load_dtype, old.tf32) == (False, True, "float16", None)


@pytest.mark.parametrize(
    ("lines", "on", "reentrant"),
    [
        ("gradient_checkpointing: true\n", True, True),
        ("gradient_checkpointing: offload\n", True, True),
        ("gradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: false}\n", True, False),
        ("gradient_checkpointing: true\ngradient_checkpointing_kwargs:\n", True, True),
        ("gradient_checkpointing: true\nrl: dpo\n", True, False),
        ("gradient_checkpointing: false\n", False, None),
    ],
)
def test_checkpointing(read: Any, lines: str, on: bool, reentrant: bool | None) -> None:
    """Z101 and L101 hang on the kind, which axolotl chooses itself."""
    run = read(lines)
    assert (run.gradient_checkpointing, run.use_reentrant) == (on, reentrant)


def test_evaluations_and_checkpoints_per_epoch(read: Any) -> None:
    """They become shares of the run; one that would be the whole run is left to the end of the epoch."""
    run = read("num_epochs: 4\nevals_per_epoch: 4\nsaves_per_epoch: 1\nval_set_size: 0.05\n")
    assert (run.eval_strategy, run.eval_steps) == ("steps", 0.0625)
    assert (run.save_strategy, run.save_steps, run.load_best_model_at_end) == ("steps", 0.25, True)
    once = read("num_epochs: 1\nevals_per_epoch: 4\nsaves_per_epoch: 1\nval_set_size: 0\n")
    assert (once.eval_strategy, once.eval_steps, once.save_strategy, once.save_steps) == ("no", None, "epoch", None)
    refused = read(
        "num_epochs: 4\nevals_per_epoch: 1\nsaves_per_epoch: 1\nval_set_size: 1\nload_best_model_at_end: false"
    )
    assert refused.load_best_model_at_end is False
    assert read("evals_per_epoch:\nsaves_per_epoch: 0\nsave_steps: 50\n").save_strategy == "steps"


def test_batch_size_does_not_set_the_accumulation(read: Any) -> None:
    """The schema's default of 1 is there before batch_size is looked at."""
    assert read("batch_size: 16\n").gradient_accumulation_steps == 1
    assert read("gradient_accumulation_steps: 8\n").gradient_accumulation_steps == 8


def test_datasets_that_are_files(read: Any, tmp_path: Path) -> None:
    """Names on the hub and addresses are none; folders count with their data_files."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.jsonl").write_text("{}")
    (tmp_path / "b.json").write_text("[]")
    run = read(
        "datasets:\n"
        "  - {path: tatsu-lab/alpaca, type: alpaca}\n"
        "  - {path: 'https://example.org/x.jsonl', type: alpaca}\n"
        "  - {path: b.json, ds_type: json, type: alpaca}\n"
        "  - {path: folder, data_files: a.jsonl}\n"
        "  - {path: json, data_files: [gone.jsonl]}\n"
        "  - nonsense\n"
        "test_datasets: [{path: b.json}]\n"
    )
    assert [Path(path).name for path in run.data] == ["b.json", "a.jsonl", "gone.jsonl"]
    assert run.eval_data == [str(tmp_path / "b.json")]
    assert read("datasets: [{path: tatsu-lab/alpaca}]\n").data == []
    assert read("datasets: nonsense\n").data == []


def test_paths_are_those_of_the_folder_it_is_started_in(tmp_path: Path) -> None:
    """Configurations lie in a folder of their own; data and DeepSpeed files do not."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.jsonl").write_text("{}")
    (tmp_path / "configs/x.yaml").write_text(BASE + "datasets: [{path: data/a.jsonl, type: alpaca}]\n")
    run = resolve(ResolveOptions(launch=str(tmp_path / "configs/x.yaml"), isolated=True)).run
    assert [Path(path).resolve() for path in run.data] == [tmp_path / "data/a.jsonl"]


def test_records_with_images_are_not_cut(read: Any) -> None:
    """sequence_len does not hold for them: a rule that counts on it would be wrong."""
    assert read("processor_type: AutoProcessor\nsequence_len: 4096\n").max_length is None
    assert read("processor_type:\nsequence_len: 4096\n").max_length == 4096


@pytest.mark.parametrize(
    ("lines", "implementation"),
    [
        ("flash_attention: true\n", "flash_attention_2"),
        ("sdp_attention: true\n", "sdpa"),
        ("flash_attention: false\n", None),
        ("flash_attention:\nattn_implementation: eager\n", "eager"),
    ],
)
def test_attention_by_old_and_new_name(read: Any, lines: str, implementation: str | None) -> None:
    """The old switches are in most files."""
    assert read(lines).attn_implementation == implementation


@pytest.mark.parametrize(
    ("command", "gpus", "nodes"),
    [
        ("axolotl train x.yaml", None, None),
        ("axolotl train x.yaml --num-processes 4", 4, 1),
        ("axolotl train x.yaml -- --num_processes=8 --num_machines 2", 4, 2),
        ("axolotl train x.yaml --launcher torchrun -- --nproc_per_node 2", 2, 1),
        ("axolotl train x.yaml --launcher torchrun -- --nproc_per_node=gpu --nnodes 2", None, 2),
        ("axolotl train x.yaml --launcher python", 1, 1),
        ("accelerate launch --num_processes 2 -m axolotl.cli.train x.yaml", 2, 1),
        ("torchrun --nproc_per_node 2 -m axolotl.cli.train x.yaml", 2, 1),
        ("python -m axolotl.cli.train x.yaml", 1, 1),
        ("axolotl train x.yaml -- --num_processes $N", None, 1),
    ],
)
def test_ranks_of_every_way_to_start_it(start: Any, command: str, gpus: int | None, nodes: int | None) -> None:
    """The memory and the batch size hang on the ranks; where the machine decides, nobody guesses."""
    run = start(command)
    assert (run.trainer, run.lora_r, run.num_gpus) == ("axolotl", 8, gpus)
    assert run.num_nodes == nodes


def test_the_command_line_goes_before_the_file(start: Any) -> None:
    """Dashes for underscores, and --no-x for false."""
    lines = "learning_rate: 0.0002\nsample_packing: true\nstrange_key: 1\n"
    run = start("axolotl preprocess x.yaml\naxolotl train x.yaml --learning-rate 1e-4 --no-sample-packing", lines)
    assert (run.learning_rate, run.packing) == (1e-4, False)
    assert Path(run.at("learning_rate").path).name == "train.sh"
    assert (Path(run.at("lora_r").path).name, run.at("lora_r").line) == ("x.yaml", 3)
    assert run.training_args["strange_key"] == 1


def test_fsdp_by_either_key(read: Any) -> None:
    """fsdp_config alone is enough since FSDP2."""
    assert read("fsdp: [full_shard, auto_wrap]\n").fsdp is True
    assert read("fsdp_config: {reshard_after_forward: true}\n").fsdp is True
    assert read("fsdp:\nfsdp_config: {fsdp_version: 2}\n").fsdp is True
    assert read("fsdp:\nfsdp_config:\n").fsdp is False


def test_adapter_to_go_on_from_and_other_lora_options(read: Any) -> None:
    """Names that differ from PEFT's."""
    run = read(
        "lora_model_dir: ./old\npeft_use_dora: true\npeft_use_rslora: true\nlora_modules_to_save: [embed_tokens]\n"
        "peft_trainable_token_indices: [1]\npeft_init_lora_weights: pissa\nresume_from_checkpoint: out/checkpoint-5\n"
    )
    assert (run.adapter, run.use_dora, run.use_rslora, run.trainable_tokens) == ("./old", True, True, True)
    assert (run.modules_to_save, run.init_lora_weights) == (["embed_tokens"], "pissa")
    assert run.resume_from_checkpoint.endswith("/out/checkpoint-5")  # from the folder that axolotl is started in


def test_preference_training_keeps_its_columns(read: Any) -> None:
    """A rule about dropped columns must not fire on DPO."""
    assert read("rl: dpo\n").remove_unused_columns is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base_model: m\n\tadapter: lora\n", r"x\.yaml:2:1.*tab"),
        ("base_model: m\nadapter: lora: 8\n", r"x\.yaml:2:14"),
        ("[a, b]\n", "a list"),
        ("", "is empty"),
        ("model: m\nlr: 1\n", "no trainer is known"),
    ],
)
def test_a_broken_file_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    """A traceback helps nobody."""
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        resolve(ResolveOptions(launch=str(tmp_path / "x.yaml"), isolated=True))


_ARGUMENTS = (
    *("adapter", "lora_target_linear", "lora_target_modules", "load_in_4bit", "load_in_8bit", "gptq", "bf16", "fp16"),
    *("bfloat16", "float16", "tf32", "num_epochs", "evals_per_epoch", "saves_per_epoch", "datasets", "test_datasets"),
    *("gradient_checkpointing", "gradient_checkpointing_kwargs", "fsdp", "fsdp_config", "deepspeed", "val_set_size"),
    *("bnb_config_kwargs", "rl", "unfrozen_parameters", "freeze_mm_modules", "batch_size", "load_best_model_at_end"),
    *("processor_type", "flash_attention", "no_bf16", "peft_trainable_token_indices"),
)
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.floats(allow_nan=False),
    st.text(max_size=6),
    st.lists(st.text(max_size=4) | st.dictionaries(st.sampled_from(["path", "data_files"]), st.text()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just(Unknown("the shell's")),
    st.sampled_from(["auto", "full", "offload", "lora", "qlora", "json", "a.jsonl", "deepspeed_configs/zero3.json"]),
)


@given(st.dictionaries(st.sampled_from(_ARGUMENTS), _VALUES, max_size=6))
def test_odd_values_never_break_the_reader(values: dict[str, Any]) -> None:
    """Whatever stands in somebody's file, the answer is a run with unknowns and no traceback."""
    at = Location("x.yaml", 1, 1, "/x")
    arguments = {name: Found(value, at) for name, value in values.items()}
    layers = Layers()
    layers.add(axolotl.fields(arguments, "/nowhere", {}))
    axolotl.complete(layers, arguments, {}, launched=True)
    assert layers.get("max_grad_norm") == 1.0
    assert layers.knows("bf16")


@pytest.mark.parametrize(
    ("lines", "resized"),
    [
        ("", False),
        ("tokens: ['<a>']\n", True),
        ("tokens: []\n", False),
        ("special_tokens: {pad_token: '<|end_of_text|>'}\n", False),
        ("special_tokens: {eos_token: '<|im_end|>'}\n", None),  # only the tokenizer knows whether it is new
    ],
)
def test_tokens_that_are_added(start: Any, lines: str, resized: bool | None) -> None:
    """Their rows are not trained by LoRA alone; a padding token does not mind."""
    assert start("axolotl train x.yaml", lines).resize_vocab is resized
