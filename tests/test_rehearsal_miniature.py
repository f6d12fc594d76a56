"""Miniatures: a config of any size becomes one of a few million parameters and stays the same kind of model."""

import json

import pytest

from lorachk.rehearsal import miniature

QWEN_VL = {
    "model_type": "qwen2_5_vl",
    "image_token_id": 151655,
    "tie_word_embeddings": True,
    "text_config": {
        "model_type": "qwen2_5_vl_text",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "eos_token_id": 151645,
        "layer_types": ["full_attention"] * 28,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
}


def test_what_decides_the_token_count_of_an_image_stays():
    """Else the processor's image tokens would not agree with the model, and every rehearsal of images would fail."""
    vision = miniature.shrink(QWEN_VL)["vision_config"]
    assert [vision[k] for k in ("patch_size", "spatial_merge_size", "window_size")] == [14, 2, 112]


def test_heads_and_rope_sections_stay_consistent():
    """Else the miniature would crash by itself and nothing could be rehearsed."""
    text = miniature.shrink(QWEN_VL)["text_config"]
    assert text["num_attention_heads"] // text["num_key_value_heads"] == 7
    assert text["hidden_size"] % text["num_attention_heads"] == 0
    head = text["hidden_size"] // text["num_attention_heads"]
    assert sum(text["rope_parameters"]["mrope_section"]) == head // 2
    assert len(text["layer_types"]) == text["num_hidden_layers"] == 2


def test_the_vision_tower_ends_in_the_width_of_the_language_model():
    """Else image features could not be put among the token embeddings."""
    small = miniature.shrink(QWEN_VL)
    assert small["vision_config"]["out_hidden_size"] == small["text_config"]["hidden_size"]
    assert small["vision_config"]["fullatt_block_indexes"] == [1]


def test_every_kind_of_layer_stays():
    """Else a failure that only linear-attention or only full-attention layers have would stay hidden."""
    types = (["linear_attention"] * 3 + ["full_attention"]) * 6
    small = miniature.shrink({**QWEN_VL["text_config"], "num_hidden_layers": 24, "layer_types": types})
    assert small["layer_types"] == ["linear_attention", "full_attention"]


def test_flags_stay():
    """tie_word_embeddings decides failures of saving and merging."""
    assert miniature.shrink(QWEN_VL)["tie_word_embeddings"] is True


def test_a_large_vocabulary_is_renumbered_with_the_ids_the_config_names():
    """Else image_token_id would point nowhere and the images would be lost."""
    table = miniature.compact(152064, {5, 151655, 151645})
    assert table is not None
    rows = miniature.compact_rows(table)
    small = miniature.with_vocabulary(QWEN_VL, table, rows)
    assert small["image_token_id"] == table[151655] < rows < 200
    assert small["text_config"]["eos_token_id"] == table[151645]
    assert small["text_config"]["vocab_size"] == rows


def test_an_id_beyond_the_vocabulary_stays_beyond_it():
    """A tokenizer with more tokens than the embedding has rows must still fail in the rehearsal."""
    table = miniature.compact(152064, {5, 160000})
    assert table is not None
    assert table[160000] >= miniature.compact_rows(table)


def test_a_small_vocabulary_is_kept():
    assert miniature.compact(4096, {1, 2}) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "loader"),
    [
        ("minicpmv4_6", "AutoModelForImageTextToText"),
        ("qwen2_5_vl", "AutoModelForImageTextToText"),
        ("qwen2_vl", "AutoModelForImageTextToText"),
        ("llava", "AutoModelForImageTextToText"),
        ("qwen2", "AutoModelForCausalLM"),
        ("qwen3_moe", "AutoModelForCausalLM"),
        ("llama", "AutoModelForCausalLM"),
        ("mistral", "AutoModelForCausalLM"),
        ("deepseek_v3", "AutoModelForCausalLM"),
    ],
)
def test_a_miniature_of_a_default_config_trains(kind, loader):
    """Families whose miniature does not run are not rehearsed at all."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.CONFIG_MAPPING[kind]()
    small = miniature.shrink(config.to_dict())
    size = miniature.vocabulary_size(small)
    table = miniature.compact(size, miniature.token_ids(small) | set(range(100)))
    small = miniature.with_vocabulary(small, table, miniature.compact_rows(table))
    json.dumps({k: v for k, v in small.items() if k != "dtype"}, default=str)
    torch.manual_seed(0)
    model = getattr(transformers, loader).from_config(type(config).from_dict(small))
    assert sum(p.numel() for p in model.parameters()) < 8e6
    ids = torch.randint(20, 60, (2, 12))
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    assert torch.isfinite(loss)
