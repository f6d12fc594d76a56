"""What follows from what was read: trainers' own habits, library defaults, products and negations."""

from __future__ import annotations

from lorachk.families import family_of
from lorachk.launchers import trainers
from lorachk.launchers.layers import Layers
from lorachk.launchers.values import Found, as_bool
from lorachk.launchers.versions import default_optim, default_use_reentrant, used

# LoraConfig; read in peft 0.13.2 and 0.21.2, where they are the same.
PEFT_DEFAULTS = {"init_lora_weights": "true", "use_rslora": False, "use_dora": False}


def derive(
    layers: Layers, arguments: dict[str, Found], environment: dict[str, str], *, launched: bool, version: str | None
) -> None:
    """Fill fields that nothing stated, in place.

    `launched` says that the whole launch configuration was given, so that what is absent is off rather than unknown.
    `version` is config.json's own field of that name.
    """
    trainer = layers.get("trainer")
    for name, value in trainers.DEFAULTS.get(trainer or "", {}).items():
        if launched or name in ("max_length", "max_slice_nums"):  # a dataset alone is read with these
            layers.derive(name, value, why=f"default of {trainer}")
    _target(layers, trainer)
    if launched and trainer in trainers.PLAIN_HF:
        why = _library("transformers", environment)
        for name, value in trainers.HF_DEFAULTS.items():
            layers.derive(name, value, why=why)
        versions = used("transformers", environment), used("torch", environment)
        layers.derive("optim", default_optim(*versions), why=why)
    _adapter(layers, trainer, environment, launched=launched)
    _checkpointing(layers, arguments, trainer, environment)
    kwargs_known = "gradient_checkpointing_kwargs" not in arguments or layers.knows("use_reentrant")
    if trainer == "vlm-r1" and kwargs_known:  # its trainer calls it unless the kwargs say that use_reentrant is false
        checkpointed = layers.get("gradient_checkpointing")
        hooked = checkpointed and layers.get("use_reentrant") is not False
        layers.derive("input_require_grads", hooked, why="VLM-R1: with gradient_checkpointing")
    if launched and not (layers.get("deepspeed") or "deepspeed" in layers.unknown):
        for name, value in (("zero_stage", 0), ("offload_optimizer", "none"), ("offload_param", "none")):
            layers.derive(name, value, why="no DeepSpeed file is named")
    if launched and "zero_stage" not in layers.unknown:  # else accelerate's own configuration may ask for it
        layers.derive("fsdp", False, why="nothing asks for FSDP")
    if launched and trainer in trainers.NO_NEW_TOKENS:
        layers.derive("resize_vocab", False, why=f"{trainer} adds no tokens")
    _bucket(layers)
    _ranks(layers)
    for name in ("load_in_4bit", "load_in_8bit"):
        if launched and trainer in trainers.PLAIN_HF:
            layers.derive(name, False, why=f"default of {trainer}")
    model = layers.get("model")
    layers.derive("family", family_of(layers.get("model_type"), layers.get("architecture"), model, version=version))
    if trainer == "trl" and layers.get("family") == "text":  # for images TRL's own script sets it to None
        layers.derive("max_length", trainers.TRL_MAX_LENGTH, why=_library("trl", environment))


def _library(name: str, environment: dict[str, str]) -> str:
    """What to say of a library's default: with the version that sets it, where that is known."""
    version = used(name, environment)
    return f"default of {name} {version}" if version else f"default of {name}"


def _target(layers: Layers, trainer: str | None) -> None:
    if layers.get("use_lora") is False:
        for name in ("lora_r", "lora_alpha", "lora_dropout", "lora_bias"):
            if name not in layers.origins:  # a default of an adapter that is not there
                layers.values.pop(name, None)
    default = trainers.DEFAULT_TARGET.get(trainer or "")
    if default and layers.get("use_lora") and not layers.knows("target_modules"):
        layers.derive("target_modules", [default] if isinstance(default, str) else default, why=f"default of {trainer}")
        layers.derive("target_regex", isinstance(default, str), why=f"default of {trainer}")


def _adapter(layers: Layers, trainer: str | None, environment: dict[str, str], *, launched: bool) -> None:
    if trainer == "internvl" and layers.get("lora_r") is not None:
        rank = layers.get("lora_r")
        layers.derive("use_lora", rank > 0, layers.origins.get("lora_r"))
        layers.derive("lora_alpha", 2.0 * rank, layers.origins.get("lora_r"))
    if layers.get("use_lora") is None and layers.get("lora_r") and trainer in (None, "hf"):
        layers.derive("use_lora", True, layers.origins.get("lora_r"))
    if layers.get("use_lora"):
        saved = trainers.modules_saved_whole(trainer, layers.get("tune_vision"))
        layers.derive("modules_to_save", saved, why=f"{trainer} sets it")
        layers.derive("peft_type", "LORA", layers.origins.get("use_lora"))
        if launched:
            for name, value in PEFT_DEFAULTS.items():
                layers.derive(name, value, why=_library("peft", environment))
        layers.derive("frozen_parameters", True, layers.origins.get("use_lora"))
    elif layers.get("use_lora") is False and trainer == "minicpmv":
        tuned = layers.get("tune_llm"), layers.get("tune_vision")
        if None not in tuned:
            layers.derive("frozen_parameters", not all(tuned))
    elif layers.get("use_lora") is False:
        frozen = False in (layers.get("tune_llm"), layers.get("tune_vision"))
        if frozen or trainer == "llava":  # its vision tower is never trained
            layers.derive("frozen_parameters", True)


def _checkpointing(
    layers: Layers, arguments: dict[str, Found], trainer: str | None, environment: dict[str, str]
) -> None:
    if trainer == "minicpmv":  # finetune.py sets both on its own account, whatever the flags say
        layers.values["use_reentrant"] = False
        layers.because["use_reentrant"] = "finetune.py sets it"
        if layers.get("use_lora") is not None:  # without LoRA it does not
            layers.derive("input_require_grads", bool(layers.get("use_lora") and layers.get("gradient_checkpointing")))
        return
    if trainer in trainers.INPUT_GRADS:
        layers.derive("input_require_grads", layers.get("gradient_checkpointing"))
    if trainer == "qwen-vl-series":  # sets it whatever the flags say
        in_vision = arguments.get("vision_lora")
        layers.values["use_reentrant"] = not (in_vision and as_bool(in_vision.value))
        layers.because["use_reentrant"] = "train_sft.py sets it"
        return
    for name in ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"):
        given = arguments.get(name)
        if given and isinstance(given.value, dict) and "use_reentrant" in given.value:
            layers.derive("use_reentrant", as_bool(given.value["use_reentrant"]), given.at)
            return
        if given and not isinstance(given.value, dict):
            return
    flag = arguments.get("use_reentrant")  # PEFT's examples and many scripts pass it on
    if flag is not None:
        layers.derive("use_reentrant", as_bool(flag.value), flag.at)
        return
    if trainer == "internvl":  # its models' own code decides
        return
    if trainer in trainers.PLAIN_HF:
        layers.derive(
            "use_reentrant",
            default_use_reentrant(used("transformers", environment)),
            why=_library("transformers", environment),
        )


def _bucket(layers: Layers) -> None:
    hidden = layers.get("hidden_size")
    if layers.get("deepspeed") and hidden:  # `auto`, as transformers fills it
        layers.derive("reduce_bucket_size", hidden * hidden)


def _ranks(layers: Layers) -> None:
    gpus, nodes = layers.get("num_gpus"), layers.get("num_nodes")
    if gpus and nodes is None and "num_nodes" not in layers.unknown:
        nodes = 1
        layers.derive("num_nodes", 1, why="one machine unless something says otherwise")
    for name in ("num_gpus", "num_nodes"):
        if name in layers.unknown and not layers.knows("world_size"):
            layers.unknown["world_size"] = layers.unknown[name]
            if name in layers.origins:
                layers.origins["world_size"] = layers.origins[name]
    if gpus and nodes:
        layers.derive("world_size", gpus * nodes, layers.origins.get("num_gpus"))
