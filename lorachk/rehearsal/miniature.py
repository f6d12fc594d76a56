"""A miniature: the config of the user's own model made small, so that a 70B model has a few million parameters.

Class, module names, flags, tying, patch and merge settings stay; layers, widths and head counts shrink. Works on
`config.to_dict()`, so that it needs no torch. What cannot be known for a class that was never seen is settled by the
control run (`prepare`): a miniature that does not run on its own is not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

Config = dict[str, Any]

_LAYERS = ("num_hidden_layers", "depth", "num_layers", "n_layer", "n_layers")
_HEADS = ("num_attention_heads", "num_heads", "n_head", "n_heads", "attention_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")
# Qwen2-VL's tower is embed_dim wide; its hidden_size is that of the language model.
_WIDTH = ("embed_dim", "hidden_size", "d_model", "n_embd", "hidden_dim")
_INNER = re.compile(r"(^|_)(intermediate_size|intermediate_dim|ffn_dim|n_inner|d_ff|mlp_dim|ffn_hidden_size)$")
_WIDTH_LIKE = re.compile(r"(^|_)(hidden_size|embed_dim|proj_dim|d_model|n_embd|hidden_dim|projection_dim|output_dim)$")
_TOKEN_ID = re.compile(r"(_token_id|_token_ids|_token_index|_token)$")
# Counts and ranks that need no arithmetic with the rest: (largest value in a miniature).
_CAPS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 16,
    "qk_head_dim": 32,
    "v_head_dim": 16,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "full_attention_interval": 2,
    "insert_layer_id": 0,
    "num_nextn_predict_layers": 0,
}
_ROPE = ("rope_parameters", "rope_scaling")
# Sections the model's code assumes when its config does not name them (transformers 5 modeling_qwen2_vl.py).
_MROPE = {"qwen2_vl_text": [16, 24, 24], "qwen2_5_vl_text": [16, 24, 24]}
_TEXT_WIDTH, _VISION_WIDTH, _LAYER_COUNT, _HEAD_DIM = 128, 64, 2, 16
KEPT_VOCABULARY = 8192  # a vocabulary up to this many rows is kept as it is


def shrink(config: Mapping[str, Any]) -> Config:
    """The small config of a big one, as dictionaries of `PretrainedConfig.to_dict()`."""
    text_key = next((k for k in ("text_config", "llm_config", "language_config") if config.get(k)), None)
    text = config[text_key] if text_key else config
    width_text: dict[int, int] = {}
    small_text = _section(text, _TEXT_WIDTH, width_text)
    small = dict(small_text) if text_key is None else _caps(dict(config), _LAYER_COUNT)
    widths_other: dict[int, int] = {}
    for key, value in config.items():
        if key == text_key:
            small[key] = small_text
        elif isinstance(value, Mapping) and _first(value, _LAYERS):
            small[key] = _section(value, _VISION_WIDTH, widths_other, foreign=width_text)
    own = set() if text_key else {k for k in _WIDTH if k in config}
    for key, value in config.items():
        if isinstance(value, int) and _WIDTH_LIKE.search(str(key)) and key not in own:
            towers = re.search(r"mm_|vision|vit|encoder", key)
            small[key] = ({**width_text, **widths_other} if towers else {**widths_other, **width_text}).get(
                value, small[key]
            )
    small.pop("quantization_config", None)
    return small


def _first(section: Mapping[str, Any], names: Iterable[str]) -> str | None:
    return next((n for n in names if isinstance(section.get(n), int) and not isinstance(section[n], bool)), None)


def _section(
    section: Mapping[str, Any], least: int, widths: dict[int, int], foreign: Mapping[int, int] | None = None
) -> Config:
    """One tower: the language model, or a vision or audio encoder. `widths` learns old width -> new width."""
    small: Config = dict(section)
    heads_key, width_key, layers_key = (_first(section, names) for names in (_HEADS, _WIDTH, _LAYERS))
    if not (heads_key and width_key and layers_key):
        return small
    kv_key = _first(section, _KV_HEADS)
    heads, old_width = section[heads_key], section[width_key]
    kept = _kept_layers(section, section[layers_key])
    small[layers_key] = len(kept)
    for key, value in section.items():
        if isinstance(value, (list, tuple)) and len(value) == section[layers_key] > len(kept):
            small[key] = [value[i] for i in kept]
    new_heads, new_kv = _heads(heads, section[kv_key] if kv_key else heads)
    small[heads_key] = new_heads
    if kv_key:
        small[kv_key] = new_kv
    rope: Mapping[str, Any] = next((section[k] for k in _ROPE if isinstance(section.get(k), Mapping)), {})
    partial = _partial_rotary(section, rope)
    head_dim = _HEAD_DIM if partial == 1 else int(2 * _HEAD_DIM)
    head_dim = max(head_dim, -(-least // (new_heads * 8)) * 8)
    width = new_heads * head_dim
    small[width_key] = width
    widths[old_width] = width
    old_head_dim = section.get("head_dim") or section.get("attention_head_dim") or old_width // heads
    for key in ("head_dim", "attention_head_dim", "global_head_dim", "kv_channels"):
        if isinstance(section.get(key), int):
            small[key] = head_dim
    for key, value in section.items():
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        if _INNER.search(str(key)):
            small[key] = 2 * width
        elif key != width_key and _WIDTH_LIKE.search(str(key)):
            small[key] = {**widths, **(foreign or {})}.get(value, small[key])
    if isinstance(section.get("qk_rope_head_dim"), int) and isinstance(section.get("head_dim"), int):
        small["head_dim"] = min(section["qk_rope_head_dim"], _CAPS["qk_rope_head_dim"])
    for key in ("linear_num_key_heads", "linear_num_value_heads"):
        if section.get(key):
            least_heads = min(section["linear_num_key_heads"], section["linear_num_value_heads"])
            small[key] = 2 * section[key] // least_heads
    for key in _ROPE:
        if isinstance(section.get(key), Mapping):
            small[key] = _rope(section[key], int(old_head_dim * partial) // 2, int(head_dim * partial) // 2)
    if section.get("model_type") in _MROPE and not any((small.get(k) or {}).get("mrope_section") for k in _ROPE):
        key = next((k for k in _ROPE if isinstance(small.get(k), Mapping)), _ROPE[0])
        whole = {**(small.get(key) or {}), "mrope_section": _MROPE[section["model_type"]]}
        small[key] = _rope(whole, int(old_head_dim * partial) // 2, int(head_dim * partial) // 2)
    return _caps(small, len(kept))


def _kept_layers(section: Mapping[str, Any], count: int) -> list[int]:
    """Layers that stay: the first of every type, and at least two."""
    types = section.get("layer_types") or []
    kept = sorted({types.index(t) for t in types if isinstance(t, str)}) if len(types) == count else []
    extra = [i for i in range(count) if i not in kept]
    return sorted(kept + extra[: max(0, min(_LAYER_COUNT, count) - len(kept))])


def _heads(heads: int, kv: int) -> tuple[int, int]:
    """Fewer heads with the same number of query heads per key-value head."""
    group = max(1, heads // max(1, kv))
    if group == 1:
        return min(heads, 4), min(heads, 4)
    new_kv = min(kv, 2)
    group = group if group <= 8 else 8
    return new_kv * group, new_kv


def _partial_rotary(section: Mapping[str, Any], rope: Mapping[str, Any]) -> float:
    factor = rope.get("partial_rotary_factor") or section.get("partial_rotary_factor") or section.get("rotary_pct")
    return float(factor) if isinstance(factor, (int, float)) else 1.0


def _rope(rope: Mapping[str, Any], old: int, new: int) -> Config:
    """Rope settings for `new` frequencies where there were `old`: sections keep their shares and sum to `new`."""
    small: Config = {}
    for key, value in rope.items():
        if isinstance(value, Mapping):
            small[key] = _rope(value, old, new)
        elif key == "mrope_section" and isinstance(value, (list, tuple)):
            shares = [max(1, v * new // max(1, sum(value))) for v in value]
            shares[0] += new - sum(shares)
            small[key] = shares
        elif key in ("long_factor", "short_factor") and isinstance(value, (list, tuple)):
            small[key] = list(value)[:new]
        else:
            small[key] = value
    return small


def _caps(section: Config, layers: int) -> Config:
    """Counts, ranks and layer indices that must fit the small model."""
    for key, largest in _CAPS.items():
        if isinstance(section.get(key), int) and not isinstance(section[key], bool):
            section[key] = min(section[key], largest)
    if isinstance(section.get("max_window_layers"), int):
        section["max_window_layers"] = min(section["max_window_layers"], layers)
    for key in ("fullatt_block_indexes", "cross_attention_layers"):
        if section.get(key):
            section[key] = [layers - 1]
    if section.get("deepstack_visual_indexes"):
        section["deepstack_visual_indexes"] = [0]
    if section.get("mlp_only_layers"):
        section["mlp_only_layers"] = [i for i in section["mlp_only_layers"] if i < layers]
    for key in ("vision_feature_layer", "select_layer"):
        value = section.get(key)
        if isinstance(value, int):
            section[key] = max(-layers, min(value, layers))
        elif isinstance(value, list):
            section[key] = [max(-layers, min(v, layers)) for v in value]
    return section


def token_ids(config: Mapping[str, Any]) -> set[int]:
    """Every token id a config names, in all its sections (image_token_id, eos_token_id, ...)."""
    found: set[int] = set()
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= token_ids(value)
        elif _TOKEN_ID.search(str(key)):
            found |= {v for v in (value if isinstance(value, list) else [value]) if _is_id(v)}
    return found


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def vocabulary_size(config: Mapping[str, Any]) -> int | None:
    """Rows of the embedding, wherever the config says it."""
    for section in (config, *(v for k, v in config.items() if k in ("text_config", "llm_config", "language_config"))):
        if isinstance(section, Mapping) and isinstance(section.get("vocab_size"), int):
            size: int = section["vocab_size"]
            if section is not config or not isinstance(config.get("text_config"), Mapping):
                return size
    return None


def compact(size: int, used: Iterable[int]) -> dict[int, int] | None:
    """Old token id -> row of a small embedding; None when the vocabulary is small enough to be kept.

    Ids at or beyond `size` stay out of range, so that a tokenizer that is larger than its model still fails.
    """
    if size <= KEPT_VOCABULARY:
        return None
    inside = sorted({i for i in used if 0 <= i < size})
    table = {old: new for new, old in enumerate(inside)}
    rows = compact_rows(table)
    table.update({old: rows + n for n, old in enumerate(sorted(i for i in set(used) if i >= size))})
    return table


def compact_rows(table: Mapping[int, int]) -> int:
    """Rows of the small embedding, a multiple of 64 with some to spare."""
    return -(-(len(table) + 16) // 64) * 64


def with_vocabulary(config: Mapping[str, Any], table: Mapping[int, int], rows: int) -> Config:
    """The config with its token ids renumbered and `rows` embedding rows."""
    small: Config = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            small[key] = with_vocabulary(value, table, rows)
        elif key == "vocab_size" and isinstance(value, int):
            small[key] = rows
        elif _TOKEN_ID.search(str(key)) and _is_id(value):
            small[key] = table.get(value, value)
        elif _TOKEN_ID.search(str(key)) and isinstance(value, list):
            small[key] = [table.get(v, v) if _is_id(v) else v for v in value]
        else:
            small[key] = value
    return small
