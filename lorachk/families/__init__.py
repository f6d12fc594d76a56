"""Model families: which family a model belongs to, component names, placeholders, visual-token arithmetic.

A family is a name for models that share module names, placeholder and image arithmetic: minicpmv2 minicpmv25 minicpmv26
minicpmv4 minicpmv45 minicpmv46 minicpmv47 minicpmo minicpmv (version unknown), qwen2_vl qwen2_5_vl qwen3_vl qwen3_5,
llava llava_next llava_onevision, internvl, gemma3 gemma3n gemma4, idefics idefics2 idefics3 smolvlm, mllama, paligemma,
glm4v, phi_vision phi4_multimodal, and text. Their visual-token arithmetic is in `visual`.
"""

from __future__ import annotations

import re
from pathlib import PurePath

from lorachk.families.components import component

__all__ = ["component", "family_of", "is_vision"]

# config.json model_type -> family, where the type alone decides
_BY_TYPE = {
    "minicpmv4_6": "minicpmv46",
    "minicpmv4_7": "minicpmv47",
    "minicpmo": "minicpmo",
    "qwen2_vl": "qwen2_vl",
    "qwen2_5_vl": "qwen2_5_vl",
    "qwen2_5_omni": "qwen2_5_vl",
    "qwen3_vl": "qwen3_vl",
    "qwen3_vl_moe": "qwen3_vl",
    "qwen3_5": "qwen3_5",
    "qwen3_5_moe": "qwen3_5",
    "llava": "llava",
    "llava_llama": "llava",
    "llava_mistral": "llava",
    "llava_qwen": "llava",
    "vipllava": "llava",
    "llava_next": "llava_next",
    "llava_onevision": "llava_onevision",
    "internvl": "internvl",
    "internvl_chat": "internvl",
    "gemma3": "gemma3",
    "gemma3n": "gemma3n",
    "gemma4": "gemma4",
    "idefics": "idefics",
    "idefics2": "idefics2",
    "idefics3": "idefics3",
    "smolvlm": "smolvlm",
    "glm4v": "glm4v",
    "glm4v_moe": "glm4v",
    "glm46v": "glm4v",
    "mllama": "mllama",
    "paligemma": "paligemma",
    "phi3_v": "phi_vision",
    "phi4mm": "phi4_multimodal",
    "phi4_multimodal": "phi4_multimodal",
}
# Names on the hub and of local folders, most specific first.
_BY_NAME = tuple(
    (re.compile(pattern), family)
    for pattern, family in (
        (r"minicpm-?o", "minicpmo"),
        (r"minicpm-?v-?4[._]7", "minicpmv47"),
        (r"minicpm-?v-?4[._]6", "minicpmv46"),
        (r"minicpm-?v-?4[._]5", "minicpmv45"),
        (r"minicpm-?v-?4(?![._]?\d)", "minicpmv4"),
        (r"minicpm-?v-?2[._]6", "minicpmv26"),
        (r"minicpm-?(llama3-)?v-?2[._]5", "minicpmv25"),
        (r"minicpm-?v-?2", "minicpmv2"),
        (r"minicpm-?v", "minicpmv"),
        (r"qwen3[._]5", "qwen3_5"),
        (r"qwen-?3-?vl", "qwen3_vl"),
        (r"qwen-?2[._]5-?(vl|omni)", "qwen2_5_vl"),
        (r"qwen-?2-?vl", "qwen2_vl"),
        (r"llava-?onevision", "llava_onevision"),
        (r"llava-?(v1[._]6|next)", "llava_next"),
        (r"llava", "llava"),
        (r"internvl", "internvl"),
        (r"gemma-?3n", "gemma3n"),
        (r"gemma-?3(?!-(1b|270m))", "gemma3"),
        (r"gemma-?4", "gemma4"),
        (r"smolvlm", "smolvlm"),
        (r"idefics-?2", "idefics2"),
        (r"idefics-?3", "idefics3"),
        (r"idefics", "idefics"),
        (r"glm-?4[._][156]v", "glm4v"),
        (r"llama-?3[._]2-?(11|90)b-?vision", "mllama"),
        (r"paligemma", "paligemma"),
        (r"phi-?4-?(vision|multimodal)", "phi4_multimodal"),
        (r"phi-?(3|3[._]5)-?vision", "phi_vision"),
    )
)
_TEXT_NAME = re.compile(
    r"(llama|qwen|mistral|mixtral|gemma|phi-?[1-4]|deepseek|chatglm|glm-4|baichuan|internlm|falcon|gpt|opt-|yi-|minicpm)"
)
_NOT_TEXT_NAME = re.compile(r"(vl\b|vlm|vision|omni|audio|llava|video|visual|ocr|whisper|-v-|4v\b)")
_TEXT_ARCHITECTURE = re.compile(r"(ForCausalLM|LMHeadModel)$")
_VISION_ARCHITECTURE = re.compile(r"(llava|vision|vl|minicpmv|multimodal|omni|internvl)", re.IGNORECASE)
_MINICPMV_VERSIONS = {
    "2": "minicpmv2",
    "2.0": "minicpmv2",
    "2.5": "minicpmv25",
    "2.6": "minicpmv26",
    "4": "minicpmv4",
    "4.0": "minicpmv4",
    "4.5": "minicpmv45",
    "4.6": "minicpmv46",
    "4.7": "minicpmv47",
}


def family_of(
    model_type: str | None = None,
    architecture: str | None = None,
    name: str | None = None,
    *,
    version: str | float | None = None,
) -> str | None:
    """Family of a model from config.json (model_type, first architecture, version), else from its hub or folder name.

    None when nothing decides. `version` is the config's own field; MiniCPM-V remote code has one model_type for all
    its versions. Reads nothing and imports nothing.
    """
    if model_type in _BY_TYPE:
        return _BY_TYPE[model_type]
    named = _by_name(name)
    if model_type == "minicpmv" or (not model_type and architecture == "MiniCPMV"):
        stated = _MINICPMV_VERSIONS.get(str(version))
        return stated or (named if named and named.startswith("minicpmv") else "minicpmv")
    if model_type or architecture:
        if architecture and _VISION_ARCHITECTURE.search(architecture):
            return named if named != "text" else None
        if architecture and _TEXT_ARCHITECTURE.search(architecture):
            return "text"
        if architecture:
            return None
    return named


def is_vision(family: str | None) -> bool | None:
    """Whether models of this family take images; None for an unknown family."""
    return None if family is None else family != "text"


def _by_name(name: str | None) -> str | None:
    if not name:
        return None
    whole = name.lower()
    # The last part first: a folder above it may be named after another model.
    for text in (PurePath(whole).name, whole):
        for pattern, family in _BY_NAME:
            if pattern.search(text):
                return family
    last = PurePath(whole).name
    if _TEXT_NAME.search(last) and not _NOT_TEXT_NAME.search(last):
        return "text"
    return None
