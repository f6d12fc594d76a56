"""Which part of a model a module belongs to, from its dotted name.

Names are those of the transformers classes and of the remote code the families ship: MiniCPM-V (vpm, resampler, llm,
apm, tts), its native classes (model.vision_tower, model.merger, model.language_model), Qwen-VL (visual, visual.merger),
LLaVA (vision_tower, multi_modal_projector or mm_projector), InternVL (vision_model, mlp1), Gemma 3, Idefics (connector)
and text models. PEFT's wrappers in a name (base_model.model, base_layer, lora_A.default ...) do not disturb.
"""

from __future__ import annotations

_AUDIO = frozenset(
    {"apm", "tts", "audio_tower", "audio_model", "audio_encoder", "audio_projection_layer", "embed_audio"}
)
_VISION = frozenset(
    {
        "vpm",
        "visual",
        "vision",
        "vision_tower",
        "vision_model",
        "vision_encoder",
        "vision_embed_tokens",
        "image_encoder",
        "image_embed",
        "visual_tokenizer",
    }
)
_RESAMPLER = frozenset(
    {
        "resampler",
        "merger",
        "merger_list",
        "deepstack_merger_list",
        "multi_modal_projector",
        "mm_projector",
        "vision_resampler",
        "perceiver_resampler",
        "connector",
        "modality_projection",
        "aligner",
        "embed_vision",
        "img_projection",
        "linear_proj",
        "image_newline",
    }
)
_EMBEDDING = frozenset(
    {"embed_tokens", "wte", "wpe", "word_embeddings", "tok_embeddings", "embed_in", "embed_positions", "shared"}
)
_HEAD = frozenset({"lm_head", "embed_out", "output_layer", "score"})
_LLM = frozenset({"llm", "language_model", "text_model", "layers", "h", "gpt_neox", "decoder", "blocks", "transformer"})
_CONTAINERS = frozenset({"", "model", "model.model"})


def component(family: str | None, module_name: str) -> str:
    """Component of a module or parameter: vision, resampler, llm, embedding, head, audio or other.

    `family` (see `family_of`) settles what names alone cannot: in a text model everything that is neither embedding nor
    head is llm; in a vision-language model a container of several components is other.
    """
    name = module_name.removeprefix("base_model.model.").removeprefix("base_model.").removeprefix("module.")
    parts = name.split(".")
    known = set(parts)
    if known & _AUDIO:
        return "audio"
    if family != "text":
        # The projector may live inside the tower (visual.merger), so it is asked first.
        if known & _RESAMPLER or parts[0] == "mlp1":
            return "resampler"
        if known & _VISION:
            return "vision"
    if known & _EMBEDDING:
        return "embedding"
    # InternLM 2 calls its head "output", a name that inner layers of other models carry too.
    if known & _HEAD or parts[0] == "output" or parts[:2] == ["language_model", "output"]:
        return "head"
    if known & _LLM:
        return "llm"
    if family == "text" and name:
        return "llm"
    if family is None and name not in _CONTAINERS and parts[0] == "model":
        return "llm"
    return "other"
