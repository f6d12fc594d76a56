"""Special tokens that stand in dataset text as plain text. Tokenizers turn them into the real thing."""

from __future__ import annotations

import re

_CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_LLAMA3 = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
# MiniCPM-V: what its dataset code or its processor puts around images (finetune/dataset.py, 0dbb566).
_MINICPMV = ("</image>", "<slice>", "</slice>", "<unk>", "<image_id>", "</image_id>")
_QWEN_VL = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_pad|>")
_INTERNVL = ("<IMG_CONTEXT>", "<img>", "</img>")


def _pattern(*tokens: str) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(t) for t in tokens))


_MINICPMV_PATTERN = _pattern(*_CHATML, *_LLAMA3, *_MINICPMV)
_PATTERNS = {
    "qwen": _pattern(*_CHATML, *_QWEN_VL),
    "internvl": _pattern(*_CHATML, *_INTERNVL),
    "mllama": _pattern(*_LLAMA3, "<|image|>"),
}
# Without a family: tokens that are nothing but special tokens, whoever reads them. HTML-like ones are left out.
_ANY = _pattern(*_CHATML, *_LLAMA3, *_QWEN_VL, "<IMG_CONTEXT>")


def literal_pattern(family: str | None, dialect: str) -> re.Pattern[str]:
    """Pattern of the special tokens of `family`; by the record's dialect when the family is not known."""
    if (family or dialect).startswith("minicpm"):
        return _MINICPMV_PATTERN
    if family:
        return next((p for name, p in _PATTERNS.items() if family.startswith(name)), _ANY)
    return _ANY
