"""The fixtures are what they say: real classes load them, real steps run on them, and the scripts rebuild them."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from lorachk.rehearsal.processor import load_encoder

FIXTURES = Path(__file__).parent.parent / "fixtures"
MODELS = FIXTURES / "models"
DIALECTS = (
    *("llava", "sharegpt", "openai-parts", "hf-typed", "ms-swift"),
    *("llamafactory-alpaca", "llamafactory-sharegpt", "llamafactory-openai"),
    *("vlm-r1", "qwen-vl-v1", "qwen2_5-vl", "text-only", "minicpmv", "minicpmv-multi", "parquet", "gzip"),
)
CLEAN = ["clean/demo-fixed", *(f"clean/{name}" for name in DIALECTS)]
BROKEN = [f"broken/{name}" for name in DIALECTS]
DATASETS = ["demo", *CLEAN, *BROKEN]
IN_THE_DATA = {"sharegpt", "text-only", "openai-parts", "parquet"}  # no image files
WRITTEN_BY_HAND = {"README.md", "corpus.txt"}


def rebuild(script: str, target: Path) -> None:
    """Run a build script into `target`, with another hash seed than this process."""
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    subprocess.run([sys.executable, FIXTURES / script, target], check=True, env=environment)


def files(folder: Path) -> dict[str, Path]:
    """Relative name to path of every file below."""
    return {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}


def test_models_are_rebuilt_byte_for_byte(tmp_path: Path) -> None:
    """Otherwise nobody can tell whether a changed model folder was meant."""
    pytest.importorskip("tokenizers")
    rebuild("build_models.py", tmp_path)
    built, kept = files(tmp_path), {n: p for n, p in files(MODELS).items() if n not in WRITTEN_BY_HAND}
    assert built.keys() == kept.keys()
    for name, path in built.items():
        assert path.read_bytes() == kept[name].read_bytes(), name


def pixels(path: Path) -> Image.Image | None:
    """The picture, None when it does not decode."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError:
        return None


def records(path: Path) -> list[Any]:
    """What a data file holds; up to where it is cut off."""
    if path.suffix == ".parquet":
        import duckdb

        return duckdb.sql(f"FROM '{path}'").fetchall()
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            return [file.read()] if path.suffix == ".json" else list(file)
        except EOFError:
            return ["cut off"]


def test_datasets_are_rebuilt(tmp_path: Path) -> None:
    """Otherwise the mistakes the demo's README lists could vanish without anyone noticing.

    JPEG, PNG and Parquet bytes differ between versions of the libraries, so pictures are compared by what they show.
    """
    rebuild("build_data.py", tmp_path)
    for dataset in DATASETS:
        for name, built in files(tmp_path / dataset).items():
            kept = FIXTURES / dataset / name
            if built.parent.name != "images":
                if not dataset.endswith(("openai-parts", "/parquet")):  # with PNG bytes inside
                    assert records(built) == records(kept), kept
                continue
            new, old = pixels(built), pixels(kept)
            assert (new is None) == (old is None), kept
            if new is not None and old is not None:
                assert max(ImageStat.Stat(ImageChops.difference(new, old)).mean) < 1, kept
        assert files(tmp_path / dataset / "images").keys() == files(FIXTURES / dataset / "images").keys()


def test_the_demo_has_the_mistakes_its_readme_lists() -> None:
    """The README is what a newcomer compares lorachk's report with."""
    demo = {r["id"]: r for r in json.loads((FIXTURES / "demo/train.json").read_text())}
    clean = {r["id"]: r for r in json.loads((FIXTURES / "clean/demo-fixed/train.json").read_text())}
    assert list(demo) == list(clean)
    assert len(demo) == 40
    readme = (FIXTURES / "demo/README.md").read_text()
    spoilt = {name for name in demo if demo[name] != clean[name]} | {"receipt_08"}
    assert spoilt == set(re.findall(r"`((?:receipt|chart|shapes|table|pair)_\d\d)`", readme))
    assert pixels(FIXTURES / "demo/images/receipt_08.jpg") is None
    assert not (FIXTURES / "demo" / demo["chart_07"]["image"]).exists()


@pytest.mark.parametrize("dataset", [name for name in CLEAN if Path(name).name not in IN_THE_DATA])
def test_every_image_of_a_clean_dataset_decodes(dataset: str) -> None:
    """A clean fixture with a broken image would teach the linter to be silent about it."""
    images = list((FIXTURES / dataset / "images").iterdir())
    assert images
    assert all(pixels(image) is not None for image in images)


@pytest.mark.parametrize(
    ("name", "architecture", "parameters"),
    [
        ("minicpmv-4_6", "MiniCPMV4_6ForConditionalGeneration", 1_300_428_016),
        ("qwen2_5-vl-7b", "Qwen2_5_VLForConditionalGeneration", 8_292_166_656),
        ("qwen2_5-7b", "Qwen2ForCausalLM", 7_615_616_512),
    ],
)
def test_full_size_configs_give_the_published_sizes(name: str, architecture: str, parameters: int) -> None:
    """Memory estimates for these folders would otherwise be those of another model."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.from_pretrained(MODELS / name)
    assert config.architectures == [architecture]
    with torch.device("meta"):
        model = getattr(transformers, architecture)(config)
    assert sum(p.numel() for p in model.parameters()) == parameters


def conversation(record: dict, root: Path) -> list[dict]:
    """A MiniCPM-V record as chat messages with opened images."""
    image = record["image"]
    paths = [image] if isinstance(image, str) else list(image.values())
    parts = [{"type": "image", "image": Image.open(root / path).convert("RGB")} for path in paths]
    turns = record["conversations"]
    first = re.sub(r"<image(_\d+)?>\n", "", turns[0]["content"])
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": first}]}]
    later = [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in turns[1:]]
    return messages + later


@pytest.mark.slow
@pytest.mark.parametrize("name", ["minicpmv-4_6-tiny", "qwen2_5-vl-tiny"])
@pytest.mark.parametrize("record", ["chart_00", "pair_00"])
def test_a_tiny_model_trains_on_a_demo_record(name: str, record: str) -> None:
    """The rehearsal stands on these folders: processor, placeholders and image features must agree."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    root = FIXTURES / "clean/demo-fixed"
    records = {r["id"]: r for r in json.loads((root / "train.json").read_text())}
    processor = load_encoder(str(MODELS / name), trust=False)
    assert processor.image_processor is not None
    messages = conversation(records[record], root)
    batch = processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(MODELS / name)
    model = transformers.AutoModelForImageTextToText.from_config(config)
    assert (batch["input_ids"] == config.image_token_id).sum() > 0
    assert int(batch["input_ids"].max()) < model.get_input_embeddings().num_embeddings
    loss = model(**batch, labels=batch["input_ids"]).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []


def test_the_tiny_text_model_trains() -> None:
    """Text-only rehearsals stand on this folder."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODELS / "qwen2-tiny")
    chat = [{"role": "user", "content": "What is the total? ä€"}, {"role": "assistant", "content": "12.40"}]
    batch = tokenizer.apply_chat_template(chat, return_dict=True, return_tensors="pt")
    text = tokenizer.decode(batch["input_ids"][0])
    assert text == "<|im_start|>user\nWhat is the total? ä€<|im_end|>\n<|im_start|>assistant\n12.40<|im_end|>\n"
    config = transformers.AutoConfig.from_pretrained(MODELS / "qwen2-tiny")
    loss = transformers.AutoModelForCausalLM.from_config(config)(**batch, labels=batch["input_ids"]).loss
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize(("run", "adapted", "saved"), [("demo", 24, []), ("clean/demo-fixed", 150, ["model.merger"])])
def test_launch_scripts_adapt_what_their_readme_says(run: str, adapted: int, saved: list[str]) -> None:
    """A target pattern that matches nothing, or the vision tower too, would make the twin anything but clean."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    peft = pytest.importorskip("peft")
    script = (FIXTURES / run / "finetune_lora.sh").read_text()
    target = re.search(r'--lora_target_modules "(.*)"', script)
    assert target
    assert re.findall(r'--lora_modules_to_save "(.*)"', script) == saved
    config = transformers.AutoConfig.from_pretrained(MODELS / "minicpmv-4_6")
    with torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(config)
        model = peft.get_peft_model(model, peft.LoraConfig(target_modules=target[1], modules_to_save=saved or None))
    names = [name for name, _ in model.named_modules()]
    assert sum(name.endswith(".lora_A") for name in names) == adapted
    assert not [name for name in names if "vision_tower" in name and name.endswith(".lora_A")]
    wrapped = [n for n, m in model.named_modules() if type(m).__name__ == "ModulesToSaveWrapper"]
    assert wrapped == [f"base_model.model.{name}" for name in saved]


def report(command: str, run: str, tmp_path: Path, *options: str) -> dict:
    """The JSON report of a lorachk command on a fixture, with its exit code."""
    from lorachk.cli import main

    output = tmp_path / "report.json"
    toml = FIXTURES / run / "lorachk.toml"
    code = main([command, "--config", str(toml), *options, "--format", "json", "--output", str(output)])
    found: dict = json.loads(output.read_text())
    assert found["exit_code"] == code
    return found


DATA_MISTAKES = {"D105", "D106", "D107", "D109", "D110", "D111", "I101", "I102"}


def test_the_demos_data_mistakes_are_found(tmp_path: Path) -> None:
    """The demo is the first thing a newcomer runs: every listed mistake must show."""
    found = report("data", "demo", tmp_path)
    assert {f["rule"] for f in found["findings"]} >= DATA_MISTAKES
    assert found["exit_code"] == 1


@pytest.mark.parametrize("dataset", CLEAN)
def test_clean_datasets_stay_silent(dataset: str, tmp_path: Path) -> None:
    """False alarms kill a linter."""
    found = report("data", dataset, tmp_path)
    assert [f for f in found["findings"] if f["severity"] != "info"] == []
    assert (found["broken"], found["internal_errors"], found["exit_code"]) == ([], [], 0)
    assert found["facts"]["record"] >= 4
    assert found["facts"]["turn"] >= 4
    if Path(dataset).name not in ("sharegpt", "text-only"):
        assert found["facts"]["image"] >= 4
    assert set(found["passed"]) >= {"D101", "D103", "D104", "D105", "D108", "I101", "I102"}
    if dataset != "clean/sharegpt":  # whose tool calls only ms-swift's agent template can judge
        assert set(found["passed"]) >= {"D106", "D202", "D203"}


@pytest.mark.parametrize("dataset", BROKEN)
def test_broken_datasets_are_told_what_is_wrong(dataset: str, tmp_path: Path) -> None:
    """expected.json says how many offenders each rule must find: no fewer, and none that is not there."""
    found = report("data", dataset, tmp_path)
    counts: Counter[str] = Counter()
    for finding in found["findings"]:
        counts[finding["rule"]] += finding["count"] or 1
        assert finding["locations"], finding
    expected = json.loads((FIXTURES / dataset / "expected.json").read_text())["findings"]
    assert dict(counts) == expected
    assert (found["broken"], found["internal_errors"], found["exit_code"]) == ([], [], 1)


def test_every_folder_of_data_is_tested() -> None:
    """A fixture nobody runs teaches nothing."""
    kept = {f"{p.parent.parent.name}/{p.parent.name}" for p in FIXTURES.glob("*/*/lorachk.toml")}
    others = ("broken/config-", "tokens/")  # test_tokens_fixtures.py runs the latter
    assert {name for name in kept if not name.startswith(others)} == {*CLEAN, *BROKEN}
    size = {name: sum(p.stat().st_size for p in files(FIXTURES / name).values()) for name in [*CLEAN[1:], *BROKEN]}
    assert max(size.values()) < 100_000


@pytest.mark.slow
def test_the_gate_tells_the_demo_from_its_clean_twin(tmp_path: Path) -> None:
    """The same run, right and wrong: the gate must stop one and let the other through."""
    for library in ("torch", "transformers", "peft"):
        pytest.importorskip(library)
    options = ["--no-train", "--no-trace"]
    demo = report("check", "demo", tmp_path, *options)
    assert {f["rule"] for f in demo["findings"]} >= DATA_MISTAKES | {"G106", "Z101", "Z104"}
    twin = report("check", "clean/demo-fixed", tmp_path, *options)
    assert [f for f in twin["findings"] if f["severity"] == "error"] == []
    assert (demo["exit_code"], twin["exit_code"], twin["broken"]) == (1, 0, [])
    assert set(twin["passed"]) >= DATA_MISTAKES | {"G106", "Z101", "Z104"}
