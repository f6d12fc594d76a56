"""Facts about the model come from the real classes and the real PEFT; a wrong one makes rules pass over a dead run."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

pytest.importorskip("torch")

from lorachk.facts.collector import Context, NotCollected
from lorachk.facts.model import collect
from lorachk.run import Location, Run

TEXT = {
    "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 1000, "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "dtype": "bfloat16",
}  # fmt: skip
VISION = {
    "model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"], "image_token_id": 990,
    "video_token_id": 991, "vision_start_token_id": 992, "vision_end_token_id": 993,
    "text_config": {
        **{k: v for k, v in TEXT.items() if k not in ("model_type", "architectures")}, "model_type": "qwen2_5_vl_text",
        "rope_scaling": {"type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
    },
    "vision_config": {
        "model_type": "qwen2_5_vl_vision", "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4,
        "out_hidden_size": 64, "fullatt_block_indexes": [1],
    },
}  # fmt: skip


class Facts:
    def __init__(self):
        self.rows = defaultdict(list)
        self.reasons = {}

    def add(self, table, rows):
        self.rows[table] += rows

    def unknown(self, fact, reason, count=None):
        self.reasons[fact] = reason


@pytest.fixture
def look(tmp_path):
    def run(config, **settings):
        (tmp_path / "config.json").write_text(json.dumps(config))
        facts = Facts()
        collect(Context(Run(model=str(tmp_path), **settings), facts))
        return facts

    return run


def elements(facts, **wanted):
    rows = [r for r in facts.rows["parameter"] if r["tied_to"] is None]
    return sum(r["numel"] for r in rows if all(r.get(k) == v for k, v in wanted.items()))


def test_lora_parameters_are_found_trained_and_saved(look):
    facts = look(TEXT, bf16=True, use_lora=True, lora_r=4, target_modules=["q_proj", "v_proj"])
    # q: 64 -> 64, v: 64 -> 32, two layers
    assert elements(facts, requires_grad=True) == 2 * 4 * (64 + 64 + 64 + 32)
    assert elements(facts, requires_grad=True) == elements(facts, adapter=True, saved=True)
    # PEFT makes adapters fp32 over a half-precision base
    assert {r["dtype"] for r in facts.rows["parameter"] if r["adapter"]} == {"float32"}
    assert {r["dtype"] for r in facts.rows["parameter"] if not r["adapter"]} == {"bfloat16"}
    adapted = [m["name"] for m in facts.rows["module"] if m["adapted"]]
    assert sorted(adapted) == [f"model.layers.{i}.self_attn.{p}_proj" for i in (0, 1) for p in ("q", "v")]


def test_targets_that_match_nothing_name_what_was_meant(look):
    place = Location("adapter_config.json", 3, 5, "/target_modules")
    facts = look(TEXT, use_lora=True, target_modules=["query_key_value"], origins={"target_modules": place})
    (row,) = facts.rows["target"]
    assert (row["matched"], row["near_miss"]) == (0, "q_proj, k_proj, v_proj")
    assert row["place"]["line"] == 3
    assert "not found in the base model" in facts.reasons["parameter.requires_grad"]
    assert facts.rows["parameter"], "what is known of the base model is kept"


def test_a_regular_expression_of_another_layout_gets_paths_of_this_model(look):
    facts = look(TEXT, use_lora=True, target_modules=[r"llm\..*self_attn\.(q_proj|k_proj)"], target_regex=True)
    assert facts.rows["target"][0]["near_miss"] == "model.layers.*.self_attn.q_proj, model.layers.*.self_attn.k_proj"


def test_modules_to_save_are_trained_in_full_and_dead_entries_show(look):
    facts = look(VISION, use_lora=True, target_modules=["q_proj"], modules_to_save=["merger", "resampler"])
    matched = {r["entry"]: r["matched"] for r in facts.rows["target"] if r["kind"] == "modules_to_save"}
    assert matched == {"merger": 1, "resampler": 0}
    assert elements(facts, component="resampler", requires_grad=True, saved=True, adapter=False) > 0
    assert [m["name"] for m in facts.rows["module"] if m["saved_whole"]] == ["model.visual.merger"]


def test_bare_names_that_also_hit_the_vision_tower_show(look):
    facts = look(VISION, use_lora=True, target_modules=["q_proj", "qkv"])
    assert elements(facts, component="vision", requires_grad=True) > 0


def test_llamafactory_leaves_the_frozen_tower_out_of_all(look):
    facts = look(VISION, trainer="llamafactory", use_lora=True, target_modules=["all"])
    assert elements(facts, component="llm", requires_grad=True) > 0
    assert elements(facts, component="vision", requires_grad=True) == 0
    assert elements(facts, component="resampler", requires_grad=True) == 0


def test_minicpmv_trains_embeddings_whatever_the_flags_say(look):
    facts = look(TEXT, trainer="minicpmv", use_lora=True, tune_vision=False, target_modules=["q_proj"])
    assert elements(facts, component="embedding", requires_grad=True, saved=True) == 64 * 1000


def test_four_bit_weights_count_packed(look):
    facts = look(TEXT, use_lora=True, load_in_4bit=True, trainer="llamafactory", target_modules=["q_proj"])
    packed = [r for r in facts.rows["parameter"] if r["dtype"] == "uint8"]
    assert len(packed) == 2 * 7
    # half a byte per element, one float per 64
    assert sum(r["bytes"] for r in packed) == sum(r["numel"] // 2 + r["numel"] // 64 * 4 for r in packed)


def test_tied_head_names_its_embedding(look):
    facts = look({**TEXT, "tie_word_embeddings": True}, use_lora=False)
    assert [r["tied_to"] for r in facts.rows["parameter"] if r["component"] == "head"] == ["model.embed_tokens.weight"]


def test_nothing_said_about_an_adapter_is_unknown_not_trained(look):
    facts = look(TEXT)
    assert "parameter.requires_grad" in facts.reasons
    assert all("requires_grad" not in r for r in facts.rows["parameter"])


def test_remote_code_does_not_run_unasked(look, tmp_path):
    (tmp_path / "modeling_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "modeling_evil.C", "AutoModel": "modeling_evil.M"}}
    with pytest.raises(NotCollected, match="--trust-remote-code"):
        look(config)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"model_type": "nobody"}', '{"model_type": "qwen2", "hidden_size": "x"}']
)
def test_bad_config_is_a_reason_not_a_traceback(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(NotCollected):
        collect(Context(Run(model=str(tmp_path), use_lora=True), Facts()))
