"""Target modules told from the names in a checkpoint, where the model cannot be built."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from lorachk.engine import session
from lorachk.engine.select import Selection
from lorachk.facts import weights
from lorachk.facts.collector import NotCollected, Options
from lorachk.families.layers import layer_names
from lorachk.launchers.resolve import ResolveOptions, resolve

ROOT = Path(__file__).parent.parent
LAYER = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")
TENSORS = {
    **{f"llm.model.layers.{i}.{part}.weight": [8, 8] for i in range(2) for part in LAYER},
    **{f"vpm.encoder.layers.0.{part}.weight": [8, 8] for part in ("self_attn.q_proj", "self_attn.v_proj")},
    "llm.model.embed_tokens.weight": [100, 8],
    "llm.model.layers.0.input_layernorm.weight": [8],
    "vpm.embeddings.patch_embedding.weight": [8, 3, 14, 14],
    "resampler.query": [64, 8],
}


def checkpoint(folder: Path, tensors: dict[str, list[int]], **config: Any) -> Path:
    """A model folder of remote code whose weights are all header and zeros."""
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 2
        for part in shape:
            size *= part
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    remote = {"AutoConfig": "configuration_x.XConfig", "AutoModel": "modeling_x.X"}
    whole = {"model_type": "minicpmv", "version": 2.6, "architectures": ["MiniCPMV"], "auto_map": remote, **config}
    (folder / "config.json").write_text(json.dumps(whole))
    return folder


def judged(folder: Path, lora: dict[str, Any], args: str = "", deepspeed: dict[str, Any] | None = None) -> Any:
    """The report of `lorachk model` on a project in `folder` with these LoRA settings."""
    lines = ["[run]", f'model = "{folder / "model"}"']
    if deepspeed:
        (folder / "ds.json").write_text(json.dumps(deepspeed))
        lines.append('deepspeed = "ds.json"')
    if args:
        lines += ["[run.args]", args]
    lines += ["[run.lora]", *(f"{key} = {json.dumps(value)}" for key, value in lora.items())]
    (folder / "lorachk.toml").write_text("\n".join(lines))
    return session.run_command(
        "model",
        resolve(ResolveOptions(toml=str(folder / "lorachk.toml"))),
        options=Options(trace=False),
        selection=Selection(select=("P",)),
        rules=[ROOT / "rules"],
        rehearse=False,
    )


def codes(report: Any) -> list[str]:
    """The codes of its findings."""
    assert (report.internal_errors, report.broken) == ([], [])
    return [finding.rule for finding in report.findings]


def test_names_of_another_family(tmp_path: Path) -> None:
    """MiniCPM-V's own code is not run, so its 17 GB would be loaded only to learn that a name is wrong."""
    checkpoint(tmp_path / "model", TENSORS)
    report = judged(tmp_path, {"r": 8, "target_modules": ["query_key_value"]})
    assert codes(report) == ["P101"]
    assert "q_proj" in report.findings[0].message


def test_one_dead_name(tmp_path: Path) -> None:
    """The other entries match, so PEFT would say nothing."""
    checkpoint(tmp_path / "model", TENSORS)
    assert codes(judged(tmp_path, {"target_modules": ["q_proj", "gate_up_proj"]})) == ["P201"]


def test_the_official_expression(tmp_path: Path) -> None:
    """The script everybody starts from must pass, and P101 must have looked."""
    checkpoint(tmp_path / "model", TENSORS)
    report = judged(tmp_path, {"target_modules": r"llm\..*layers\.\d+\.self_attn\.(q_proj|k_proj|v_proj|o_proj)"})
    assert codes(report) == []
    assert {"P101", "P201", "P104"} <= set(report.passed)


def test_an_expression_for_another_layout_is_not_judged(tmp_path: Path) -> None:
    """The class may put a prefix before the checkpoint's names: a regular expression is then not wrong, but unknown."""
    checkpoint(tmp_path / "model", TENSORS)
    report = judged(tmp_path, {"target_modules": r"model\.llm\..*\.q_proj"})
    assert codes(report) == []
    assert "P101" in {skipped.rule for skipped in report.skipped}


def test_a_bare_name_in_the_frozen_tower(tmp_path: Path) -> None:
    """The tower would be trained although the flag says that it is frozen."""
    checkpoint(tmp_path / "model", TENSORS)
    frozen = "freeze_vision_tower = true"
    assert codes(judged(tmp_path, {"target_modules": ["q_proj"]}, frozen)) == ["P106"]
    excluded = {"target_modules": ["q_proj"], "exclude_modules": "vpm.*"}
    assert codes(judged(tmp_path, excluded, frozen)) == []


def test_containers_and_convolutions(tmp_path: Path) -> None:
    """PEFT stops at both, after the weights are loaded."""
    checkpoint(tmp_path / "model", TENSORS)
    assert codes(judged(tmp_path, {"target_modules": ["self_attn"]})) == ["P104"]
    lora = {"target_modules": ["q_proj", "patch_embedding"]}
    assert codes(judged(tmp_path, lora, deepspeed={"zero_optimization": {"stage": 3}})) == ["P105"]
    assert codes(judged(tmp_path, lora, deepspeed={"zero_optimization": {"stage": 2}})) == []


def test_embedding_rows(tmp_path: Path) -> None:
    """from_pretrained refuses the checkpoint, or PEFT saves the embedding with every adapter."""
    checkpoint(tmp_path / "model", TENSORS, vocab_size=98)
    assert codes(judged(tmp_path, {"target_modules": ["q_proj"]})) == ["P111"]
    checkpoint(tmp_path / "model", TENSORS, vocab_size=100)
    assert codes(judged(tmp_path, {"target_modules": ["q_proj"]})) == []


def test_headers_are_what_the_library_reads(tmp_path: Path) -> None:
    """A misread header makes every rule about names and shapes wrong."""
    safetensors = pytest.importorskip("safetensors")
    folder = checkpoint(tmp_path, TENSORS)
    with safetensors.safe_open(folder / "model.safetensors", "numpy") as file:
        theirs = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    assert {row["name"]: row["shape"] for row in weights.tensors(str(folder))} == theirs


def test_shards_that_are_not_there(tmp_path: Path) -> None:
    """An index without its files still has the names."""
    folder = checkpoint(tmp_path, {"a.weight": [2, 2]})
    index = {"weight_map": {"a.weight": "model.safetensors", "b.weight": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert [(row["module"], row["shape"]) for row in weights.tensors(str(folder))] == [("a", [2, 2]), ("b", None)]


@pytest.mark.parametrize(
    "content",
    [b"", b"12345678", struct.pack("<Q", 1 << 60), struct.pack("<Q", 4) + b"[1,2", struct.pack("<Q", 2) + b"[]",
     struct.pack("<Q", 10) + b'{"a": 123}'],
)  # fmt: skip
def test_a_broken_file(tmp_path: Path, content: bytes) -> None:
    """A download that stopped must be said in words, not as a traceback."""
    folder = checkpoint(tmp_path, TENSORS)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(NotCollected, match=r"model\.safetensors is not a readable"):
        weights.tensors(str(folder))


def test_a_remote_model_without_weights(tmp_path: Path) -> None:
    """The commonest mistake, Llama's names on ChatGLM, needs neither the weights nor the model's own code."""
    (tmp_path / "model").mkdir()
    config = {"model_type": "chatglm", "architectures": ["ChatGLMModel"], "auto_map": {"AutoConfig": "c.ChatGLMConfig"}}
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    report = judged(tmp_path, {"target_modules": ["q_proj", "v_proj"]})
    assert codes(report) == ["P101"]
    assert "query_key_value" in report.findings[0].message
    assert codes(judged(tmp_path, {"target_modules": ["query_key_value"]})) == []


SMALL = {
    "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 4, "n_embd": 8, "n_layer": 1, "n_head": 2, "d_model": 8, "n_layers": 1,
    "n_heads": 2, "ffn_dim": 8, "word_embed_proj_dim": 8, "pad_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "model_type",
    ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "phi", "gpt2", "gpt_neox", "bloom", "falcon",
     "mpt", "opt"],
)  # fmt: skip
def test_usual_names_are_those_of_the_classes(model_type: str) -> None:
    """A name that the class does not have would be called right, or a right one wrong."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    config = transformers.AutoConfig.for_model(model_type)
    for key, value in SMALL.items():
        if hasattr(config, key) and not isinstance(getattr(type(config), key, None), property):
            setattr(config, key, value)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    wrapped = (torch.nn.Linear, torch.nn.Embedding)
    theirs = {n for n, m in model.named_modules() if isinstance(m, wrapped) or type(m).__name__ == "Conv1D"}
    assert set(layer_names(model_type, "text")) - {"embed_out"} == theirs  # a name of before transformers 5
