"""Closed formulas for the activations of a decoder-only text model, for when it cannot be traced.

bf16 activations, frozen base, flash attention, adapter dropout 0; after what transformers' eager layers of the Llama
type keep for backward. Held against the trace of Qwen2.5-7B in tests/test_memory_formula.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ATTENTION_IN, _FEED_IN = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")


def layer(config: Any, adapted: Mapping[str, int]) -> int:
    """Bytes per token that one decoder layer keeps for backward. `adapted`: last name part of the adapted linears in a
    layer to LoRA rank."""
    h, ffn, q, kv, heads = _sizes(config)
    kept = 8 * h + 8  # two RMSNorms keep fp32 copies of their inputs and their row statistics
    kept += 2 * h * any(name in adapted for name in _ATTENTION_IN)
    kept += 2 * h * any(name in adapted for name in _FEED_IN)
    kept += 4 * q + 4 * kv + 4 * heads  # rotated q, k, v, attention output, log-sum-exp
    kept += 6 * ffn + 2 * ffn * ("down_proj" in adapted)  # gate, silu(gate), up; their product
    return kept + 2 * sum(adapted.values())


def peaks(config: Any, adapted: Mapping[str, int], tokens: int, *, checkpointing: bool) -> dict[str, int]:
    """Bytes of activations at the peak of each phase of the step for `tokens` tokens in the micro batch.

    The logits take 10 bytes per vocabulary entry forward (bf16, float, log-softmax) and 12 in the backward of the loss.
    """
    h, ffn, q, kv, _ = _sizes(config)
    layers, vocabulary = config.num_hidden_layers, config.vocab_size
    full = layer(config, adapted)
    held = layers * 2 * h if checkpointing else layers * full
    transient = 4 * ffn + 4 * q + (4 * q if kv != q else 0)
    inside = (full if checkpointing else 0) + transient
    each = {"forward": held + 4 * h + 10 * vocabulary, "loss": held + 4 * h + 12 * vocabulary, "layers": held + inside}
    return {phase: size * tokens for phase, size in each.items()}


def _sizes(config: Any) -> tuple[int, int, int, int, int]:
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    return config.hidden_size, config.intermediate_size, heads * width, groups * width, heads
