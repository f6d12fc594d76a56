"""Names of the layers of well-known models, for a model whose weights are not on this machine.

One decoder layer stands for all. Names of transformers' classes are held against the installed ones by the tests; those
of remote code (chatglm, baichuan, qwen, internlm2, minicpmv) are from the files published with the models.
"""

from __future__ import annotations

_ATTENTION = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj"
_FEED_FORWARD = "mlp.gate_proj mlp.up_proj mlp.down_proj"
_LLAMA = f"{_ATTENTION} {_FEED_FORWARD}"
_DENSE = "mlp.dense_h_to_4h mlp.dense_4h_to_h"

# config.json model_type -> path of a layer, its linear layers, and those outside
_BY_TYPE: dict[str, tuple[str, str, str]] = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "minicpm"),
        ("model.layers.0", _LLAMA, "model.embed_tokens lm_head"),
    ),
    "phi3": (
        "model.layers.0",
        "self_attn.qkv_proj self_attn.o_proj mlp.gate_up_proj mlp.down_proj",
        "model.embed_tokens lm_head",
    ),
    "phi": (
        "model.layers.0",
        "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.dense mlp.fc1 mlp.fc2",
        "model.embed_tokens lm_head",
    ),
    "gpt2": (
        "transformer.h.0",
        "attn.c_attn attn.c_proj mlp.c_fc mlp.c_proj",
        "transformer.wte transformer.wpe lm_head",
    ),
    "gpt_neox": (
        "gpt_neox.layers.0",
        f"attention.query_key_value attention.dense {_DENSE}",
        "gpt_neox.embed_in embed_out lm_head",  # the head before transformers 5, and since
    ),
    "bloom": (
        "transformer.h.0",
        f"self_attention.query_key_value self_attention.dense {_DENSE}",
        "transformer.word_embeddings lm_head",
    ),
    "falcon": (
        "transformer.h.0",
        f"self_attention.query_key_value self_attention.dense {_DENSE}",
        "transformer.word_embeddings lm_head",
    ),
    "mpt": ("transformer.blocks.0", "attn.Wqkv attn.out_proj ffn.up_proj ffn.down_proj", "transformer.wte lm_head"),
    "opt": (
        "model.decoder.layers.0",
        "self_attn.k_proj self_attn.v_proj self_attn.q_proj self_attn.out_proj fc1 fc2",
        "model.decoder.embed_tokens model.decoder.embed_positions lm_head",
    ),
    "chatglm": (
        "transformer.encoder.layers.0",
        f"self_attention.query_key_value self_attention.dense {_DENSE}",
        "transformer.embedding.word_embeddings transformer.output_layer",
    ),
    "baichuan": ("model.layers.0", f"self_attn.W_pack self_attn.o_proj {_FEED_FORWARD}", "model.embed_tokens lm_head"),
    "qwen": ("transformer.h.0", "attn.c_attn attn.c_proj mlp.w1 mlp.w2 mlp.c_proj", "transformer.wte lm_head"),
    "internlm2": (
        "model.layers.0",
        "attention.wqkv attention.wo feed_forward.w1 feed_forward.w2 feed_forward.w3",
        "model.tok_embeddings output",
    ),
}
_MINICPMV = {  # family -> the layers of its language model
    "minicpmv25": _LLAMA,
    "minicpmv26": _LLAMA,
}
_SIGLIP = "self_attn.k_proj self_attn.v_proj self_attn.q_proj self_attn.out_proj mlp.fc1 mlp.fc2"


def layer_names(model_type: str | None, family: str | None) -> list[str]:
    """Linear layers and embeddings of one decoder layer and around it; empty for a model that is not known."""
    if family in _MINICPMV:
        llm = [f"llm.model.layers.0.{part}" for part in _MINICPMV[family].split()]
        vision = [f"vpm.encoder.layers.0.{part}" for part in _SIGLIP.split()]
        return [*llm, *vision, "llm.model.embed_tokens", "llm.lm_head", "resampler.kv_proj", "resampler.attn.out_proj"]
    path, parts, outside = _BY_TYPE.get(model_type or "", ("", "", ""))
    return [*(f"{path}.{part}" for part in parts.split()), *outside.split()]
