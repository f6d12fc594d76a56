"""LLaMA-Factory's launch files: what its YAML means, where its data is, and how many processes it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.errors import UsageError
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.run import Run

TEXT, VISION = "Qwen/Qwen3-4B", "Qwen/Qwen2.5-VL-7B-Instruct"
HEAD = "stage: sft\ndo_train: true\nfinetuning_type: {kind}\ntemplate: x\nmodel_name_or_path: {model}\n"
REGISTRY = {
    "mine": {"file_name": "mine.json"},
    "below": {"file_name": "sub/below.jsonl"},
    "hub": {"hf_hub_url": "someone/hub"},
    "script": {"script_url": "loader"},
    "nothing": {"columns": {}},
    "text": "mine.json",
}


def launched(folder: Path, text: str = "", kind: str = "lora", model: str = TEXT, **options: Any) -> Run:
    """The run of a YAML with these lines below the usual ones."""
    path = folder / "x.yaml"
    path.write_text(HEAD.format(kind=kind, model=model) + text)
    return resolve(ResolveOptions(isolated=True, launch=str(path), **options)).run


def started(folder: Path, command: str, text: str = "output_dir: out\n") -> Run:
    """The run of a script with this command; x.yaml is beside it."""
    (folder / "x.yaml").write_text(HEAD.format(kind="lora", model=TEXT) + text)
    (folder / "t.sh").write_text(command + "\n")
    return resolve(ResolveOptions(isolated=True, launch=str(folder / "t.sh"))).run


def registered(folder: Path, name: str = "data") -> Path:
    """A dataset_info.json in `folder`/`name` with REGISTRY."""
    (folder / name / "sub").mkdir(parents=True)
    (folder / name / "dataset_info.json").write_text(json.dumps(REGISTRY))
    (folder / name / "mine.json").write_text('[{"instruction": "a", "input": "", "output": "b"}]')
    (folder / name / "sub/below.jsonl").write_text('{"instruction": "a", "input": "", "output": "b"}\n')
    return folder / name


def test_what_the_file_leaves_out(tmp_path: Path) -> None:
    """Most of what decides a LLaMA-Factory run stands in no file: hparams/ and model/ of ff6d4d1."""
    run = launched(tmp_path)
    assert (run.use_lora, run.lora_r, run.lora_alpha, run.lora_dropout) == (True, 8, 16.0, 0.0)
    assert (run.target_modules, run.target_regex, run.peft_type) == (["all"], False, "LORA")
    assert (run.max_length, run.packing, run.resize_vocab) == (2048, False, False)
    assert (run.gradient_checkpointing, run.use_reentrant, run.input_require_grads) == (True, True, True)
    assert (run.remove_unused_columns, run.use_cache, run.ddp_find_unused_parameters) == (False, False, False)
    assert (run.per_device_train_batch_size, run.learning_rate, run.num_train_epochs) == (8, 5e-5, 3.0)
    assert (run.load_in_4bit, run.load_dtype, run.frozen_parameters) == (False, "auto", True)
    assert run.because["lora_alpha"].endswith("twice the rank")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lora_rank: 32\n", {"lora_r": 32, "lora_alpha": 64.0}),
        ("lora_rank: 32\nlora_alpha: 8\n", {"lora_alpha": 8.0}),
        ("lora_alpha: 0\n", {"lora_alpha": 16.0}),  # lora_alpha or lora_rank * 2
        ("lora_alpha: null\n", {"lora_alpha": 16.0}),
        ("lora_target: q_proj, v_proj\n", {"target_modules": ["q_proj", "v_proj"], "target_regex": False}),
        ("lora_target: q_proj\n", {"target_modules": ["q_proj"], "target_regex": False}),
        ("lora_target: [q_proj, v_proj]\n", {"target_modules": ["q_proj", "v_proj"]}),
        ("additional_target: embed_tokens,lm_head\n", {"modules_to_save": ["embed_tokens", "lm_head"]}),
        ("resize_vocab: true\n", {"resize_vocab": True, "modules_to_save": ["embed_tokens", "lm_head"]}),
        ("resize_vocab: true\nadditional_target: lm_head\n", {"modules_to_save": ["lm_head"]}),
        ("pissa_init: true\n", {"init_lora_weights": "pissa_niter_16"}),
        ("pissa_init: true\npissa_iter: -1\n", {"init_lora_weights": "pissa"}),
        ("use_rslora: true\nuse_dora: true\n", {"use_rslora": True, "use_dora": True}),
        ("flash_attn: fa2\n", {"attn_implementation": "flash_attention_2"}),
        ("flash_attn: disabled\n", {"attn_implementation": "eager"}),
        ("flash_attn: auto\n", {"attn_implementation": None}),
        ("disable_gradient_checkpointing: true\n", {"gradient_checkpointing": False, "input_require_grads": False}),
        ("gradient_checkpointing: false\n", {"gradient_checkpointing": True}),
        ("disable_gradient_checkpointing: true\ngradient_checkpointing: true\n", {"gradient_checkpointing": True}),
        ("use_reentrant_gc: false\n", {"use_reentrant": False}),
        ("quantization_bit: 4\nbf16: true\n", {"load_in_4bit": True, "bnb_4bit_quant_storage": "bfloat16"}),
        ("quantization_bit: 4\nfp16: true\n", {"bnb_4bit_compute_dtype": "float16"}),
        ("quantization_bit: 8\n", {"load_in_4bit": False, "load_in_8bit": True}),
        ("quantization_bit: 4\nquantization_method: hqq\n", {"load_in_4bit": False, "load_in_8bit": False}),
        ("quantization_bit: 4\nquantization_method: bitsandbytes\n", {"load_in_4bit": True}),
        ("quantization_bit: null\n", {"load_in_4bit": False}),
        ("neat_packing: true\n", {"packing": True}),
        ("ddp_find_unused_parameters: true\n", {"ddp_find_unused_parameters": True}),
        ("remove_unused_columns: true\n", {"remove_unused_columns": False}),
        ("adapter_name_or_path: a, b\ncreate_new_adapter: true\n", {"adapter": None, "lora_r": 8}),
        ("cutoff_len: 512\n", {"max_length": 512}),
    ],
)
def test_a_key_means_what_the_trainer_makes_of_it(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    """A rule judges what happens, not what a key seems to say."""
    run = launched(tmp_path, text)
    assert {name: getattr(run, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("kind", "model", "text", "expected"),
    [
        ("lora", VISION, "", (None, False, False, True)),
        ("lora", VISION, "freeze_vision_tower: false\n", (None, True, False, True)),
        ("lora", VISION, "freeze_language_model: true\n", (False, False, False, True)),
        ("lora", VISION, "additional_target: visual.merger\n", (None, False, None, True)),
        ("full", VISION, "", (True, False, False, True)),
        (
            "full",
            VISION,
            "freeze_vision_tower: false\nfreeze_multi_modal_projector: false\n",
            (True, True, True, False),
        ),
        ("full", TEXT, "", (None, None, None, False)),
        ("full", "somewhere/else", "", (None, None, None, None)),
        ("freeze", TEXT, "", (None, None, None, True)),
        ("freeze", VISION, "", (None, False, False, True)),
    ],
)
def test_freeze_flags(tmp_path: Path, kind: str, model: str, text: str, expected: tuple[bool | None, ...]) -> None:
    """The same three flags say what is trained in full, and with LoRA where adapters go; text models have no parts."""
    run = launched(tmp_path, text, kind, model)
    assert (run.tune_llm, run.tune_vision, run.tune_projector, run.frozen_parameters) == expected
    assert run.use_lora is (kind == "lora")


def test_oft_is_an_adapter_that_is_no_lora(tmp_path: Path) -> None:
    """Rules on rank and alpha must not speak of OFT."""
    run = launched(tmp_path, "oft_target: all\n", "oft")
    assert (run.use_lora, run.peft_type, run.lora_r, run.frozen_parameters) == (False, "OFT", None, True)


def test_pretraining_packs(tmp_path: Path) -> None:
    """Without a word in the file, records of stage pt are joined."""
    path = tmp_path / "x.yaml"
    path.write_text("stage: pt\nfinetuning_type: lora\nmodel_name_or_path: Qwen/Qwen3-4B\n")
    run = resolve(ResolveOptions(isolated=True, launch=str(path))).run
    assert (run.packing, run.at("packing")) == (True, (str(path), 1, 8, "/stage"))


def test_an_older_version_cuts_at_half_the_length(tmp_path: Path) -> None:
    """0.9.0 has another cutoff_len than 0.9.1."""
    assert launched(tmp_path, environment={"llamafactory": "0.9.0"}).max_length == 1024
    assert launched(tmp_path, environment={"llamafactory": "0.9.1"}).max_length == 2048


def test_a_quantized_checkpoint_is_not_quantized_again(tmp_path: Path) -> None:
    """quantization_bit does nothing for GPTQ and AWQ: no rule on bitsandbytes may speak."""
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "quantization_config": {"quant_method": "awq"},
    }
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text(json.dumps(config))
    run = launched(tmp_path, "quantization_bit: 4\n", model="m")
    assert (run.quant_method, run.load_in_4bit, run.bnb_4bit_quant_storage) == ("awq", False, None)


def test_an_adapter_that_is_gone_on_with_keeps_its_rank(tmp_path: Path) -> None:
    """lora_rank of the file is not looked at then, and a rule must not compare it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/adapter_config.json").write_text('{"peft_type": "LORA", "r": 64, "target_modules": ["q_proj"]}')
    run = launched(tmp_path, "adapter_name_or_path: a\nlora_rank: 8\n")
    assert (run.adapter, run.lora_r, run.target_modules) == (str(tmp_path / "a"), 64, ["q_proj"])
    elsewhere = launched(tmp_path, "adapter_name_or_path: someone/adapter\nlora_rank: 8\n")
    assert (elsewhere.adapter, elsewhere.lora_r, elsewhere.target_modules) == ("someone/adapter", None, None)


def test_datasets_are_files_of_the_registry(tmp_path: Path) -> None:
    """`lorachk data --launch x.yaml` reads what the training will read, and names what is on the hub."""
    data = registered(tmp_path)
    run = launched(tmp_path, "dataset: mine, below\neval_dataset: mine\n")
    assert run.data == [str(data / "mine.json"), str(data / "sub/below.jsonl")]
    assert (run.eval_data, run.image_root) == ([str(data / "mine.json")], str(data))
    assert run.at("data") == (str(tmp_path / "x.yaml"), 6, 10, "/dataset")
    assert launched(tmp_path, "dataset: mine,hub\n").data == [str(data / "mine.json"), "hub"]


def test_dataset_dir_and_media_dir(tmp_path: Path) -> None:
    """Both move the files; the second the images alone."""
    data = registered(tmp_path, "elsewhere")
    run = launched(tmp_path, "dataset: mine\ndataset_dir: elsewhere\n")
    assert (run.data, run.image_root) == ([str(data / "mine.json")], str(data))
    run = launched(tmp_path, "dataset: mine\ndataset_dir: elsewhere\nmedia_dir: pictures\n")
    assert run.image_root == str(tmp_path / "pictures")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dataset: hub\n", "hub: on the hub"),
        ("dataset: script\n", "script: on the hub"),
        ("dataset: mine\ndataset_dir: REMOTE:a/b\n", "by dataset_dir REMOTE:a/b"),
        ("dataset: a/b\ndataset_dir: ONLINE\n", "by dataset_dir ONLINE"),
        ("dataset: mine\ndataset_dir: not/here\n", "there is no"),
    ],
)
def test_data_that_is_not_here_has_a_reason(tmp_path: Path, text: str, says: str) -> None:
    """Rules on the data are then skipped, and the person reads why."""
    registered(tmp_path)
    run = launched(tmp_path, text)
    assert run.data == []
    assert says in run.because["data"]


@pytest.mark.parametrize(
    ("text", "where", "says", "hint"),
    [
        ("dataset: mien\n", "x.yaml:6:10", "the dataset 'mien' is not in", "did you mean mine?"),
        ("dataset: nothing\n", "dataset_info.json:1:", "names no file", None),
        ("dataset: text\n", "dataset_info.json:1:", "described by no object", None),
    ],
)
def test_a_dataset_that_stops_the_run(tmp_path: Path, text: str, where: str, says: str, hint: str | None) -> None:
    """LLaMA-Factory finds it after loading the libraries on every GPU; here it is a message with a place."""
    registered(tmp_path)
    with pytest.raises(UsageError, match=says) as caught:
        launched(tmp_path, text)
    assert where in (caught.value.where or "")
    assert caught.value.hint == hint


@pytest.mark.parametrize("text", ["[", "[]", '{"mine": }'])
def test_a_broken_registry_is_named(tmp_path: Path, text: str) -> None:
    """Bad input never gives a traceback."""
    registered(tmp_path).joinpath("dataset_info.json").write_text(text)
    with pytest.raises(UsageError) as caught:
        launched(tmp_path, "dataset: mine\n")
    assert "dataset_info.json" in (caught.value.where or "")


def test_a_file_deep_in_the_repository_is_started_at_its_root(tmp_path: Path) -> None:
    """examples/train_lora/x.yaml is given by its path: data/ is two folders above it."""
    data = registered(tmp_path)
    folder = tmp_path / "examples/train_lora"
    folder.mkdir(parents=True)
    assert launched(folder, "dataset: mine\n").data == [str(data / "mine.json")]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("llamafactory-cli train x.yaml", (None, 1)),
        ("CUDA_VISIBLE_DEVICES=0 llamafactory-cli train x.yaml", (1, 1)),
        ("CUDA_VISIBLE_DEVICES=0 NPROC_PER_NODE=4 llamafactory-cli train x.yaml", (1, 1)),
        ("CUDA_VISIBLE_DEVICES=0,1,2 lmf train x.yaml", (3, 1)),
        ("export CUDA_VISIBLE_DEVICES=0,1\nllamafactory-cli train x.yaml", (2, 1)),
        ("FORCE_TORCHRUN=1 NPROC_PER_NODE=4 llamafactory-cli train x.yaml", (4, 1)),
        ("FORCE_TORCHRUN=1 NNODES=2 NPROC_PER_NODE=8 llamafactory-cli train x.yaml", (8, 2)),
        ("FORCE_TORCHRUN=1 NNODES=$WORLD llamafactory-cli train x.yaml", (None, None)),
        ("FORCE_TORCHRUN=1 MIN_NNODES=1 MAX_NNODES=3 RDZV_ID=a NPROC_PER_NODE=2 lmf train x.yaml", (2, None)),
        ("USE_RAY=1 NPROC_PER_NODE=2 llamafactory-cli train x.yaml", (None, None)),
        ("torchrun --nproc_per_node 2 src/train.py x.yaml", (2, 1)),
        ("llamafactory-cli train x.yaml\nllamafactory-cli export x.yaml export_dir=a export_size=2 a=b", (None, 1)),
    ],
)
def test_processes(tmp_path: Path, command: str, expected: tuple[int | None, int | None]) -> None:
    """launcher.py: torchrun when forced or when it sees several GPUs, else one process."""
    run = started(tmp_path, command)
    assert (run.trainer, run.num_gpus) == ("llamafactory", expected[0])
    assert run.num_nodes == expected[1] or (run.num_gpus and expected[1] is None and run.world_size is None)
    assert "export_dir" not in run.training_args


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    """`k=v` behind the YAML is how one file is used for many runs."""
    run = started(
        tmp_path, "lmf train x.yaml lora_rank=4 learning_rate=1e-5 lora_target=q_proj,v_proj", "lora_rank: 8\n"
    )
    assert (run.lora_r, run.lora_alpha, run.learning_rate) == (4, 8.0, 1e-5)
    assert run.target_modules == ["q_proj", "v_proj"]
    assert run.at("lora_r") == (str(tmp_path / "t.sh"), 1, 28, "/lora_rank")


@pytest.mark.parametrize(("version", "reentrant"), [("2", False), ("1", True)])
def test_fsdp2_checkpoints_without_reentrance(tmp_path: Path, version: str, reentrant: bool) -> None:
    """model/checkpointing.py sets use_reentrant_gc to False under FSDP2, whatever the file says."""
    config = f"distributed_type: FSDP\nfsdp_config:\n  fsdp_version: {version}\nnum_machines: 1\nnum_processes: 2\n"
    (tmp_path / "a.yaml").write_text(config)
    run = started(tmp_path, "accelerate launch --config_file a.yaml src/train.py x.yaml", "use_reentrant_gc: true\n")
    assert (run.fsdp, run.use_reentrant, run.num_gpus) == (True, reentrant, 2)


def test_what_is_not_known_is_kept(tmp_path: Path) -> None:
    """An unknown key is an argument with its place: the rule on arguments nobody takes needs it."""
    run = launched(tmp_path, "lora_rnak: 16\n")
    assert (run.training_args["lora_rnak"], run.argument_places["lora_rnak"].line) == (16, 6)
    assert run.lora_r == 8


def test_what_the_shell_alone_knows_stays_unknown(tmp_path: Path) -> None:
    """A default must not stand for a value that is set."""
    run = started(
        tmp_path, "lmf train x.yaml finetuning_type=$KIND lora_target=$TARGET dataset=$DATA quantization_bit=$B"
    )
    assert (run.use_lora, run.target_modules, run.data, run.load_in_4bit) == (None, None, [], None)
