"""A wrong family or component makes every rule about vision, projector or embeddings look at the wrong parameters."""

from __future__ import annotations

import pytest

from lorachk.families import component, family_of, is_vision


@pytest.mark.parametrize(
    ("model_type", "architecture", "name", "family"),
    [
        ("minicpmv", "MiniCPMV", "openbmb/MiniCPM-V-2_6", "minicpmv26"),
        (None, None, "openbmb/MiniCPM-Llama3-V-2_5", "minicpmv25"),
        (None, None, "openbmb/MiniCPM-V-2", "minicpmv2"),
        (None, None, "openbmb/MiniCPM-V-4", "minicpmv4"),
        (None, None, "openbmb/MiniCPM-V-4_5", "minicpmv45"),
        ("minicpmv4_6", "MiniCPMV4_6ForConditionalGeneration", None, "minicpmv46"),
        ("minicpmv", "MiniCPMV", None, "minicpmv"),
        (None, None, "Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl"),
        (None, None, "/models/llava/Qwen2-VL-2B", "qwen2_vl"),
        ("qwen2", "Qwen2ForCausalLM", "my-model", "text"),
        (None, None, "meta-llama/Llama-3.2-3B", "text"),
        (None, None, "meta-llama/Llama-3.2-11B-Vision", "mllama"),
        (None, None, "google/gemma-3-4b-it", "gemma3"),
        (None, None, "google/gemma-3-1b-it", "text"),
        (None, None, "google/gemma-3n-E4B-it", "gemma3n"),
        (None, None, "google/gemma-4-31B-it", "gemma4"),
        (None, None, "HuggingFaceTB/SmolVLM2-2.2B-Instruct", "smolvlm"),
        (None, None, "HuggingFaceM4/idefics2-8b", "idefics2"),
        (None, None, "HuggingFaceM4/Idefics3-8B-Llama3", "idefics3"),
        (None, None, "HuggingFaceM4/idefics-9b", "idefics"),
        (None, None, "zai-org/GLM-4.1V-9B-Thinking", "glm4v"),
        (None, None, "zai-org/GLM-4-9B-0414", "text"),
        (None, None, "microsoft/Phi-3.5-vision-instruct", "phi_vision"),
        (None, None, "microsoft/Phi-4-multimodal-instruct", "phi4_multimodal"),
        ("glm4v_moe", "Glm4vMoeForConditionalGeneration", None, "glm4v"),
        (None, None, "my-model", None),
    ],
)
def test_family(model_type, architecture, name, family):
    assert family_of(model_type, architecture, name) == family


def test_config_version_decides_over_the_folder_name():
    assert family_of("minicpmv", "MiniCPMV", "openbmb/MiniCPM-V-2", version=2.6) == "minicpmv26"


def test_only_text_takes_no_images():
    assert is_vision("text") is False
    assert is_vision("llava") is True
    assert is_vision(None) is None


@pytest.mark.parametrize(
    ("family", "name", "expected"),
    [
        ("minicpmv26", "vpm.encoder.layers.0.self_attn.q_proj", "vision"),
        ("minicpmv26", "resampler.kv_proj", "resampler"),
        ("minicpmv26", "llm.model.layers.0.mlp.up_proj", "llm"),
        ("minicpmv26", "llm.model.embed_tokens", "embedding"),
        ("minicpmv26", "llm.lm_head", "head"),
        ("minicpmo", "apm.layers.0", "audio"),
        ("minicpmo", "tts.model", "audio"),
        ("minicpmv46", "model.merger.mlp.0", "resampler"),
        ("minicpmv46", "model.vision_tower.vit_merger.linear_1", "vision"),
        ("qwen2_5_vl", "model.visual.merger.mlp.0", "resampler"),
        ("qwen2_5_vl", "model.visual.blocks.0.attn.qkv", "vision"),
        ("qwen2_5_vl", "model.language_model.norm", "llm"),
        ("qwen2_5_vl", "model", "other"),
        ("llava", "model.mm_projector.0", "resampler"),
        ("internvl", "mlp1.1", "resampler"),
        ("internvl", "language_model.output", "head"),
        ("idefics", "model.connector.modality_projection.proj", "resampler"),
        ("text", "model.norm", "llm"),
        ("text", "transformer.h.0.attn.c_attn", "llm"),
        ("minicpmv26", "base_model.model.llm.model.embed_tokens.modules_to_save.default.weight", "embedding"),
        ("minicpmv26", "base_model.model.llm.model.layers.0.self_attn.q_proj.lora_A.default.weight", "llm"),
    ],
)
def test_component(family, name, expected):
    assert component(family, name) == expected
