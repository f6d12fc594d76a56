"""LLaMA-Factory: `llamafactory-cli train x.yaml`, its flags, and `src/train.py` behind another launcher.

Read in hiyouga/LLaMA-Factory@ff6d4d1 (0.9.6.dev0: hparams/, model/, launcher.py) and at its tags v0.8.3 to v0.9.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lorachk.families import family_of
from lorachk.launchers.by_trainer.llamafactory_data import MEDIA, datasets, names
from lorachk.launchers.text import exists, inside, is_folder
from lorachk.launchers.values import Found, Unknown, as_bool, as_int, implied
from lorachk.launchers.versions import at_least, used

if TYPE_CHECKING:
    from lorachk.launchers.command import Launch
    from lorachk.launchers.layers import Layers

_ATTENTION = {"fa2": "flash_attention_2", "fa3": "flash_attention_3", "sdpa": "sdpa", "disabled": "eager"}
_BITSANDBYTES = {"bnb", "bitsandbytes"}  # quantization_method; the second word until 0.9.2
_READY_MADE = {"gptq", "awq", "aqlm", "fp8", "mxfp4", "quanto"}  # quantized checkpoints: quantization_bit does nothing
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES")
_KEYS_OF_LORA = ("lora_r", "lora_alpha", "lora_dropout", "target_modules", "modules_to_save", "use_rslora", "use_dora")
# models whose embeddings have other names than embed_tokens and lm_head
_OTHER_EMBEDDINGS = {"chatglm", "internlm2", "qwen", "gpt2", "bloom", "falcon", "gpt_neox", "phi", "minicpmv"}


def fields(given: dict[str, Found], folder: str, environment: dict[str, Found]) -> dict[str, Found]:
    """Run fields out of LLaMA-Factory's arguments; paths are relative to `folder`."""
    found = _adapter(given, folder) | _quantized(given) | _checkpointing(given)
    if (attention := given.get("flash_attn")) is not None and isinstance(attention.value, str):
        found["attn_implementation"] = attention._replace(value=_ATTENTION.get(attention.value))
    for field, name in (("data", "dataset"), ("eval_data", "eval_dataset")):
        entry = given.get(name)
        if entry is not None and entry.value is not None:
            found[field] = datasets(entry, given.get(MEDIA), folder)
    if given.get("media_dir") is None and "data" in found:  # data/converter.py joins paths of media to dataset_dir
        named = given.get(MEDIA)
        root = inside(folder, str(named.value) if named else "data")
        if is_folder(root):
            found["image_root"] = Found(root, named.at) if named else implied(root, "default of LLaMA-Factory")
    if (resized := given.get("resize_vocab")) is not None:
        found["resize_vocab"] = resized
    packed = given.get("neat_packing")
    if packed is not None and not isinstance(packed.value, Unknown) and as_bool(packed.value):
        found["packing"] = packed
    if (version := environment.get("FSDP_VERSION")) is not None and as_int(version.value) == 2:
        found["use_reentrant"] = version._replace(value=False)  # model/checkpointing.py, since 0.9.4
    found["remove_unused_columns"] = implied(False, "LLaMA-Factory sets it")
    found["use_cache"] = implied(False, "LLaMA-Factory sets it")
    found["load_dtype"] = implied("auto", "LLaMA-Factory loads what the checkpoint holds")
    return found


def complete(layers: Layers, given: dict[str, Found], environment: dict[str, str], launched: bool) -> None:
    """What LLaMA-Factory does where nothing is said."""
    if not launched:
        return
    version = used("llamafactory", environment)
    why = f"default of LLaMA-Factory {version}" if version else "default of LLaMA-Factory"
    kind = _word(given.get("finetuning_type"), "lora")
    layers.derive("use_lora", kind == "lora" if kind else None, why=why)
    if at_least(version, "0.9.1") is False:
        layers.derive("max_length", 1024, why=why)
    _parts(layers, given, kind)
    if kind == "lora":
        _lora(layers, why)
    elif kind == "oft":
        layers.derive("peft_type", "OFT", _at(given, "finetuning_type"))
    if kind in ("lora", "oft", "freeze"):
        layers.derive("frozen_parameters", True, _at(given, "finetuning_type"))
    if (stage := _word(given.get("stage"), "sft")) is not None:
        layers.derive("packing", stage == "pt", _at(given, "stage") if stage == "pt" else None, why)
    layers.derive("resize_vocab", False, why=why)
    if layers.get("model_type") == "gemma3n" and kind is not None:
        layers.values["gradient_checkpointing"] = False  # model/patcher.py, whatever the file says
    layers.derive("gradient_checkpointing", True, why=why)
    layers.derive("use_reentrant", True, why=why)
    if kind in ("lora", "oft", "freeze"):  # every checkpointed block with something to train gets an input with grad
        checkpointed = layers.get("gradient_checkpointing")
        layers.derive("input_require_grads", checkpointed, why="LLaMA-Factory does it block by block")
    if layers.get("quant_method") in _READY_MADE:
        for name in ("load_in_4bit", "load_in_8bit"):
            layers.values[name] = False
    _computing(layers, given)


def processes(launch: Launch) -> dict[str, Found]:
    """Ranks: torchrun starts them when FORCE_TORCHRUN is set or more than one GPU is seen (launcher.py)."""
    environment = launch.environment
    if _on(environment, "USE_RAY") and not _on(environment, "FORCE_TORCHRUN"):
        return {}  # its workers are placed by the cluster
    found: dict[str, Found] = {}
    visible = next((environment[name] for name in _VISIBLE if name in environment), None)
    devices: Found | None = None
    if visible is not None and not isinstance(visible.value, Unknown):
        count = len([part for part in str(visible.value).split(",") if part.strip()])
        devices = visible._replace(value=count) if count else None
    forced = any(_on(environment, name) for name in ("FORCE_TORCHRUN", "USE_MCA", "USE_MEGATRON_BRIDGE"))
    if not forced and devices is not None and devices.value == 1:
        return {"num_gpus": devices, "num_nodes": implied(1, "one GPU is visible: one process")}
    if (ranks := environment.get("NPROC_PER_NODE")) is not None:
        found["num_gpus"] = _number(ranks, "NPROC_PER_NODE")
    elif devices is not None:
        found["num_gpus"] = devices
    if {"RDZV_ID", "MIN_NNODES", "MAX_NNODES"} <= environment.keys():
        found["num_nodes"] = environment["MAX_NNODES"]._replace(value=Unknown("an elastic job grows and shrinks"))
    elif (machines := environment.get("NNODES")) is not None:
        found["num_nodes"] = _number(machines, "NNODES")
    elif launch.program is not None:
        found["num_nodes"] = implied(1, "default of llamafactory-cli")
    return found


def _adapter(given: dict[str, Found], folder: str) -> dict[str, Found]:
    found: dict[str, Found] = {}
    if (kind := given.get("finetuning_type")) is not None and kind.value is not None:
        known = not isinstance(kind.value, Unknown)
        found["use_lora"] = kind._replace(value=kind.value == "lora") if known else kind
    for field, name in (("target_modules", "lora_target"), ("modules_to_save", "additional_target")):
        entry = given.get(name)
        if entry is not None and entry.value is not None:
            unknown = isinstance(entry.value, Unknown)
            found[field] = entry if unknown else entry._replace(value=names(entry.value))
    if (pissa := given.get("pissa_init")) is not None and as_bool(pissa.value):
        steps = as_int(given["pissa_iter"].value) if "pissa_iter" in given else 16
        found["init_lora_weights"] = pissa._replace(value="pissa" if steps == -1 else f"pissa_niter_{steps}")
    alpha = given.get("lora_alpha")
    if alpha is not None and alpha.value == 0:  # lora_alpha or lora_rank * 2
        found["lora_alpha"] = alpha._replace(value=None)
    start = given.get("adapter_name_or_path")
    if start is not None and start.value:
        new = given.get("create_new_adapter")
        if isinstance(start.value, Unknown):
            found["adapter"] = start
        elif new is None or not as_bool(new.value):  # else those named are merged, and a new one is begun
            last = names(start.value)[-1]
            local = inside(folder, last)
            found["adapter"] = start._replace(value=local if exists(local) else last)
            found |= _resumed(found["adapter"])
    return found


def _resumed(adapter: Found) -> dict[str, Found]:
    """An adapter that is gone on with keeps its own configuration; what the file says of LoRA is not looked at."""
    from lorachk.launchers import peft

    config = inside(str(adapter.value), "adapter_config.json")
    if not exists(config):
        reason = Unknown(f"the adapter {adapter.value} decides")
        return dict.fromkeys(_KEYS_OF_LORA, adapter._replace(value=reason))
    stated = peft.fields(peft.read_peft(str(adapter.value)))
    return {name: entry for name, entry in stated.items() if name not in ("model", "use_lora")}


def _quantized(given: dict[str, Found]) -> dict[str, Found]:
    bits, method = given.get("quantization_bit"), given.get("quantization_method")
    if bits is None or isinstance(bits.value, Unknown):
        return {}
    if method is not None and isinstance(method.value, Unknown):
        return dict.fromkeys(("load_in_4bit", "load_in_8bit"), method)
    named = method is None or method.value is None or str(method.value) in _BITSANDBYTES
    width = as_int(bits.value) if named else None
    return {f"load_in_{n}bit": bits._replace(value=width == n) for n in (4, 8)}


def _checkpointing(given: dict[str, Found]) -> dict[str, Found]:
    """On unless disable_gradient_checkpointing; gradient_checkpointing of the TrainingArguments turns it on as well."""
    found: dict[str, Found] = {}
    off, on = given.get("disable_gradient_checkpointing"), given.get("gradient_checkpointing")
    if off is not None and not (on is not None and as_bool(on.value)):
        flag = None if isinstance(off.value, Unknown) else as_bool(off.value)
        found["gradient_checkpointing"] = off if flag is None else off._replace(value=not flag)
    elif off is None and on is not None and as_bool(on.value) is False:  # nobody asks for it
        found["gradient_checkpointing"] = implied(True, "LLaMA-Factory looks at disable_gradient_checkpointing alone")
    if (variant := given.get("use_reentrant_gc")) is not None:
        found["use_reentrant"] = variant
    return found


def _parts(layers: Layers, given: dict[str, Found], kind: str | None) -> None:
    """What the freeze flags mean: in full training what is trained, with LoRA where adapters go."""
    family = family_of(layers.get("model_type"), layers.get("architecture"), layers.get("model"))
    flags = {
        "tune_vision": ("freeze_vision_tower", True),
        "tune_projector": ("freeze_multi_modal_projector", True),
        "tune_llm": ("freeze_language_model", False),
    }
    frozen: list[bool | None] = []
    for field, (name, default) in flags.items():
        entry = given.get(name)
        flag = default if entry is None else as_bool(entry.value)
        frozen.append(flag)
        if family in (None, "text") and entry is None:
            continue
        if field == "tune_llm" and kind != "full" and not flag:
            continue  # LoRA trains adapters in it, freeze some of its layers: neither is what tune_llm says
        if field == "tune_projector" and kind == "lora" and entry is None and layers.knows("modules_to_save"):
            continue
        if flag is not None:
            layers.derive(field, not flag, entry.at if entry else None, "default of LLaMA-Factory")
    if kind == "full":
        if family == "text":  # the flags are for models with a vision tower
            layers.derive("frozen_parameters", False, _at(given, "finetuning_type"))
        elif family is None and not layers.knows("frozen_parameters"):
            layers.unknown["frozen_parameters"] = Unknown("it depends on the kind of model")
        elif None not in frozen:
            layers.derive("frozen_parameters", any(frozen), _at(given, "freeze_vision_tower"))


def _lora(layers: Layers, why: str) -> None:
    layers.derive("lora_r", 8, why=why)
    if layers.get("lora_r"):
        layers.derive("lora_alpha", 2.0 * layers.get("lora_r"), why=f"{why}: twice the rank")
    defaults: tuple[tuple[str, Any], ...] = (
        ("lora_dropout", 0.0), ("target_modules", ["all"]), ("target_regex", False), ("use_rslora", False),
        ("use_dora", False), ("ddp_find_unused_parameters", False),
    )  # fmt: skip
    for name, value in defaults:
        if name == "target_regex" and not layers.knows("target_modules"):
            continue
        layers.derive(name, value, why="LLaMA-Factory sets it with LoRA" if name.startswith("ddp") else why)
    if layers.get("resize_vocab") and layers.get("model_type") not in _OTHER_EMBEDDINGS:
        layers.derive("modules_to_save", ["embed_tokens", "lm_head"], why="LLaMA-Factory adds them with resize_vocab")


def _computing(layers: Layers, given: dict[str, Found]) -> None:
    """4-bit layers compute in, and are packed as, the dtype of the mixed precision (model/quantization.py)."""
    if not layers.get("load_in_4bit"):
        return
    half = (given.get("pure_bf16"), given.get("bf16"))
    dtype = "bfloat16" if any(entry is not None and as_bool(entry.value) for entry in half) else None
    if dtype is None and (entry := given.get("fp16")) is not None and as_bool(entry.value):
        dtype = "float16"
    for name in ("bnb_4bit_compute_dtype", "bnb_4bit_quant_storage"):
        layers.derive(name, dtype, why="LLaMA-Factory takes that of the mixed precision")


def _word(entry: Found | None, default: str) -> str | None:
    """The word that is given, the default where nothing is, None where it cannot be known."""
    if entry is None or entry.value is None:
        return default
    return None if isinstance(entry.value, Unknown) else str(entry.value)


def _at(given: dict[str, Found], name: str) -> Any:
    return given[name].at if name in given else None


def _on(environment: dict[str, Found], name: str) -> bool:
    """extras/misc.py, is_env_enabled."""
    return name in environment and str(environment[name].value).lower() in ("true", "y", "1")


def _number(entry: Found, name: str) -> Found:
    if isinstance(entry.value, Unknown):
        return entry
    number = as_int(entry.value)
    return entry._replace(value=number if number and number > 0 else Unknown(f"{name} is {entry.value!r}"))
