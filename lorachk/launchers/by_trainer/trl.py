"""TRL: `trl sft --config x.yaml`, and its scripts behind `accelerate launch`.

Read in huggingface/trl@f2cd577 (after 1.9.0) and at every minor release from 0.9.6: trainer/*_config.py,
trainer/model_config.py, scripts/, cli/, and how the trainers prepare checkpointing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorachk.launchers.text import exists, inside, is_file
from lorachk.launchers.trainers import HF_DEFAULTS
from lorachk.launchers.values import Found, Unknown, as_bool, implied
from lorachk.launchers.versions import at_least, default_optim, default_use_reentrant, used

if TYPE_CHECKING:
    from lorachk.launchers.command import Launch
    from lorachk.launchers.layers import Layers

# What `trl` hands on to `accelerate launch`: what its own parser does not know.
_HANDED_ON = re.compile(
    r"(accelerate_config|config_file|num_processes|num_machines|machine_rank|main_process_(ip|port)|mixed_precision"
    r"|multi_gpu|cpu|use_(deepspeed|fsdp|cpu)|zero_stage|zero3_\w+|deepspeed_(config_file|multinode_launcher|hostfile)"
    r"|offload_(optimizer|param)_(device|nvme_path)|gpu_ids|same_network|rdzv_\w+|fsdp_(?!config)\w+|dynamo_\w+)$"
)
# trl/accelerate_configs, the same files in every release from 0.18 to 1.9
_EIGHT: dict[str, Any] = {"num_machines": 1, "num_processes": 8, "mixed_precision": "bf16"}
_ZERO: dict[str, Any] = {
    **_EIGHT,
    "use_deepspeed": True,
    "offload_optimizer_device": "none",
    "offload_param_device": "none",
}
_PRESETS: dict[str, dict[str, Any]] = {
    "single_gpu": {**_EIGHT, "num_processes": 1, "distributed_type": "NO"},
    "multi_gpu": {**_EIGHT, "multi_gpu": True},
    "zero1": {
        **_EIGHT,
        "use_deepspeed": True,
        "gradient_accumulation_steps": 1,
        "zero3_init_flag": False,
        "zero_stage": 1,
    },
    "zero2": {**_ZERO, "zero3_init_flag": False, "zero_stage": 2},
    "zero3": {**_ZERO, "zero3_init_flag": True, "zero3_save_16bit_model": True, "zero_stage": 3},
    "fsdp1": {**_EIGHT, "use_fsdp": True, "fsdp_version": 1},
    "fsdp2": {**_EIGHT, "use_fsdp": True, "fsdp_version": 2},
}
# Configuration class by the script's name, and from which release on it has a learning rate of its own.
_KINDS = {"sft": "sft", "dpo": "dpo", "grpo": "grpo", "gspo": "grpo", "kto": "kto", "reward": "reward", "rloo": "rloo"}
_LEARNING_RATE = {
    "sft": ("0.12", 2e-5),
    "dpo": ("0.12", 1e-6),
    "kto": ("0.12", 1e-6),
    "grpo": ("0.14", 1e-6),
    "rloo": ("0.22", 1e-6),
    "reward": ("0.24", 1e-4),
}
_GENERATING = {"grpo", "rloo"}  # no record is cut to a length: prompts are, and completions end
_OWN_DEFAULTS = {"learning_rate", "gradient_checkpointing", "bf16"}


def hand_on(launch: Launch) -> None:
    """Move the flags of `trl` that `accelerate launch` gets, and the variables under `env`, to their places."""
    for name in [name for name in launch.flags if _HANDED_ON.match(name)]:
        launch.launcher_flags.setdefault(name, launch.flags.pop(name))
    named = launch.launcher_flags.pop("accelerate_config", None)
    if named is not None:
        preset = _PRESETS.get(str(named.value)) if not is_file(str(named.value)) else None
        if preset is not None:
            for name, value in preset.items():
                launch.launcher_flags.setdefault(name, named._replace(value=value))
        else:
            launch.launcher_flags["config_file"] = named
    stated = launch.flags.get("env")
    if stated is not None and isinstance(stated.value, dict):
        del launch.flags["env"]
        for name, value in stated.value.items():
            launch.environment[str(name)] = Found(str(value), stated.at)


def fields(given: dict[str, Found], folder: str, environment: dict[str, Found]) -> dict[str, Found]:  # noqa: ARG001
    """Run fields out of TRL's arguments; paths are relative to `folder`."""
    found: dict[str, Found] = {}
    targets = given.get("lora_target_modules")
    if targets is not None and isinstance(targets.value, list) and len(targets.value) == 1:
        found["target_modules"] = targets._replace(value=targets.value[0])  # ModelConfig: PEFT then sees a regex
    parameters = given.get("lora_target_parameters")
    if parameters is not None:
        unknown = isinstance(parameters.value, Unknown)
        found["target_parameters"] = parameters if unknown else parameters._replace(value=bool(parameters.value))
    stored = given.get("dtype") or given.get("torch_dtype")
    four = given.get("load_in_4bit")
    if stored is not None and four is not None and as_bool(four.value):  # get_quantization_config
        found["bnb_4bit_compute_dtype"] = stored
    mixture, single = given.get("datasets"), given.get("dataset_name")
    if mixture is not None and mixture.value:
        found["data"] = _mixture(mixture, folder)
    elif single is not None and single.value is not None:
        found["data"] = _dataset(single, folder)
    return found


def complete(layers: Layers, given: dict[str, Found], environment: dict[str, str], launched: bool) -> None:
    """What TRL does where nothing is said."""
    kind = _kind(layers.get("program"))
    if kind in _GENERATING or "num_generations" in given:
        _drop(layers, "max_length", "no record is cut to a length")
    if kind != "sft":
        _unjudged(layers, given, kind)
    if not launched:
        return
    version, transformers = used("trl", environment), used("transformers", environment)
    why = f"default of trl {version}" if version else "default of trl"
    below = f"default of transformers {transformers}" if transformers else "default of transformers"
    layers.derive("use_lora", False, why=why)
    for name, value in HF_DEFAULTS.items():
        if name not in _OWN_DEFAULTS:
            layers.derive(name, value, why=below)
    layers.derive("optim", default_optim(transformers, used("torch", environment)), why=below)
    since, rate = _LEARNING_RATE.get(kind or "", ("", None))
    if rate is not None and at_least(version, since):
        layers.derive("learning_rate", rate, why=why)
    elif kind in ("sft", "dpo", "reward") and at_least(version, since) is False:
        layers.derive("learning_rate", HF_DEFAULTS["learning_rate"], why=below)
    layers.derive("gradient_checkpointing", at_least(version, "0.22"), why=why)
    own = at_least(version, "0.19")
    if own is not None:
        layers.derive("bf16", own and not layers.get("fp16"), why=why)
    if at_least(version, "0.27") and "torch_dtype" not in given:
        layers.derive("load_dtype", "float32", why=why)
        if layers.get("load_in_4bit"):  # get_quantization_config passes the same
            layers.derive("bnb_4bit_compute_dtype", layers.get("load_dtype"), why=why)
    if layers.get("use_lora") is False:
        layers.derive("frozen_parameters", False, why="TRL trains all parameters without PEFT")
    if kind == "sft":
        layers.derive("packing", False, why=why)
    if kind in _GENERATING:
        layers.derive("remove_unused_columns", False, why=why)
    _length(layers, kind, version, why)
    _checkpointing(layers, given, version, transformers)


def processes(launch: Launch) -> dict[str, Found]:
    """The script that `trl sft` starts; how many processes, accelerate says."""
    if launch.program is None or launch.program.endswith(".py"):
        return {}
    return {"program": implied(f"trl/scripts/{launch.program.replace('-', '_')}.py", f"trl {launch.program} starts it")}


def _kind(program: str | None) -> str | None:
    """sft, dpo, grpo, kto, reward or rloo, by the name of the script."""
    return _KINDS.get(re.split(r"[_.-]", Path(program or "").name)[0])


def _length(layers: Layers, kind: str | None, version: str | None, why: str) -> None:
    """1,024 tokens, but the SFT scripts for images set no limit (max_length = None)."""
    program = Path(layers.get("program") or "").stem
    if kind == "sft" and "vlm" in program:  # whatever the flag says
        _drop(layers, "max_length", f"{program}.py sets it to None")
    elif kind in ("sft", "dpo", "kto", "reward") and at_least(version, "0.15"):
        layers.derive("max_length", 1024, why=why)


def _unjudged(layers: Layers, given: dict[str, Found], kind: str | None) -> None:
    """What lorachk says of TRL's records is said of those for SFT."""
    named = {given[name].at for name in ("dataset_name", "datasets") if name in given}
    if layers.get("data") and layers.origins.get("data") in named:
        what = f"for {kind.upper()}" if kind else "of a trainer that is not named"
        _drop(layers, "data", reason := f"records {what} are not judged, only those of trl sft")
        layers.because["data"] = reason


def _drop(layers: Layers, name: str, reason: str) -> None:
    for answers in (layers.values, layers.origins, layers.because):
        answers.pop(name, None)
    layers.unknown[name] = Unknown(reason)


def _checkpointing(layers: Layers, given: dict[str, Found], version: str | None, transformers: str | None) -> None:
    if layers.get("use_lora"):
        layers.derive("input_require_grads", layers.get("gradient_checkpointing"), why="TRL does it for PEFT models")
    newer = at_least(version, "0.28")
    program = Path(layers.get("program") or "").stem
    # SFT has the guard since 0.28, DPO, GRPO, KTO, RLOO and reward since 1.9 (trl#4951, #6356; read at every tag)
    guarded = newer if program.startswith("sft") or not program else at_least(version, "1.9")
    if guarded and layers.get("use_lora") and layers.get("gradient_checkpointing"):
        if layers.get("zero_stage") == 3:  # trl#2514
            layers.values["use_reentrant"] = True
            layers.because["use_reentrant"] = "TRL sets it with PEFT and ZeRO-3"
            return
        if "zero_stage" in layers.unknown:  # with stage 3 it would be true
            return
    if program.startswith("sft_vlm") and at_least(version, "0.27") is False:
        layers.values["use_reentrant"] = False
        layers.because["use_reentrant"] = f"{program}.py sets it"
        return
    stated = given.get("gradient_checkpointing_kwargs")
    if stated is not None:
        if isinstance(stated.value, dict) and "use_reentrant" in stated.value:
            layers.derive("use_reentrant", as_bool(stated.value["use_reentrant"]), stated.at)
            return
        if not isinstance(stated.value, dict):
            return
    if newer:
        layers.derive("use_reentrant", False, why=f"default of trl {version}")
    elif newer is False:
        default = default_use_reentrant(transformers)
        layers.derive("use_reentrant", default, why=f"default of transformers {transformers}")


def _dataset(named: Found, folder: str) -> Found:
    if isinstance(named.value, Unknown):
        return named
    local = inside(folder, str(named.value))
    return named._replace(value=[local]) if exists(local) else _not_here(named, [str(named.value)])


def _mixture(given: Found, folder: str) -> Found:
    """`datasets`: files here by path or data_files; the rest are names on the hub."""
    if not isinstance(given.value, list):
        unknown = isinstance(given.value, Unknown)
        return given if unknown else given._replace(value=Unknown("datasets is a list of path, name, split"))
    found: list[str] = []
    here = False
    for entry in given.value:
        if not isinstance(entry, dict) or "path" not in entry:
            continue
        files = entry.get("data_files")
        files = list(files.values()) if isinstance(files, dict) else [files] if isinstance(files, str) else files
        names = files or [entry["path"]]
        for name in names:
            local = inside(folder, str(name))
            here |= exists(local)
            found.append(local if exists(local) or files else str(name))
    return given._replace(value=found) if here else _not_here(given, found)


def _not_here(named: Found, names: list[str]) -> Found:
    reason = f"{', '.join(names)}: on the hub; it is not fetched"
    return Found(Unknown(reason), named.at, reason)
