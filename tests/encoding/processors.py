"""transformers' own processors on the fixtures' tokenizers, and our counterpart of each."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from lorachk.facts.encoding.tokenizer import Tokenizer, open_tokenizer
from lorachk.families.visual import Settings, resolve_folder
from tests.visual_oracle import NoVideo, build

MODELS = Path(__file__).parents[2] / "fixtures/models"
# family -> folder, processor class, module and class of the image processor
KINDS = {
    "qwen2_vl": ("qwen2-vl-tiny", "Qwen2VLProcessor", "qwen2_vl", "Qwen2VLImageProcessorPil"),
    "qwen2_5_vl": ("qwen2_5-vl-tiny", "Qwen2_5_VLProcessor", "qwen2_vl", "Qwen2VLImageProcessorPil"),
    "qwen3_vl": ("qwen3-vl-tiny", "Qwen3VLProcessor", "qwen2_vl", "Qwen2VLImageProcessorPil"),
    "llava": ("llava-1_5-tiny", "LlavaProcessor", "clip", "CLIPImageProcessorPil"),
    "llava_next": ("llava-next-mistral-tiny", "LlavaNextProcessor", "llava_next", "LlavaNextImageProcessorPil"),
    "llava_onevision": (
        "llava-onevision-tiny",
        "LlavaOnevisionProcessor",
        "llava_onevision",
        "LlavaOnevisionImageProcessorPil",
    ),
    "internvl": ("internvl3-hf-tiny", "InternVLProcessor", "got_ocr2", "GotOcr2ImageProcessorPil"),
    "gemma3": ("gemma3-tiny", "Gemma3Processor", "gemma3", "Gemma3ImageProcessorPil"),
    "minicpmv46": ("minicpmv-4_6", "MiniCPMV4_6Processor", "minicpmv4_6", "MiniCPMV4_6ImageProcessorPil"),
}


@functools.cache
def pair(family: str, tokenizer_folder: Path | None = None) -> tuple[Any, Tokenizer, Settings]:
    """The real processor, our tokenizer, and our visual settings; the tokenizer is the family's or another folder's."""
    import importlib

    import transformers

    name, processor, module, image = KINDS[family]
    folder = MODELS / name
    kind = getattr(importlib.import_module(f"transformers.models.{module}.image_processing_pil_{module}"), image)
    image_processor = kind.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_folder or folder)
    mine = open_tokenizer(tokenizer_folder or folder)
    said = (
        json.loads((folder / "processor_config.json").read_text())
        if (folder / "processor_config.json").is_file()
        else {}
    )
    options = {
        key: said[key]
        for key in ("patch_size", "num_additional_image_tokens", "vision_feature_select_strategy", "image_seq_length",
                    "num_image_tokens", "vision_aspect_ratio")
        if key in said
    }  # fmt: skip
    if "video_processor" in getattr(transformers, processor).get_attributes():
        options["video_processor"] = NoVideo(image_processor)
    real = build(
        getattr(transformers, processor),
        image_processor=image_processor,
        tokenizer=tokenizer,
        chat_template=mine.processor_template,
        **options,
    )
    settings = resolve_folder(family, folder)
    assert settings is not None
    return real, mine, settings
