"""Special tokens in text: found where they are the model's, and nowhere else."""

from __future__ import annotations

import pytest

from lorachk.facts.records.literals import literal_pattern

MARKUP = (
    "<b>a</b> <img src='a.png'> <s>struck</s> <p/> a<b>c <br> <image> <box>1 2</box> <ref>cat</ref> <quad> <loc0042> "
    "<|> <||> |im_end| im_end <im_end> [INST [IMAGE] <user> <tool_call> <think></think> <unknown> <end>"
)


@pytest.mark.parametrize(
    ("family", "token"),
    [
        *(("qwen2_5_vl", "<|image_pad|>"), ("qwen3_vl", "<|im_end|>"), ("internvl", "<IMG_CONTEXT>")),
        *(("mllama", "<|image|>"), ("mllama", "<|eot_id|>"), ("gemma3", "<start_of_image>"), ("llava", "</s>")),
        *(("idefics", "<end_of_utterance>"), ("phi_vision", "<|end|>"), ("paligemma", "<bos>")),
        *(("minicpmv26", "</image>"), ("minicpmv25", "<|eot_id|>"), ("llava_next", "[/INST]")),
        *(("glm4v", "<|begin_of_image|>"), ("text", "<|im_start|>"), (None, "<|vision_start|>"), (None, "[INST]")),
    ],
)
def test_a_familys_own_token_is_found(family: str | None, token: str):
    """It would reach the tokenizer as the real token, and nobody would know."""
    assert literal_pattern(family, "messages").findall(f"what is {token}here?") == [token]


@pytest.mark.parametrize("family", ["qwen2_vl", "gemma3", "mllama", "idefics", "phi_vision", "text", None])
def test_markup_is_no_token(family: str | None):
    """A dataset of web pages would be full of findings."""
    assert literal_pattern(family, "messages").findall(MARKUP) == []


def test_the_dialect_tells_minicpmv_without_a_family():
    """`lorachk data train.json` alone has to find a stray `</image>`; in another dialect it is XML."""
    assert literal_pattern(None, "minicpmv").findall("</image>") == ["</image>"]
    assert literal_pattern(None, "llava").findall("</image>") == []


def test_the_first_qwen_vls_paths_are_its_placeholder():
    """Every record of its format has them."""
    assert literal_pattern("qwen2_vl", "qwen-vl").findall("<img>a.jpg</img>") == []
