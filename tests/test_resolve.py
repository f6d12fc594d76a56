"""Resolving a run: the right value, from the right file, and its place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lorachk.facts.settings import run_row, setting_row
from lorachk.launchers.resolve import Resolved, ResolveOptions, resolve
from lorachk.run import Location

FIXTURES = Path(__file__).parent.parent / "fixtures"
OFFICIAL = FIXTURES / "clean/minicpmv-official"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def resolved(**options: object) -> Resolved:
    return resolve(ResolveOptions(isolated=True, **options))  # type: ignore[arg-type]


def test_official_minicpmv_script() -> None:
    """The best-known script must come out as the trainer itself resolves it."""
    run = resolved(launch=str(OFFICIAL / "finetune_lora_zero3.sh")).run
    assert (run.trainer, run.family, run.llm_type, run.model) == (
        "minicpmv",
        "minicpmv26",
        "qwen",
        "openbmb/MiniCPM-V-2_6",
    )
    assert (run.world_size, run.zero_stage, run.fp16, run.bf16) == (8, 3, True, False)
    assert (run.use_lora, run.tune_llm, run.tune_vision, run.frozen_parameters) == (True, False, True, True)
    assert (run.lora_r, run.lora_alpha, run.lora_dropout) == (64, 64.0, 0.05)
    assert run.modules_to_save == ["embed_tokens", "resampler", "vpm"]
    assert run.lora_config["target_modules"] == r"llm\..*layers\.\d+\.self_attn\.(q_proj|k_proj|v_proj|o_proj)"
    assert run.target_regex is True
    assert (run.gradient_checkpointing, run.use_reentrant, run.input_require_grads) == (True, False, True)
    assert run.image_root == str(OFFICIAL)
    assert run.at("zero_stage") == Location(str(OFFICIAL / "ds_config_zero3.json"), 31, 18, "/zero_optimization/stage")
    assert run.at("max_length") == Location(str(OFFICIAL / "finetune_lora_zero3.sh"), 16, 18, "/model_max_length")
    assert run.at("lora_r") is None  # a default stands nowhere


def test_what_is_absent_from_minicpmv_has_the_trainers_default(tmp_path: Path) -> None:
    """tune_llm is true unless said otherwise; to take it for false hides P113."""
    write(tmp_path, t_DOT_sh="torchrun finetune.py --llm_type qwen --use_lora true --output_dir o\n")
    run = resolved(launch=str(tmp_path / "t.sh")).run
    assert (run.tune_llm, run.max_length, run.max_slice_nums) == (True, 2048, 9)
    assert run.target_modules == [r"llm\..*layers\.\d+\.self_attn\.(q_proj|k_proj|v_proj)"]
    assert (run.per_device_train_batch_size, run.learning_rate, run.zero_stage) == (8, 5e-5, 0)


LAYERS = {
    "lorachk_DOT_toml": """[run]
launch = "go/t.sh"
max_length = 3000
[run.args]
learning_rate = 3e-4
[environment]
DeepSpeed = "0.18.9"
""",
    "go__t_DOT_sh": "torchrun --nproc_per_node 4 finetune.py --llm_type qwen --output_dir out --model_max_length 1000 "
    "--learning_rate 1e-6 --weight_decay 0.1 --deepspeed ds.json --data_path d.json --model_name_or_path m\n",
    "go__ds_DOT_json": '{"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"}}',
    "go__m__config_DOT_json": '{"model_type": "minicpmv", "version": 2.6, "hidden_size": 64, "dtype": "bfloat16"}',
}


def test_order_of_precedence(tmp_path: Path) -> None:
    """Whoever overrides a value must get the override, and be shown where it stands."""
    write(tmp_path, **LAYERS)
    toml = str(tmp_path / "lorachk.toml")
    run = resolved(toml=toml, max_length=500).run
    assert (run.max_length, run.at("max_length")) == (500, Location("--max-length"))
    run = resolved(toml=toml).run
    assert (run.max_length, run.learning_rate, run.world_size) == (3000, 3e-4, 4)
    assert run.at("max_length") == Location(toml, 3, 14, "/run/max_length")
    assert run.training_args["learning_rate"] == 3e-4
    assert run.training_args["weight_decay"] == 0.1
    assert run.environment == {"deepspeed": "0.18.9"}
    run = resolved(launch=str(tmp_path / "go/t.sh")).run
    assert (run.max_length, run.learning_rate) == (1000, 1e-6)


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    """The script is started in its own folder; lorachk may be started anywhere."""
    write(tmp_path, **LAYERS)
    run = resolved(toml=str(tmp_path / "lorachk.toml")).run
    go = tmp_path / "go"
    assert (run.deepspeed, run.data, run.model) == (str(go / "ds.json"), [str(go / "d.json")], str(go / "m"))
    assert (run.model_found, run.family, run.checkpoint_dtype) == (True, "minicpmv26", "bfloat16")
    assert run.reduce_bucket_size == 64 * 64  # auto, as transformers fills it


def test_project_file_is_found_unless_isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lorachk check` without options must use what stands in the folder."""
    write(tmp_path, lorachk_DOT_toml="[run]\nnum_gpus = 3\n")
    monkeypatch.chdir(tmp_path)
    assert resolve(ResolveOptions()).run.world_size == 3
    assert resolve(ResolveOptions(isolated=True)).run.world_size is None


def test_a_deepspeed_file_alone_says_nothing_about_the_rest(tmp_path: Path) -> None:
    """Guessing the rest would let rules pass that nobody could judge."""
    write(
        tmp_path, ds_DOT_json='{"zero_optimization": {"stage": 3}, "train_batch_size": 16, "fp16": {"enabled": "auto"}}'
    )
    run = resolved(deepspeed=str(tmp_path / "ds.json")).run
    assert (run.zero_stage, run.offload_param, run.ds_train_batch_size, run.ds_fp16) == (3, "none", 16, "auto")
    unknown = (
        "trainer use_lora fp16 gradient_checkpointing use_reentrant frozen_parameters world_size lora_r learning_rate"
    )
    assert [name for name in unknown.split() if getattr(run, name) is not None] == []


@pytest.mark.parametrize(("transformers", "reentrant"), [("4.57.1", True), ("5.0.0", False), ("5.23.0", False)])
def test_default_of_the_version_the_run_will_use(tmp_path: Path, transformers: str, reentrant: bool) -> None:
    """The default of use_reentrant turned with transformers 5: the installed version here may not be the cluster's."""
    write(
        tmp_path,
        lorachk_DOT_toml=f'[run.args]\ngradient_checkpointing = true\n[environment]\ntransformers = "{transformers}"\n',
    )
    assert resolved(toml=str(tmp_path / "lorachk.toml")).run.use_reentrant is reentrant


def test_an_unresolved_value_is_not_replaced_by_a_default(tmp_path: Path) -> None:
    """`--learning_rate $LR` is not 5e-5, and not the DeepSpeed file's."""
    write(
        tmp_path,
        t_DOT_sh="torchrun --nproc_per_node $N finetune.py --llm_type qwen --output_dir o \\\n"
        "  --learning_rate $LR --deepspeed $DS --use_lora true\n",
    )
    found = resolved(launch=str(tmp_path / "t.sh"))
    run = found.run
    assert (run.learning_rate, run.deepspeed, run.zero_stage, run.world_size) == (None, None, None, None)
    assert run.at("learning_rate") == Location(str(tmp_path / "t.sh"), 2, 19, "/learning_rate")
    assert "learning_rate" not in run.training_args
    row = next(setting_row(s) for s in found.settings if s.pointer == "/learning_rate")
    assert (row["type"], row["value"]) == ("unknown", "$LR (line 2)")


def test_peft_file_or_its_folder(tmp_path: Path) -> None:
    """People pass what they have: the checkpoint's folder."""
    config = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
    write(
        tmp_path, adapter_config_DOT_json=json.dumps({**config, "base_model_name_or_path": "Qwen/Qwen2-VL-7B-Instruct"})
    )
    for path in (tmp_path, tmp_path / "adapter_config.json"):
        run = resolved(peft=str(path)).run
        assert (run.use_lora, run.lora_r, run.lora_alpha, run.target_modules) == (True, 16, 32.0, ["q_proj", "v_proj"])
        assert (run.target_regex, run.model, run.family) == (False, "Qwen/Qwen2-VL-7B-Instruct", "qwen2_vl")
        assert run.lora_config["target_modules"] == ["q_proj", "v_proj"]
        assert "peft_type" not in run.lora_config


def test_hub_name_is_looked_up_in_the_local_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was downloaded is known without the network."""
    config = '{"model_type": "qwen2", "text_config": {"hidden_size": 8}}'
    folder = "models--org--tiny"  # write() takes "__" for a slash and leaves dashes alone
    write(tmp_path, **{f"{folder}__refs__main": "abc", f"{folder}__snapshots__abc__config_DOT_json": config})
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    run = resolved(model="org/tiny").run
    assert (run.model_found, run.model_type, run.hidden_size) == (True, "qwen2", 8)
    assert resolved(model="org/other").run.model_found is False


def test_freeze_flags_have_the_opposite_polarity(tmp_path: Path) -> None:
    """freeze_vision_tower false means that the tower is trained."""
    write(
        tmp_path, t_DOT_sh="deepspeed t.py --output_dir o --per_device_train_batch_size 1 --freeze_vision_tower False\n"
    )
    assert resolved(launch=str(tmp_path / "t.sh")).run.tune_vision is True


def test_rows_have_every_column_and_place(tmp_path: Path) -> None:
    """A rule that asks for a column must get it, with its place."""
    row = run_row(resolved(launch=str(OFFICIAL / "finetune_lora.sh")).run)
    assert row["zero_stage"] == 2
    assert row["zero_stage_at"]["line"] == 31
    from lorachk.facts.tables import tables

    assert row.keys() <= {column.name for column in tables()["run"].columns}


def test_a_dataset_with_its_trainer_says_nothing_about_the_adapter() -> None:
    """`lorachk data --trainer minicpmv` must not judge flags nobody gave."""
    run = resolved(data=["train.json"], trainer="minicpmv").run
    assert (run.max_length, run.max_slice_nums) == (2048, 9)
    assert (run.use_lora, run.tune_llm, run.zero_stage, run.learning_rate, run.frozen_parameters) == (None,) * 5


def test_lora_config_builds_the_real_one() -> None:
    """The rehearsal hands these arguments to PEFT."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(**resolved(launch=str(OFFICIAL / "finetune_lora.sh")).run.lora_config)
    assert (config.r, config.lora_alpha, config.modules_to_save) == (64, 64, ["embed_tokens", "resampler", "vpm"])
    assert isinstance(config.target_modules, str)


def test_nothing_heavy_is_imported() -> None:
    """Linting a configuration must take a fraction of a second, without torch."""
    code = (
        "import sys; from lorachk.launchers.resolve import *; from lorachk.facts import settings, packages, machine;"
        f"resolve(ResolveOptions(isolated=True, launch={str(OFFICIAL / 'finetune_lora.sh')!r}));"
        "print(sorted({'torch', 'transformers', 'deepspeed', 'duckdb', 'PIL', 'rich', 'pynvml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_default_initialisation_is_what_peft_takes(tmp_path: Path) -> None:
    """The rehearsal and the memory estimate build a LoraConfig from it; the text "true" is no initialisation."""
    peft = pytest.importorskip("peft")
    script = "torchrun --nproc_per_node 1 finetune.py --llm_type qwen --use_lora true --tune_llm false --output_dir o\n"
    (tmp_path / "x.sh").write_text(script)
    run = resolve(ResolveOptions(isolated=True, launch=str(tmp_path / "x.sh"))).run
    assert run.init_lora_weights == "true"
    assert run.lora_config["init_lora_weights"] is True
    assert peft.LoraConfig(**run.lora_config).init_lora_weights is True
