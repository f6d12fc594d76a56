"""The model folders are what their README says: transformers loads them, and their tokens are the family's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

from PIL import Image
from tokenizers import Tokenizer

from lorachk.rehearsal.processor import load_encoder

FIXTURES = Path(__file__).parent.parent / "fixtures"
MODELS = FIXTURES / "models"
BROKEN = FIXTURES / "models-broken"
LLAMA3 = "<|begin_of_text|>"


class Facts(NamedTuple):
    """What a folder must come out as.

    `config` and `processor` are class names, None when only the model's own code would load it. `images` is the number
    of image tokens that the processor makes of 640 x 480 pixels.
    """

    config: str | None
    first: str | None  # token in front of every text
    eos: str
    digits: int  # of which a piece of the pre-tokenizer may consist; 0: it does not split there
    special: tuple[str, ...]
    processor: str | None = None
    image: str = ""
    images: int = 0


MARKERS = ("<image>", "</image>", "<slice>", "</slice>", "<unk>")
IDS = ("<image_id>", "</image_id>")
CHATML = ("<|im_start|>", "<|im_end|>")
TURNS = ("<start_of_turn>", "<end_of_turn>")
HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
VISION = (*CHATML, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
IMG = (*CHATML, "<img>", "</img>", "<IMG_CONTEXT>")

FACTS = {
    "minicpmv-2_0-tiny": Facts(None, "<s>", "</s>", 0, (*MARKERS, "<point>")),
    "minicpmv-2_5-tiny": Facts(None, LLAMA3, "<|end_of_text|>", 3, (*MARKERS, *HEADERS)),
    "minicpmv-2_6-tiny": Facts(None, None, "<|im_end|>", 1, (*MARKERS, *IDS, *CHATML)),
    "minicpmo-2_6-tiny": Facts(None, None, "<|im_end|>", 1, (*MARKERS, *IDS, *CHATML, "<|audio_start|>")),
    "minicpmv-4_0-tiny": Facts(None, "<s>", "<|im_end|>", 0, (*MARKERS, *IDS, *CHATML)),
    "minicpmv-4_5-tiny": Facts(None, None, "<|im_end|>", 1, (*MARKERS, *IDS, *CHATML, "<think>")),
    # tokens of 56 pixels: 9 x 7 for the whole, 7 x 10 for each half
    "minicpmv-4_6-tiny": Facts(
        "MiniCPMV4_6Config", None, "<|im_end|>", 1, CHATML, "MiniCPMV4_6Processor", "<|image_pad|>", 9 * 7 + 2 * 7 * 10
    ),
    "qwen2-tiny": Facts("Qwen2Config", None, "<|im_end|>", 1, CHATML),
    "qwen2-vl-tiny": Facts(
        "Qwen2VLConfig", None, "<|im_end|>", 1, VISION, "Qwen2VLProcessor", "<|image_pad|>", 23 * 17
    ),
    "qwen2_5-vl-tiny": Facts(
        "Qwen2_5_VLConfig", None, "<|im_end|>", 1, VISION, "Qwen2_5_VLProcessor", "<|image_pad|>", 23 * 17
    ),
    "qwen3-vl-tiny": Facts(
        "Qwen3VLConfig", None, "<|im_end|>", 1, VISION, "Qwen3VLProcessor", "<|image_pad|>", 20 * 15
    ),
    "llava-1_5-tiny": Facts("LlavaConfig", "<s>", "</s>", 0, ("<image>", "<pad>"), "LlavaProcessor", "<image>", 576),
    # 24 x 24 for the whole; of the best grid, 48 columns and 36 rows are picture, and each row ends in a newline
    "llava-next-mistral-tiny": Facts(
        "LlavaNextConfig", "<s>", "</s>", 0, ("<image>", "<pad>"), "LlavaNextProcessor", "<image>", 576 + 36 * 49
    ),
    "llava-next-vicuna-tiny": Facts(
        "LlavaNextConfig", "<s>", "</s>", 0, ("<image>", "<pad>"), "LlavaNextProcessor", "<image>", 576 + 36 * 49
    ),
    # 27 x 27 for the whole; of 768 x 768, 54 columns, 40 rows are picture
    "llava-onevision-tiny": Facts(
        *("LlavaOnevisionConfig", None, "<|im_end|>", 1, (*CHATML, "<image>", "<video>")),
        *("LlavaOnevisionProcessor", "<image>", 729 + 40 * 55),
    ),
    "internvl2-tiny": Facts(None, "<s>", "</s>", 0, IMG),
    "internvl2_5-tiny": Facts(None, None, "<|im_end|>", 1, IMG),
    "internvl3-hf-tiny": Facts(
        "InternVLConfig", None, "<|im_end|>", 1, IMG, "InternVLProcessor", "<IMG_CONTEXT>", 256 * (4 * 3 + 1)
    ),
    "gemma2-tiny": Facts("Gemma2Config", "<bos>", "<eos>", 0, TURNS),
    "gemma3-tiny": Facts(
        *("Gemma3Config", "<bos>", "<eos>", 0, (*TURNS, "<start_of_image>", "<end_of_image>")),
        *("Gemma3Processor", "<image_soft_token>", 256),
    ),
    "paligemma-tiny": Facts(
        "PaliGemmaConfig", "<bos>", "<eos>", 0, ("<loc0000>", "<seg127>"), "PaliGemmaProcessor", "<image>", 256
    ),
    "smolvlm-tiny": Facts(
        *("Idefics3Config", None, "<end_of_utterance>", 1, ("<fake_token_around_image>", "<row_6_col_6>")),
        *("Idefics3Processor", "<image>", 81 * (4 * 3 + 1)),
    ),
    "idefics3-tiny": Facts(
        *("Idefics3Config", LLAMA3, "<|end_of_text|>", 3, ("<fake_token_around_image>", "<end_of_utterance>")),
        *("Idefics3Processor", "<image>", 169 * (4 * 3 + 1)),
    ),
    "mllama-tiny": Facts("MllamaConfig", LLAMA3, "<|eot_id|>", 3, HEADERS, "MllamaProcessor", "<|image|>", 1),
    "glm4v-tiny": Facts(
        *("Glm4vConfig", None, "<|endoftext|>", 3, ("[gMASK]", "<sop>", "<|user|>", "<|begin_of_image|>")),
        *("Glm4vProcessor", "<|image|>", 23 * 17),
    ),
    "llama3-tiny": Facts("LlamaConfig", LLAMA3, "<|eot_id|>", 3, HEADERS),
}
NATIVE = [name for name, facts in FACTS.items() if facts.config]
WITH_IMAGES = [name for name, facts in FACTS.items() if facts.processor]
# What transformers finds no class of its own for; its general class reads tokenizer.json all the same.
OWN_TOKENIZER = {"minicpmo-2_6-tiny", "internvl2-tiny"}
TEXT = "What's  in image 3? naïve e\u0301\n\n 中文 <b>ok</b> 2024"


@cache
def tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    load = PreTrainedTokenizerFast if name in OWN_TOKENIZER else AutoTokenizer
    return load.from_pretrained(MODELS / name, trust_remote_code=False, local_files_only=True)


@cache
def processor(name: str) -> Any:
    return load_encoder(str(MODELS / name), trust=False)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_folder_is_listed() -> None:
    """A folder without facts would be checked by nothing."""
    without_tokenizer = {"qwen2_5-vl-7b", "qwen2_5-7b"}
    folders = {path.name for path in MODELS.iterdir() if path.is_dir()}
    assert folders == FACTS.keys() | without_tokenizer | {"minicpmv-4_6"}
    readme = (MODELS / "README.md").read_text(encoding="utf-8")
    assert [name for name in folders if f"`{name}`" not in readme] == []


def test_the_folders_stay_small() -> None:
    """They are read by people and cloned by everybody."""
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) < 2_000_000


@pytest.mark.parametrize("name", FACTS)
def test_config(name: str) -> None:
    """A config that transformers knows loads; one whose code is missing says so instead of being taken for another."""
    from transformers import AutoConfig

    wanted = FACTS[name].config
    if wanted is None:
        with pytest.raises((ValueError, OSError)):
            AutoConfig.from_pretrained(MODELS / name, trust_remote_code=False)
        assert read(MODELS / name / "config.json")["auto_map"]["AutoConfig"].startswith("configuration_")
    else:
        assert type(AutoConfig.from_pretrained(MODELS / name)).__name__ == wanted


@pytest.mark.parametrize("name", FACTS)
def test_tokenizer(name: str) -> None:
    """transformers and the Rust library make the same ids of a text; so lorachk may use the latter."""
    facts, loaded = FACTS[name], tokenizer(name)
    plain = Tokenizer.from_file(str(MODELS / name / "tokenizer.json"))
    ids = plain.encode(TEXT).ids
    assert loaded(TEXT).input_ids == ids
    front = plain.id_to_token(ids[0])
    assert (front if front == loaded.bos_token else None) == facts.first
    assert loaded.eos_token == facts.eos
    for token in (facts.eos, *facts.special):
        assert plain.encode(token, add_special_tokens=False).tokens == [token]
    config = read(MODELS / name / "config.json")
    text = config.get("text_config", config.get("llm_config", config))
    assert text["vocab_size"] >= plain.get_vocab_size() == len(loaded)


@pytest.mark.parametrize("name", FACTS)
def test_digits_and_spaces_are_cut_as_the_family_cuts_them(name: str) -> None:
    """Numbers are what tokenizers differ in most, and records of charts and receipts are full of them."""
    digits = FACTS[name].digits
    plain = Tokenizer.from_file(str(MODELS / name / "tokenizer.json"))
    if digits:
        pieces = [piece for piece, _ in plain.pre_tokenizer.pre_tokenize_str("a20245")]
        assert pieces == {1: ["a", *"20245"], 3: ["a", "202", "45"]}[digits]
        assert plain.model.byte_fallback is False
    else:
        prefix = "▁" if name in {"minicpmv-2_0-tiny", "minicpmv-4_0-tiny"} or name.startswith("llava") else ""
        assert plain.normalizer.normalize_str("a b") == f"{prefix}a▁b"
        tokens = plain.encode("中", add_special_tokens=False).tokens
        assert [token for token in tokens if token != "▁"] == ["<0xE4>", "<0xB8>", "<0xAD>"]


@pytest.mark.parametrize("name", FACTS)
def test_ids_in_the_config_are_those_of_the_tokenizer(name: str) -> None:
    """An id of the published vocabulary would point nowhere, or at another token."""
    config = read(MODELS / name / "config.json")
    found = {}
    for part in (config, config.get("text_config", {}), config.get("llm_config", {})):
        for field, value in part.items():
            if field.endswith(("token_id", "token_index")) and value is not None:
                found[field] = tokenizer(name).convert_ids_to_tokens(value if isinstance(value, int) else value[0])
    assert all(token in tokenizer(name).added_tokens_encoder for token in found.values()), found
    for field in ("image_token_id", "image_token_index"):
        assert found.get(field, FACTS[name].image) == FACTS[name].image


@pytest.mark.parametrize("name", WITH_IMAGES)
def test_the_processor_expands_an_image(name: str) -> None:
    """The counts that lorachk computes are compared with these processors, so they must be the real ones."""
    facts, made = FACTS[name], processor(name)
    assert type(made).__name__ == facts.processor
    text = made.apply_chat_template([{"role": "user", "content": [{"type": "image"}]}]) if made.chat_template else ""
    ids = made(text=[text or made.image_token], images=[Image.new("RGB", (640, 480))])["input_ids"][0]
    tokens = made.tokenizer.convert_ids_to_tokens(list(ids))
    assert tokens.count(facts.image) == facts.images


@pytest.mark.slow
@pytest.mark.parametrize("name", NATIVE)
def test_a_model_of_the_config_takes_what_the_processor_makes(name: str) -> None:
    """The model counts image features and image tokens itself: it raises where a setting in the folder is wrong."""
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    made = AutoModelForImageTextToText if FACTS[name].processor else AutoModelForCausalLM
    model = made.from_config(AutoConfig.from_pretrained(MODELS / name)).float().eval()
    if FACTS[name].processor:
        encoder = processor(name)
        message = {"role": "user", "content": [{"type": "image"}]}
        text = encoder.apply_chat_template([message]) if encoder.chat_template else encoder.image_token
        batch = encoder(text=[text], images=[Image.new("RGB", (640, 480))], return_tensors="pt")
    else:
        batch = tokenizer(name)([TEXT], return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits
    assert logits.shape[:2] == batch["input_ids"].shape


IMAGE_AND_TEXT = [{"type": "image"}, {"type": "text", "text": " Which colour? "}]
ANSWER = [{"type": "text", "text": "Red."}]
STRINGS = [{"role": "user", "content": " Which colour? "}, {"role": "assistant", "content": "Red."}]
PARTS = [{"role": "user", "content": IMAGE_AND_TEXT}, {"role": "assistant", "content": ANSWER}]
HELPFUL = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
IN_CHATML = "<|im_start|>user\n{} Which colour? <|im_end|>\n<|im_start|>assistant\nRed.<|im_end|>\n"
IN_LLAMA3 = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nRed.<|eot_id|>"
)
SEEN = "<|vision_start|><|image_pad|><|vision_end|>"

RENDERED = {
    "minicpmv-2_5-tiny": IN_LLAMA3.format("Which colour?") + "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "minicpmv-2_6-tiny": HELPFUL + IN_CHATML.format(""),
    "minicpmo-2_6-tiny": HELPFUL + IN_CHATML.format(""),
    "minicpmv-4_0-tiny": IN_CHATML.format(""),
    "minicpmv-4_5-tiny": IN_CHATML.format("").replace("Red.", "<think>\n\n</think>\n\nRed."),
    "minicpmv-4_6-tiny": IN_CHATML.format("<|image_pad|>"),
    "qwen2-tiny": IN_CHATML.format(""),
    "qwen2-vl-tiny": HELPFUL + IN_CHATML.format(SEEN),
    "qwen2_5-vl-tiny": HELPFUL + IN_CHATML.format(SEEN),
    "qwen3-vl-tiny": IN_CHATML.format(SEEN),
    "llava-1_5-tiny": "USER: <image>\n Which colour?  ASSISTANT: Red. ",
    "llava-next-vicuna-tiny": "USER: <image>\n Which colour?  ASSISTANT: Red. ",
    "llava-next-mistral-tiny": "[INST] <image>\n Which colour?  [/INST] Red.<\\s> ",
    "llava-onevision-tiny": "<|im_start|>user <image>\n Which colour? <|im_end|><|im_start|>assistant \nRed.<|im_end|>",
    "internvl2-tiny": "<s>" + IN_CHATML.format(""),
    "internvl2_5-tiny": HELPFUL.replace("You are", "You are Qwen, created by Alibaba Cloud. You are")
    + IN_CHATML.format(""),
    "internvl3-hf-tiny": IN_CHATML.format("<IMG_CONTEXT>\n"),
    "gemma2-tiny": "<bos><start_of_turn>user\nWhich colour?<end_of_turn>\n<start_of_turn>model\nRed.<end_of_turn>\n",
    "gemma3-tiny": "<bos><start_of_turn>user\n<start_of_image>Which colour?<end_of_turn>\n"
    "<start_of_turn>model\nRed.<end_of_turn>\n",
    "smolvlm-tiny": "<|im_start|>User:<image> Which colour? <end_of_utterance>\nAssistant: Red.<end_of_utterance>\n",
    "idefics3-tiny": "<|begin_of_text|>User:<image> Which colour? <end_of_utterance>\n"
    "Assistant: Red.<end_of_utterance>\n",
    "mllama-tiny": IN_LLAMA3.format("<|image|> Which colour? "),
    "glm4v-tiny": "[gMASK]<sop><|user|>\n<|begin_of_image|><|image|><|end_of_image|> Which colour? <|assistant|>\n{}",
    "llama3-tiny": IN_LLAMA3.format("Which colour?"),
}


@pytest.mark.parametrize("name", FACTS)
def test_template(name: str) -> None:
    """What a dialogue becomes: whole, so that a space that is lost shows."""
    encoder = processor(name) if FACTS[name].processor else tokenizer(name)
    if name not in RENDERED:
        assert name in {"minicpmv-2_0-tiny", "paligemma-tiny"}
        assert encoder.chat_template is None
        return
    dialogue = PARTS if FACTS[name].processor else STRINGS
    if name == "glm4v-tiny":  # its answers are strings
        dialogue = [PARTS[0], STRINGS[1]]
    assert encoder.apply_chat_template(dialogue, tokenize=False) == RENDERED[name].replace("{}", "Red.")


@pytest.mark.parametrize(("name", "dialogue"), [("gemma2-tiny", STRINGS), ("mllama-tiny", PARTS)])
def test_a_template_may_refuse_a_system_message(name: str, dialogue: list[Any]) -> None:
    """These do, in their own words; lorachk must survive it."""
    from jinja2.exceptions import TemplateError

    system = {"role": "system", "content": "Be short."}
    with pytest.raises(TemplateError, match=r"[Ss]ystem"):
        tokenizer(name).apply_chat_template([system, *dialogue], tokenize=False)


def test_gemma3_folds_the_system_message_into_the_question() -> None:
    """It has no system role, and does not refuse one."""
    text = tokenizer("gemma3-tiny").apply_chat_template(
        [{"role": "system", "content": "Be short."}, *STRINGS], tokenize=False
    )
    assert text.startswith("<bos><start_of_turn>user\nBe short.\n\nWhich colour?<end_of_turn>")


@pytest.mark.parametrize("name", ["llava-1_5-tiny", "llava-onevision-tiny"])
def test_llava_marks_what_the_assistant_says(name: str) -> None:
    """Templates with {% generation %} are rare; TRL's assistant-only loss works with these."""
    encoder = processor(name)
    loaded = tokenizer(name)
    encoded = loaded.apply_chat_template(
        PARTS,
        chat_template=encoder.chat_template,
        return_assistant_tokens_mask=True,
        return_dict=True,
        tokenize=True,
    )
    said = [i for i, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert loaded.decode(said).strip() == "Red."


def test_broken_models_are_rebuilt_byte_for_byte(tmp_path: Path) -> None:
    """Otherwise nobody can tell which one thing is wrong with them."""
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    subprocess.run([sys.executable, FIXTURES / "build_broken_models.py", tmp_path], check=True, env=environment)
    built = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(BROKEN): path for path in BROKEN.rglob("*") if path.is_file()}
    assert kept.keys() - built.keys() == {Path("README.md")}
    assert [name for name, path in built.items() if path.read_bytes() != kept[name].read_bytes()] == []


def test_broken_models_are_broken_as_they_say() -> None:
    """Each has its one mistake, in the place that a finding is to name."""
    from jinja2.exceptions import TemplateSyntaxError
    from transformers import AutoTokenizer

    with pytest.raises(json.JSONDecodeError):
        read(BROKEN / "tokenizer-cut-off/tokenizer.json")

    foreign = Tokenizer.from_file(str(BROKEN / "tokenizer-of-another-family/tokenizer.json"))
    assert {token: foreign.token_to_id(token) for token in MARKERS} == dict.fromkeys(MARKERS)
    assert read(BROKEN / "tokenizer-of-another-family/config.json")["version"] == 2.6

    with pytest.raises(TemplateSyntaxError):
        AutoTokenizer.from_pretrained(BROKEN / "template-syntax-error").apply_chat_template(STRINGS, tokenize=False)

    masks, texts = {}, {}
    for kind in ("without", "with"):
        loaded = AutoTokenizer.from_pretrained(BROKEN / f"template-{kind}-generation")
        options: dict[str, Any] = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
        masks[kind] = sum(loaded.apply_chat_template(STRINGS, **options)["assistant_masks"])
        texts[kind] = loaded.apply_chat_template(STRINGS, tokenize=False)
    assert masks["without"] == 0 < masks["with"]
    assert texts["without"] == texts["with"]

    assert AutoTokenizer.from_pretrained(BROKEN / "template-missing").chat_template is None

    small = BROKEN / "vocabulary-too-small"
    entries = Tokenizer.from_file(str(small / "tokenizer.json")).get_vocab_size()
    assert entries > read(small / "config.json")["vocab_size"]
