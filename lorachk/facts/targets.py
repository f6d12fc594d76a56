"""How many modules each entry of target_modules and modules_to_save matches, and what was probably meant instead."""

from __future__ import annotations

import copy
import difflib
import re
from typing import TYPE_CHECKING, Any

from lorachk.families import component
from lorachk.memory import adapter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lorachk.run import Run

# Names of the same layer in different model families: attention in, attention out, feed-forward.
_SAME = (
    {"q_proj", "k_proj", "v_proj", "qkv_proj", "qkv", "wqkv", "Wqkv", "W_pack", "c_attn", "query_key_value", "query",
     "key", "value", "in_proj"},
    {"o_proj", "out_proj", "dense", "wo", "c_proj", "proj", "attn_out"},
    {"gate_proj", "up_proj", "down_proj", "gate_up_proj", "w1", "w2", "w3", "fc1", "fc2", "c_fc", "linear_fc1",
     "linear_fc2", "dense_h_to_4h", "dense_4h_to_h"},
    {"resampler", "merger", "multi_modal_projector", "mm_projector", "connector", "mlp1", "aligner"},
    {"vpm", "visual", "vision_tower", "vision_model"},
    {"embed_tokens", "wte", "word_embeddings", "tok_embeddings"},
)  # fmt: skip
_SHOWN = 6


def rows(run: Run, model: Any, family: str | None) -> Iterator[dict[str, Any]]:
    """Rows of the table `target` for a base model: PEFT's own rule decides what an entry matches."""
    names = [name for name, _ in model.named_modules() if name]
    linear = [name for name, module in model.named_modules() if is_linear(module)]
    stated = adapter.targets(run)
    resolved = adapter.resolve_targets(run, model, family)
    for entry in [stated] if isinstance(stated, str) else stated or []:
        # The trainer may have turned "all" or a name into a list of modules: that list then is what matches.
        own = resolved if isinstance(resolved, list) and resolved != stated else None
        if own is not None and entry.lower() not in adapter.ALL_LINEAR:
            own = [name for name in own if name == entry or name.endswith(f".{entry}")]
        value = own if own is not None else stated if isinstance(stated, str) else [entry]
        if resolved == "all-linear":
            value = "all-linear"
        matched = _matched(run, model, family, value, names)
        yield {
            "kind": "target_modules",
            "entry": entry,
            "matched": matched,
            "near_miss": None if matched else near_miss(entry, linear, family, regex=isinstance(stated, str)),
            "place": _at(run, "target_modules"),
        }
    for entry in adapter.modules_to_save(run):
        # peft.utils.other._set_trainable: plain str.endswith, no dot needed
        matched = sum(name.endswith(entry) for name in names)
        yield {
            "kind": "modules_to_save",
            "entry": entry,
            "matched": matched,
            "near_miss": None if matched else near_miss(entry, names, family, regex=False),
            "place": _at(run, "modules_to_save"),
        }


def is_linear(module: Any) -> bool:
    """Whether LoRA could wrap the module."""
    from torch import nn

    return isinstance(module, (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)) or (
        type(module).__name__ == "Conv1D"
    )


def _matched(run: Run, model: Any, family: str | None, value: str | list[str], names: list[str]) -> int:
    from peft.tuners import tuners_utils

    config = copy.copy(adapter.peft_config(run, model, family))
    config.target_modules = value if isinstance(value, str) else set(value)
    if hasattr(tuners_utils, "_maybe_include_all_linear_layers"):
        config = tuners_utils._maybe_include_all_linear_layers(config, model)
    matched = 0
    for name in names:
        found = tuners_utils.check_target_module_exists(config, name)
        # An excluded module is a truthy marker object, not True or a re.Match.
        matched += bool(found) and type(found).__name__ != "_ExcludedModule"
    return matched or sum(_experts(model, entry) for entry in ([value] if isinstance(value, str) else value))


def _experts(model: Any, entry: str) -> int:
    """Fused expert tensors that PEFT 0.19 and newer adapts for the name the experts' layers had in transformers 4."""
    try:
        from peft.utils import transformers_weight_conversion as conversion

        pattern = conversion._MODEL_TO_CONVERSION_PATTERN.get(model.config.model_type)
        names = conversion._MOE_TARGET_MODULE_MAPPING.get(pattern, {})
    except (ImportError, AttributeError):  # older PEFT or transformers
        return 0
    tensor = names.get(entry.rsplit(".", 1)[-1])
    return 0 if tensor is None else sum(name.endswith(f".{tensor}") for name, _ in model.named_parameters())


def near_miss(entry: str, names: list[str], family: str | None, *, regex: bool) -> str | None:
    """Names of this model that `entry` was probably meant to be; None when nothing comes close.

    For a regular expression: paths (layer numbers as *) whose last part the expression mentions.
    """
    if regex:
        words = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]+", re.sub(r"\\[dwsDWSbB]", " ", entry)))
        paths = _paths([n for n in names if n.rsplit(".", 1)[-1] in words], family)
        if paths:
            return _shown(paths)
        return _shown(_alike(words, names))
    last = entry.rsplit(".", 1)[-1]
    if "." in entry and (paths := _paths([n for n in names if n.rsplit(".", 1)[-1] == last], family)):
        return _shown(paths)
    return _shown(_alike({last}, names))


def _alike(words: set[str], names: list[str]) -> list[str]:
    lasts = list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in names))
    lasts = [last for last in lasts if not last.isdigit()]
    found = [last for last in lasts if any(last in same and words & same for same in _SAME)]
    for word in sorted(words):
        found += difflib.get_close_matches(word, lasts, n=3, cutoff=0.75)
    return list(dict.fromkeys(found))


def _paths(names: list[str], family: str | None) -> list[str]:
    """Distinct paths with layer numbers as *, the language model's first."""
    names = sorted(names, key=lambda name: component(family, name) not in ("llm", "embedding", "head"))
    return list(dict.fromkeys(re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", name) for name in names))


def _shown(names: list[str]) -> str | None:
    return ", ".join(names[:_SHOWN]) or None


def _at(run: Run, field: str) -> dict[str, Any] | None:
    place = run.at(field)
    return place._asdict() if place else None
