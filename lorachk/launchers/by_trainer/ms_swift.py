"""ms-swift: `swift sft`, `swift pt`, `swift rlhf`, and their YAML or JSON.

Read in modelscope/ms-swift@3602360 (arguments/, trainers/arguments.py, trainers/mixin.py, pipelines/train/tuner.py,
cli/main.py) and at its tags v2.6.1, v3.0.0, v3.5.0, v3.8.1, v3.12.0 and v4.0.0. ms-swift 2 has other names and other
defaults; which of the two is meant shows in the names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lorachk.launchers.by_trainer import ms_swift_defaults as defaults
from lorachk.launchers.by_trainer.ms_swift_deepspeed import NAMES, preset
from lorachk.launchers.text import exists, inside, is_file
from lorachk.launchers.values import Found, Unknown, as_int, as_list, implied, literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lorachk.launchers.command import Launch
    from lorachk.launchers.layers import Layers

_TUNER = ("tuner_type", "train_type", "sft_type")
_DATA = {
    "data": ("dataset", "custom_train_dataset_path"),
    "eval_data": ("val_dataset", "custom_val_dataset_path"),
}
_ENDINGS = (".json", ".jsonl", ".csv", ".txt", ".parquet")
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}  # ms-swift 2
_FREEZE = {"tune_llm": "freeze_llm", "tune_vision": "freeze_vit", "tune_projector": "freeze_aligner"}
_NOT_BY_NAME = {"EMBEDDING", "LN", "all-embedding", "all-norm", "all-router"}
# Run field -> names; where ms-swift has a name of its own
_OWN = {
    "model": ("model", "model_id_or_path"),
    "lora_dropout": ("lora_dropout", "lora_dropout_p"),
    "lora_bias": ("lora_bias", "lora_bias_trainable"),
    "per_device_train_batch_size": ("per_device_train_batch_size", "batch_size"),
    "bnb_4bit_compute_dtype": ("bnb_4bit_compute_dtype", "bnb_4bit_comp_dtype"),
    "num_train_epochs": ("max_epochs", "num_train_epochs"),
    "save_only_model": ("save_only_model", "only_save_model"),
    "device_map": ("device_map", "device_map_config", "device_map_config_path"),
}
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def fields(given: dict[str, Found], folder: str, environment: dict[str, Found]) -> dict[str, Found]:
    """Run fields out of ms-swift's arguments; paths are relative to `folder`."""
    found: dict[str, Found] = {}
    for field, names in _OWN.items():
        if (entry := _first(given, names)) is not None:
            found[field] = entry
    if (model := found.get("model")) and isinstance(model.value, str) and exists(local := inside(folder, model.value)):
        found["model"] = model._replace(value=local)
    for field, names in _DATA.items():
        if (entry := _files(given, names, folder)) is not None:
            found[field] = entry
    found |= _adapter(given, folder) | _quantized(given) | _precision(given)
    for field, name in _FREEZE.items():
        if (flag := given.get(name)) is not None and not isinstance(flag.value, Unknown):
            found[field] = flag._replace(value=not literal(str(flag.value)))
    if (root := _environment(given, environment).get("ROOT_IMAGE_DIR")) is not None:
        known = isinstance(root.value, str)
        found["image_root"] = root._replace(value=inside(folder, root.value)) if known else root
    if (tokens := _first(given, ("new_special_tokens",))) is not None and tokens.value not in ("", []):
        found["resize_vocab"] = tokens if isinstance(tokens.value, Unknown) else tokens._replace(value=True)
    if (limit := given.get("max_length")) is not None and (as_int(limit.value) or 0) < 0:
        found["max_length"] = limit._replace(value=Unknown("the model's own limit"))
    if (deepspeed := _first(given, ("deepspeed", "deepspeed_config_path"))) is not None:
        found["deepspeed"] = _deepspeed(deepspeed, folder, given.get("zero_hpz_partition_size"))
    # get_training_args() is followed by training_args.remove_unused_columns = False
    found["remove_unused_columns"] = implied(False, "ms-swift sets it")
    return found


def complete(layers: Layers, given: dict[str, Found], environment: dict[str, str], launched: bool) -> None:
    """What ms-swift does where nothing is said."""
    if launched:
        defaults.fill(layers, given, environment)


def processes(launch: Launch) -> dict[str, Found]:
    """Ranks: torch.distributed.run is used when NPROC_PER_NODE or NNODES is set, else there is one process."""
    environment = _environment(launch.flags, launch.environment)
    if launch.program is None and not environment:  # a YAML alone: nobody knows with what it will be started
        return {}
    found: dict[str, Found] = {}
    started = "NPROC_PER_NODE" in environment or "NNODES" in environment
    for field, name in (("num_gpus", "NPROC_PER_NODE"), ("num_nodes", "NNODES")):
        entry = environment.get(name)
        if entry is None:
            found[field] = implied(1, "default of torch.distributed.run" if started else "swift starts one process")
        elif isinstance(entry.value, Unknown):
            found[field] = entry
        else:
            number = as_int(entry.value)
            known = number is not None and number > 0
            found[field] = entry._replace(value=number if known else Unknown(f"{name} is {entry.value!r}"))
    visible, ranks = environment.get(_VISIBLE), found["num_gpus"].value
    if visible is not None and isinstance(ranks, int) and not isinstance(visible.value, Unknown):
        devices = len([part for part in str(visible.value).split(",") if part.strip()])
        if devices // ranks > 1:  # utils/env.py is_mp(): the layers are spread over the GPUs of a rank
            found["device_map"] = Found("auto", visible.at)
    return found


def _first(given: dict[str, Found], names: Iterable[str]) -> Found | None:
    return next((given[name] for name in names if name in given and given[name].value is not None), None)


def _environment(given: dict[str, Found], environment: dict[str, Found]) -> dict[str, Found]:
    """Variables that ms-swift sees: those of the command, and those under ENV in its YAML."""
    entry = given.get("ENV")
    stated = entry.value if entry is not None and isinstance(entry.value, dict) else {}
    return {**{str(k): Found(v, entry.at) for k, v in stated.items() if entry is not None}, **environment}


def _files(given: dict[str, Found], names: Iterable[str], folder: str) -> Found | None:
    """The datasets that are files here: `data.jsonl#500` takes 500 records of one; others are names on a hub."""
    entries = [given[name] for name in names if name in given]
    unknown = next((entry for entry in entries if isinstance(entry.value, Unknown)), None)
    if not entries or unknown is not None:
        return unknown
    files = []
    for entry in entries:
        for name in entry.value if isinstance(entry.value, list) else [entry.value]:
            text = str(name)
            bare = text if is_file(inside(folder, text)) else text.rpartition("::")[2].rsplit("#", 1)[0]
            if is_file(inside(folder, bare)) or bare.endswith(_ENDINGS):
                files.append(inside(folder, bare))
    return Found(files, entries[0].at) if files else None


def _adapter(given: dict[str, Found], folder: str) -> dict[str, Found]:
    found: dict[str, Found] = {}
    if (tuner := _first(given, _TUNER)) is not None and not isinstance(tuner.value, Unknown):
        kind = str(tuner.value).lower()
        found["use_lora"] = tuner._replace(value=kind in ("lora", "longlora", "lora_llm"))
        if not found["use_lora"].value and kind != "full":
            found["peft_type"] = tuner._replace(value=kind.upper())
            found["frozen_parameters"] = tuner._replace(value=True)
        if kind == "lora_llm":  # tuner_plugin/lora_llm.py: LoRA for the language model, the rest in full
            why = "tuner_type lora_llm"
            found |= dict.fromkeys(("tune_llm", "tune_vision", "tune_projector"), tuner._replace(value=True))
            found |= {"lora_dropout": implied(0.0, why), "target_modules": implied(["all-linear"], why)}
            return found
    elif tuner is not None:
        found["use_lora"] = tuner
    if (regex := _first(given, ("target_regex", "lora_target_regex"))) is not None:
        found["target_modules"] = regex
    elif (targets := _first(given, ("target_modules", "lora_target_modules"))) is not None:
        found["target_modules"] = _targets(targets)
    if (saved := _first(given, ("modules_to_save", "lora_modules_to_save"))) is not None:
        names = [] if isinstance(saved.value, Unknown) else as_list(saved.value) or []
        by_model = sorted(_NOT_BY_NAME & {*names})
        found["modules_to_save"] = (
            saved._replace(value=Unknown(f"{by_model[0]} stands for names that depend on the model"))
            if by_model
            else saved
        )
    start = _first(given, ("init_weights", "init_lora_weights"))
    if start is not None and str(start.value).lower() != "true":  # which is PEFT's default
        found["init_lora_weights"] = start
    if (parameters := given.get("target_parameters")) is not None:
        found["target_parameters"] = parameters._replace(value=True)
    if (adapters := given.get("adapters")) is not None and not isinstance(adapters.value, Unknown):
        names = adapters.value if isinstance(adapters.value, list) else [adapters.value]
        if names:
            local = inside(folder, str(names[0]))
            found["adapter"] = adapters._replace(value=local if exists(local) else str(names[0]))
    return found


def _targets(given: Found) -> Found:
    """ms-swift passes a list on: what looks like a pattern is compared by name ends. ALL and DEFAULT are of 2."""
    if isinstance(given.value, Unknown):
        return given
    names = [str(name) for name in (given.value if isinstance(given.value, list) else [given.value])]
    if "ALL" in names:
        return given._replace(value=["all-linear"])
    if {"DEFAULT", "AUTO"} & {*names}:
        return given._replace(value=Unknown("ms-swift 2 has default targets for every model"))
    return given._replace(value=names)


def _quantized(given: dict[str, Found]) -> dict[str, Found]:
    """bitsandbytes, when the method is said; ms-swift 2 took it for granted with quantization_bit."""
    method, bits = given.get("quant_method"), _first(given, ("quant_bits", "quantization_bit"))
    if bits is None:
        return {}
    if isinstance(bits.value, Unknown) or (method is not None and isinstance(method.value, Unknown)):
        return dict.fromkeys(("load_in_4bit", "load_in_8bit"), bits)
    named = str(method.value) if method is not None else "bnb" if "quantization_bit" in given else ""
    width = as_int(bits.value) if named == "bnb" else None
    return {f"load_in_{n}bit": bits._replace(value=width == n) for n in (4, 8)}


def _precision(given: dict[str, Found]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    stored = _first(given, ("torch_dtype", "dtype"))
    if stored is not None and str(stored.value) != "AUTO":
        found["load_dtype"] = stored._replace(value=_DTYPES.get(str(stored.value), stored.value))
    elif stored is not None:
        found["load_dtype"] = stored._replace(value=None)
    if (attention := given.get("attn_impl")) is not None:
        flash = attention.value == "flash_attn"
        found["attn_implementation"] = attention._replace(value="flash_attention_2") if flash else attention
    elif (switch := given.get("use_flash_attn")) is not None and switch.value is True:
        found["attn_implementation"] = switch._replace(value="flash_attention_2")
    return found


def _deepspeed(given: Found, folder: str, zero_hpz: Found | None) -> Found:
    """A name inside ms-swift, a path, or JSON in place."""
    value: Any = given.value
    if isinstance(value, str):
        held = preset(value) if not exists(inside(folder, value)) else None
        if held is not None:
            if zero_hpz is not None and (size := as_int(zero_hpz.value)) is not None:
                held["zero_optimization"]["zero_hpz_partition_size"] = size
            return Found(held, given.at, f"{value} of ms-swift")
        if not value.endswith(".json") and "/" not in value and not exists(inside(folder, value)):
            reason = f"{value!r} is neither a file nor a configuration of ms-swift ({', '.join(NAMES[:6])})"
            return given._replace(value=Unknown(reason))
        return given._replace(value=inside(folder, value))
    if isinstance(value, (dict, Unknown)) or not value:
        return given
    return given._replace(value=Unknown(f"{value!r} is neither a path nor a DeepSpeed configuration"))
