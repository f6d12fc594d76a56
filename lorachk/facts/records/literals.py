"""Special tokens that stand in dataset text as plain text. Tokenizers turn them into the real thing.

Per family: the special tokens of its tokenizer and what its processor puts around images, other than the placeholder
that datasets use. Left out: markup that datasets of the family hold on purpose (<box>, <ref>, <quad>, <loc0042>).
Without a family only tokens that nobody writes by chance; `<s>`, `<img>` and `<image_id>` also are HTML or XML.
"""

from __future__ import annotations

import re
from functools import cache

_CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_LLAMA3 = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_LLAMA3_TOOLS = ("<|eom_id|>", "<|python_tag|>", "<|finetune_right_pad_id|>")
_QWEN_VL = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_pad|>")
_PHI = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>")
_IDEFICS = ("<end_of_utterance>", "<fake_token_around_image>", "<global-img>")
_GEMMA = ("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>")
_MISTRAL = ("[INST]", "[/INST]")  # also the text of Llama 2's template
# MiniCPM-V: what its dataset code or its processor puts around images (finetune/dataset.py, 0dbb566).
_MINICPMV = ("</image>", "<slice>", "</slice>", "<unk>", "<image_id>", "</image_id>")
_IMAGE = (*_QWEN_VL, "<IMG_CONTEXT>", "<image_soft_token>", "<|begin_of_image|>", "<|end_of_image|>")

# By the start of the family's name; the longest one that fits.
_FAMILIES: dict[str, tuple[str, ...]] = {
    "minicpm": (*_CHATML, *_LLAMA3, *_MINICPMV),
    "qwen": (*_CHATML, *_QWEN_VL),
    "internvl": (*_CHATML, "<IMG_CONTEXT>", "<img>", "</img>"),
    "llava": ("</s>", *_CHATML, *_MISTRAL),
    "mllama": (*_LLAMA3, *_LLAMA3_TOOLS, "<|image|>"),
    "gemma3": (*_GEMMA, "<start_of_image>", "<end_of_image>", "<image_soft_token>"),
    "gemma4": (*_GEMMA[2:], "<|turn>", "<turn|>", "<|image>", "<image|>", "<|image|>"),
    "paligemma": _GEMMA[2:],
    "idefics": (*_IDEFICS, *_CHATML),
    "smolvlm": (*_IDEFICS, *_CHATML),
    "phi": _PHI,
    "glm4v": (*_PHI[:3], "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|image|>", "[gMASK]", "<sop>"),
    "pixtral": (*_MISTRAL, "[IMG]", "[IMG_BREAK]", "[IMG_END]", "</s>"),
}
_ANY = (*_CHATML, *_LLAMA3, *_IMAGE, "<start_of_turn>", "<end_of_turn>", "<end_of_utterance>", *_MISTRAL)


def literal_pattern(family: str | None, dialect: str) -> re.Pattern[str]:
    """Pattern of the special tokens of `family`; by the record's dialect when the family is not known."""
    return _compiled(_tokens(family, dialect))


def _tokens(family: str | None, dialect: str) -> tuple[str, ...]:
    name = family or dialect
    if family or name.startswith("minicpm"):
        for start in sorted(_FAMILIES, key=len, reverse=True):
            if name.startswith(start):
                return _FAMILIES[start]
    return _ANY


@cache
def _compiled(tokens: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(token) for token in tokens))
