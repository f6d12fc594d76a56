"""PEFT applied to a model on the meta device, as the run's trainer applies it."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from lorachk.facts.collector import NotCollected
from lorachk.families import component

if TYPE_CHECKING:
    from lorachk.run import Run

# Spellings of "every linear layer" in the trainers' files.
ALL_LINEAR = frozenset({"all", "all-linear", "all_linear", "auto"})
# finetune.py of MiniCPM-V passes these whatever the flags say, and adds vpm with --tune_vision.
_MINICPMV_SAVED = ["embed_tokens", "resampler"]
_FIELD_OF = {"r": "lora_r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout", "bias": "lora_bias"}


def wanted(run: Run) -> bool | None:
    """Whether the run trains an adapter; None when it does not say."""
    if run.use_lora is not None:
        return run.use_lora
    return True if run.lora_config or run.target_modules else None


def modules_to_save(run: Run) -> list[str]:
    """Entries of modules_to_save as the trainer passes them to PEFT."""
    if run.modules_to_save is not None:
        return list(run.modules_to_save)
    if run.trainer == "minicpmv":
        return [*_MINICPMV_SAVED, *(["vpm"] if run.tune_vision else [])]
    return list(run.lora_config.get("modules_to_save") or [])


def targets(run: Run) -> str | list[str] | None:
    """target_modules as stated: a regular expression, a list of names, or None for the trainer's default."""
    if run.target_modules is not None:
        return run.target_modules[0] if run.target_regex and run.target_modules else list(run.target_modules)
    stated = run.lora_config.get("target_modules")
    return stated if stated is None or isinstance(stated, str) else list(stated)


def resolve_targets(run: Run, model: Any, family: str | None) -> str | list[str] | None:
    """target_modules as PEFT receives them: trainers replace "all" and their defaults by names of this model.

    LLaMA-Factory and ms-swift leave out the components whose freeze flags stand; VLM-R1 leaves out the vision part;
    LLaVA leaves out projector, vision and head and passes last name parts; Qwen-VL-Series-Finetune leaves out the names
    it is told and, without --vision_lora, the vision part.
    """
    stated = targets(run)
    entries = [stated] if isinstance(stated, str) else stated or []
    everything = stated is None or any(e.lower() in ALL_LINEAR for e in entries)
    if run.trainer not in ("llamafactory", "ms-swift", "vlm-r1", "llava", "qwen-vl-series"):
        return "all-linear" if any(e.lower() == "all-linear" for e in entries) else stated
    if not everything and run.trainer != "llamafactory":
        return stated
    found = []
    for name, module in model.named_modules():
        if not _is_linear(module) or component(family, name) in _excluded(run):
            continue
        if any(part in name for part in _excluded_names(run)):
            continue
        if everything or (isinstance(stated, list) and name.rsplit(".", 1)[-1] in entries):
            found.append(name)
    if run.trainer == "llava":
        return sorted({name.rsplit(".", 1)[-1] for name in found})
    return found or stated


def _excluded_names(run: Run) -> list[str]:
    if run.trainer != "qwen-vl-series":
        return []
    return re.findall(r"[\w.]+", str(run.training_args.get("lora_namespan_exclude", "")))


def _excluded(run: Run) -> set[str]:
    if run.trainer == "qwen-vl-series":
        return set() if run.training_args.get("vision_lora") is True else {"vision", "resampler"}
    if run.trainer == "vlm-r1":
        return {"vision", "resampler"}
    if run.trainer == "llava":
        return {"vision", "resampler", "head"}
    aligner = run.training_args.get("freeze_aligner", run.training_args.get("freeze_multi_modal_projector", True))
    out = {"head"}
    full_vision = trains_vision_in_full(run)
    if not run.tune_vision or full_vision:
        out.add("vision")
    if aligner or full_vision or run.trainer == "llamafactory":
        out.add("resampler")
    if run.tune_llm is False:
        out.add("llm")
    return out


def trains_vision_in_full(run: Run) -> bool:
    """ms-swift's tuner lora_llm: LoRA in the language model, vision tower and projector trained in full beside it."""
    names = ("tuner_type", "train_type")
    return run.trainer == "ms-swift" and any(run.training_args.get(name) == "lora_llm" for name in names)


def _is_linear(module: Any) -> bool:
    from torch import nn

    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def peft_config(run: Run, model: Any, family: str | None) -> Any:
    """The run's PEFT configuration object. Raises NotCollected with PEFT's own words when it refuses the values."""
    try:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
        from peft.utils import PeftType
    except ImportError:
        raise NotCollected("peft is not installed: pip install 'lorachk[train]'") from None
    stated = dict(run.lora_config)
    try:
        cls = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(str(stated.get("peft_type") or "LORA").upper())]
    except (KeyError, ValueError):
        raise NotCollected(f"the installed peft knows no type {stated.get('peft_type')!r}") from None
    fields = {f.name for f in dataclasses.fields(cls)}
    for name, field in _FIELD_OF.items():
        if getattr(run, field) is not None:
            stated[name] = getattr(run, field)
    stated["target_modules"] = resolve_targets(run, model, family)
    stated["modules_to_save"] = modules_to_save(run) or None
    stated["inference_mode"] = False
    stated["base_model_name_or_path"] = str(getattr(model, "name_or_path", "") or "")
    stated.pop("peft_type", None)
    if isinstance(stated.get("init_lora_weights"), str):
        # PiSSA, OLoRA and the like read the base weights, which are not there; shapes do not depend on them.
        stated["init_lora_weights"] = True
    try:
        return cls(**{k: v for k, v in stated.items() if k in fields})
    except Exception as error:
        raise NotCollected(f"PEFT refuses the adapter's configuration: {error}") from None


def apply(run: Run, model: Any, family: str | None) -> Any:
    """PeftModel on the meta device, frozen and unfrozen as the trainer does; `model` is changed in place.

    Raises NotCollected with PEFT's own words when PEFT refuses.
    """
    import torch

    config = peft_config(run, model, family)
    from peft import get_peft_model

    try:
        with torch.device("meta"):
            adapted = get_peft_model(model, config)
    except Exception as error:
        raise NotCollected(f"PEFT refuses: {' '.join(str(error).split())[:600]}") from error
    if run.trainer == "vlm-r1" and run.tune_vision is False:
        # Its freeze_vision_modules runs after PEFT and goes by the name "visual", adapters included.
        for name, parameter in adapted.named_parameters():
            if component(family, name) in ("vision", "resampler"):
                parameter.requires_grad_(False)
    if trains_vision_in_full(run):
        for name, parameter in adapted.named_parameters():
            if component(family, name) in ("vision", "resampler"):
                parameter.requires_grad_(True)
    if run.trainer == "qwen-vl-series":  # what it trains in full is unfrozen after PEFT froze everything
        trained = {"vision", "resampler"} if run.tune_vision else set()
        trained |= set() if run.training_args.get("freeze_merger") is True else {"resampler"}
        for name, parameter in adapted.named_parameters():
            if component(family, name) in trained:
                parameter.requires_grad_(True)
    return adapted


def freeze_without_adapter(run: Run, model: Any, family: str | None) -> None:
    """Full fine-tuning: what the tune flags freeze."""
    frozen = set()
    if run.tune_vision is False:
        frozen.add("vision")
    if run.tune_llm is False:
        frozen |= {"llm", "embedding", "head"}
    if run.trainer == "ms-swift" and run.tune_projector is False:
        frozen.add("resampler")
    for name, parameter in model.named_parameters():
        if component(family, name) in frozen:
            parameter.requires_grad_(False)
