"""Builds what is trained, in the order the user's trainer does: weights, checkpointing, input hook, adapter."""

from __future__ import annotations

import dataclasses
from typing import Any

from lorachk.rehearsal.plan import Plan


class Refused(Exception):
    """The rehearsal cannot look at this model; the text says why."""


def model_class(config: Any, trust: bool) -> Any:
    """The class the checkpoint names, else the Auto class that knows this config."""
    import transformers

    names = config.architectures or []
    remote = getattr(config, "auto_map", None) or {}
    if names and not (remote and trust) and hasattr(transformers, names[0]):
        return getattr(transformers, names[0])
    if remote and trust:
        for auto in ("AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModel"):
            if auto in remote:
                return getattr(transformers, auto)
    for auto in ("AutoModelForImageTextToText", "AutoModelForVision2Seq", "AutoModelForCausalLM"):
        loader = getattr(transformers, auto, None)
        if loader is not None and type(config) in loader._model_mapping:
            return loader
    raise Refused(f"transformers has no trainable class for model type {config.model_type}")


def load_config(model: str, trust: bool) -> Any:
    """The model's config; Refused when it is not here or needs remote code that was not allowed."""
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(model, trust_remote_code=trust, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        text = " ".join(str(error).split())
        if "trust_remote_code" in text:
            raise Refused(f"{model} runs its own code; allow it with --trust-remote-code") from error
        raise Refused(f"the model's config cannot be read: {text[:300]}") from error


def load_base(plan: Plan, config: Any | None = None) -> Any:
    """The base model from the plan's weights, in the plan's dtype; under ZeRO-3 its parameters are partitioned."""
    import torch

    config = config or load_config(plan.weights, plan.trust_remote_code)
    loader = model_class(config, plan.trust_remote_code)
    options: dict[str, Any] = {"local_files_only": True}
    if loader.__name__.startswith("Auto"):
        options["trust_remote_code"] = plan.trust_remote_code
    if plan.dtype:
        options["torch_dtype" if _old_transformers() else "dtype"] = getattr(torch, plan.dtype)
    if plan.real_weights and plan.quantization:
        import transformers

        options["quantization_config"] = transformers.BitsAndBytesConfig(**plan.quantization)
    return loader.from_pretrained(plan.weights, **options)


def _old_transformers() -> bool:
    """Whether from_pretrained knows only `torch_dtype` (transformers below 4.56)."""
    import transformers
    from packaging.version import Version

    return Version(transformers.__version__) < Version("4.56")


def prepare_base(model: Any, plan: Plan) -> Any:
    """The base model with input-gradient hook and k-bit preparation, as far as the run asks for them."""
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    if plan.real_weights and plan.quantization:
        import peft

        return peft.prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=plan.args["gradient_checkpointing"],
            gradient_checkpointing_kwargs=plan.args.get("gradient_checkpointing_kwargs"),
        )
    # prepare_model_for_kbit_training sets the hook; on the unquantized miniature it is set alone.
    hook = plan.input_require_grads
    if hook is None:
        hook = bool(plan.quantization) and plan.args["gradient_checkpointing"]
    if hook:
        model.enable_input_require_grads()
    return model


def add_adapter(model: Any, plan: Plan) -> Any:
    """The model with the run's LoRA on it; unknown keys of newer or older PEFT files are left out."""
    import peft

    known = {f.name for f in dataclasses.fields(peft.LoraConfig) if f.init}
    options = {k: v for k, v in plan.lora.items() if k in known and v is not None}
    return peft.get_peft_model(model, peft.LoraConfig(**options))


def is_adapter(name: str) -> bool:
    """Whether a parameter of a PEFT model belongs to the adapter."""
    return any(part in name for part in ("lora_", "modules_to_save.", "trainable_tokens_"))


def training_arguments(plan: Plan, **more: Any) -> Any:
    """TrainingArguments of the installed transformers; names it does not have are left out."""
    from transformers import TrainingArguments

    known = {f.name for f in dataclasses.fields(TrainingArguments) if f.init}
    options: dict[str, Any] = {
        **plan.args,
        "output_dir": f"{plan.folder}/output",
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "label_names": ["labels"],
        "deepspeed": plan.deepspeed,
        **more,
    }
    if plan.device == "cpu" and plan.ranks > 1 and not plan.deepspeed:
        options["ddp_backend"] = "gloo"
    return TrainingArguments(**{k: v for k, v in options.items() if k in known and v is not None})
