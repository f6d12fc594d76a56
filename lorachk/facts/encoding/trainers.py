"""Which encoder belongs to which trainer. Each lives in a module of its own, imported when it is asked for.

A module has a function `make(tokenizer, family, settings) -> Encoder`, which raises Unencodable when the tokenizer or
the settings cannot be encoded with at all.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from lorachk.facts.encoding.types import Encoder, Settings, Tokens, Unencodable

_MODULES = {
    "minicpmv": ("minicpmv", "make"),
    "trl": ("trl", "make"),
    "hf": ("trl", "make_hf"),
    "axolotl": ("axolotl", "make"),
    "qwen-vl": ("qwen_vl", "make"),
    "qwen-vl-series": ("qwen_vl_series", "make"),
    "llava": ("llava", "make"),
    "fastchat": ("llava", "make_fastchat"),
    "internvl": ("internvl", "make"),
    "llamafactory": ("llamafactory", "make"),
    "ms-swift": ("swift", "make"),
}
_NOT_MODELLED = {
    "vlm-r1": "VLM-R1 trains by reinforcement: no labels, and prompts are not cut as they are here",
    "qwen-vl-chat": "Qwen-VL's tokenizer is remote code on tiktoken, which is not run",
}


def encoder_for(
    trainer: str | None, family: str | None, tokenizer: Tokens, settings: Settings | None = None
) -> Encoder | str:
    """The encoder of a trainer, or the reason why there is none."""
    if trainer is None:
        return "the trainer is not known"
    if trainer in _NOT_MODELLED:
        return _NOT_MODELLED[trainer]
    if trainer not in _MODULES:
        return f"how {trainer} encodes is not modelled"
    name, function = _MODULES[trainer]
    path = f"lorachk.facts.encoding.{name}"
    if find_spec(path) is None or not hasattr(module := import_module(path), function):
        return f"how {trainer} encodes is not modelled yet"
    try:
        encoder: Encoder = getattr(module, function)(tokenizer, family, settings or Settings())
    except Unencodable as problem:
        return str(problem)
    return encoder
