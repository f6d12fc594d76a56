"""What axolotl does where its YAML says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorachk.launchers.trainers import HF_DEFAULTS
from lorachk.launchers.values import Found, Unknown, as_bool, as_float
from lorachk.launchers.versions import used

if TYPE_CHECKING:
    from lorachk.launchers.layers import Layers

_WHY = "default of axolotl"
_AMPERE = 8.0  # compute capability from which torch says that bf16 is supported
_THEIRS = ("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "save_only_model", "max_steps")


def fill(layers: Layers, given: dict[str, Found], environment: dict[str, str]) -> None:
    """Fill what nothing stated."""
    layers.derive("use_lora", False, why="axolotl: no adapter is named")
    if layers.get("use_lora") or layers.get("peft_type"):
        # loaders/adapter.py load_adapter, before the adapter is put in
        layers.derive("input_require_grads", True, why="axolotl: with an adapter")
    else:
        _frozen(layers, given)
    _accumulation(layers, given)
    _precision(layers, given)
    _checkpointing(layers, given)
    _evaluation(layers, given)
    if layers.get("load_in_4bit"):
        own = given.get("bnb_config_kwargs")
        stated = own.value if own is not None and isinstance(own.value, dict) else {}
        for field in ("bnb_4bit_quant_storage", "bnb_4bit_compute_dtype"):
            if field in stated and own is not None:
                layers.derive(field, str(stated[field]), own.at)
        storage = "bfloat16"
        if layers.get("model_type") in ("jamba", "qwen2_moe", "nemotron_h") and not (
            layers.get("deepspeed") or layers.get("fsdp")
        ):
            storage = "float32"
        layers.derive("bnb_4bit_quant_storage", storage, why="axolotl sets it")
        layers.derive("bnb_4bit_compute_dtype", layers.get("load_dtype"), why="axolotl sets it")
    for field in ("load_in_4bit", "load_in_8bit", "fp16"):
        layers.derive(field, False, why=_WHY)
    if not _adds_tokens(given):
        layers.derive("resize_vocab", False, why="axolotl: no tokens are added")
    # core/builders/causal.py: bool(ddp_find_unused_parameters) under DDP, so that the Trainer does not look for them
    layers.derive("ddp_find_unused_parameters", False, why="axolotl sets it")
    if given.get("rl") is not None and given["rl"].value:  # core/builders/rl.py
        layers.derive("remove_unused_columns", False, why="axolotl sets it for preference training")
    version = used("transformers", environment)
    for field in _THEIRS:
        layers.derive(
            field,
            HF_DEFAULTS[field],
            why=f"default of transformers {version}" if version else "default of transformers",
        )


def _adds_tokens(given: dict[str, Found]) -> bool:
    """Whether special_tokens may add some: only the tokenizer knows which of them are new. A padding token is none."""
    entry = given.get("special_tokens")
    named = entry.value if entry is not None else None
    return isinstance(named, Unknown) or (isinstance(named, dict) and bool(named.keys() - {"pad_token"}))


def _frozen(layers: Layers, given: dict[str, Found]) -> None:
    """Full fine-tuning: what is frozen by name."""
    for name, fields in (("unfrozen_parameters", ()), ("freeze_mm_modules", ("tune_vision", "tune_projector"))):
        entry = given.get(name)
        if entry is None or isinstance(entry.value, Unknown) or not entry.value:
            continue
        layers.derive("frozen_parameters", True, entry.at)
        for field in fields:
            layers.derive(field, False, entry.at)


def _accumulation(layers: Layers, given: dict[str, Found]) -> None:
    """gradient_accumulation_steps is 1 where it is not said, also beside batch_size: the schema's default is first."""
    if given.get("batch_size") is not None and given["batch_size"].value:
        layers.derive("gradient_accumulation_steps", 1, why=f"{_WHY}, which goes before batch_size")
    layers.derive("gradient_accumulation_steps", 1, why=_WHY)


def _precision(layers: Layers, given: dict[str, Found]) -> None:
    """bf16: auto asks the GPU (utils/config resolve_dtype); fp16 is what remains, unless it is refused."""
    asked = given.get("bf16")
    auto = asked is None or asked.value == "auto"
    half = layers.get("fp16")
    if auto and not layers.knows("bf16"):
        able = None if half is True else _bf16_gpu(layers.get("gpu"))
        if half is True:
            layers.derive("bf16", False, why="axolotl: fp16 is on")
        elif able is None:
            layers.unknown["bf16"] = Unknown("auto: on where the GPU can do it")
            layers.unknown.setdefault("fp16", Unknown("auto: off where the GPU can do bf16"))
        else:
            layers.derive("bf16", able, why=f"auto on {layers.get('gpu')}")
            layers.derive("fp16", not able, why=f"auto on {layers.get('gpu')}")
    if not auto:  # bf16: null, which is no auto
        layers.derive("bf16", False, why=_WHY)
    if layers.get("bf16"):
        layers.derive("load_dtype", "bfloat16", why="axolotl: with bf16")
    elif layers.get("load_in_8bit") or layers.get("fp16") or _flag(given, "float16"):
        if layers.get("bf16") is False:
            layers.derive("load_dtype", "float16", why="axolotl: with fp16")
    elif layers.get("bf16") is False:
        layers.derive("load_dtype", "float32", why="axolotl: without bf16 and fp16")


def _bf16_gpu(name: str | None) -> bool | None:
    from lorachk.errors import UsageError
    from lorachk.launchers.gpus import find_gpu

    if name is None:
        return None
    try:
        return find_gpu(name).compute_capability >= _AMPERE
    except UsageError:
        return None


def _flag(given: dict[str, Found], name: str) -> bool:
    entry = given.get(name)
    return entry is not None and not isinstance(entry.value, Unknown) and as_bool(entry.value) is True


def _checkpointing(layers: Layers, given: dict[str, Found]) -> None:
    """Reentrant, except for preference training, partly frozen models and Gemma 4 (normalize_config)."""
    if not layers.get("gradient_checkpointing"):
        return
    if layers.get("model_type") in ("gemma4", "gemma4_unified"):
        layers.derive("use_reentrant", False, why="axolotl sets it for Gemma 4")
    options = given.get("gradient_checkpointing_kwargs")
    if options is not None and options.value is not None:
        return  # derive.py reads them
    other = any(given.get(name) is not None and given[name].value for name in ("rl", "unfrozen_parameters"))
    layers.derive("use_reentrant", not other, why=_WHY)


def _evaluation(layers: Layers, given: dict[str, Found]) -> None:
    """Strategies, and whether the best checkpoint is loaded (core/builders/base.py and causal.py)."""
    share = given.get("val_set_size")
    held = as_float(share.value) if share is not None else 0.0
    listed = given.get("test_datasets")
    tested = bool(listed is not None and listed.value)
    if not held and not tested and held is not None:
        for store in (layers.values, layers.origins, layers.unknown):
            store.pop("eval_steps", None)
        layers.values["eval_strategy"] = "no"
        layers.origins.pop("eval_strategy", None)
        layers.because["eval_strategy"] = "axolotl: there is no dataset to evaluate on"
    elif layers.get("eval_steps"):
        layers.derive("eval_strategy", "steps", layers.origins.get("eval_steps"))
    layers.derive("eval_strategy", "no", why=_WHY)
    if layers.get("save_steps"):
        layers.derive("save_strategy", "steps", layers.origins.get("save_steps"))
    layers.derive("save_strategy", "epoch", why=_WHY)
    refused = given.get("load_best_model_at_end")
    evals, saves = layers.get("eval_steps"), layers.get("save_steps")
    best = not (refused is not None and as_bool(refused.value) is False and not given.get("early_stopping_patience"))
    together = bool(evals and saves and (bool(held) != tested) and saves % evals == 0)
    layers.values["load_best_model_at_end"] = best and together
    layers.origins.pop("load_best_model_at_end", None)
    layers.because["load_best_model_at_end"] = "axolotl: where every checkpoint was evaluated"
