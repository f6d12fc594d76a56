"""adapter_config.json: the LoRA that a run continues or repeats."""

from __future__ import annotations

import os
from typing import Any

from lorachk.launchers.deepspeed import JsonFile, read_json
from lorachk.launchers.text import is_folder
from lorachk.launchers.values import Found, as_float, as_int, as_text, implied

# Run field -> LoraConfig argument
LORA_FIELDS = {
    "lora_r": "r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "lora_bias": "bias",
    "target_modules": "target_modules",
    "modules_to_save": "modules_to_save",
    "exclude_modules": "exclude_modules",
    "init_lora_weights": "init_lora_weights",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "ensure_weight_tying": "ensure_weight_tying",
}
# Run field -> LoraConfig argument that is there or not
_THERE = {"trainable_tokens": "trainable_token_indices", "target_parameters": "target_parameters"}
# written by PEFT when it saves; no arguments a person chooses
_BOOKKEEPING = {"auto_mapping", "base_model_name_or_path", "peft_version", "revision", "inference_mode", "peft_type"}


def read_peft(path: str, named_at: str | None = None) -> JsonFile:
    """Read an adapter_config.json, or the one in a folder."""
    if is_folder(path):
        path = os.path.join(path, "adapter_config.json")  # noqa: PTH118 - keep the user's spelling
    return read_json(path, "peft", named_at)


def arguments(file: JsonFile) -> dict[str, Any]:
    """LoraConfig keyword arguments of the file."""
    return {key: value for key, value in file.value.items() if key not in _BOOKKEEPING}


def fields(file: JsonFile) -> dict[str, Found]:
    """Run fields an adapter config decides."""
    found = lora_fields({key: given for key in file.value if (given := file.find(f"/{key}"))})
    base = file.find("/base_model_name_or_path")
    if base and isinstance(base.value, str) and base.value:
        found["model"] = base
    kind = file.find("/peft_type")
    if kind is not None and isinstance(kind.value, str):
        found["peft_type"] = Found(kind.value.upper(), kind.at)
    found["use_lora"] = Found(kind is None or kind.value == "LORA", kind.at if kind else file.at(""))
    return found


def lora_fields(given: dict[str, Found]) -> dict[str, Found]:
    """Run fields out of LoraConfig arguments."""
    found: dict[str, Found] = {}
    for field, key in LORA_FIELDS.items():
        entry = given.get(key)
        if entry is None or entry.value is None:
            continue
        value: Any = entry.value
        if field == "lora_r":
            value = as_int(value)
        elif field in ("lora_alpha", "lora_dropout"):
            value = as_float(value)
        elif field == "lora_bias":
            value = as_text(value)
        if value is not None:
            found[field] = Found(value, entry.at)
    for field, key in _THERE.items():
        if given:
            entry = given.get(key)
            found[field] = Found(bool(entry.value), entry.at) if entry else implied(False, "default of PEFT")
    return found
