"""Small tokenizer folders for tests: byte-level BPE on a few sentences, special tokens as families have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lorachk.facts.encoding.rust import _QWEN2

CORPUS = [
    "system user assistant tool human gpt What is in this image? A cat sits on the mat, and 12 dogs run.",
    "You are a helpful assistant. The stamp moved; the total is 148.20 EUR.\nRead the label, please!\n\n",
    "def f(x):\n    return x ** 2\n",
    "Übergröße façade 猫が座っている。 Ελλάδα",
    "think step by step, then answer",
]
QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
MINICPM26 = ("<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "</image>", "<slice>", "</slice>")
MINICPM26 = (*MINICPM26, "<image_id>", "</image_id>", "<ref>", "</ref>", "<box>", "</box>")
LLAMA3 = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
MINICPM25 = (*LLAMA3, "<unk>", "<image>", "</image>", "<slice>", "</slice>")
LLAMA2 = ("<unk>", "<s>", "</s>")


def write(
    folder: Path,
    special: tuple[str, ...] = QWEN,
    *,
    class_name: str = "PreTrainedTokenizerFast",
    bos: str | None = None,
    eos: str | None = "<|im_end|>",
    pad: str | None = "<|endoftext|>",
    unk: str | None = None,
    template: str | None = None,
    adds_bos: bool = False,
    config: dict[str, Any] | None = None,
    words: tuple[str, ...] = (),
) -> Path:
    """A folder with tokenizer.json and tokenizer_config.json; `words` become tokens of the vocabulary."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_QWEN2), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([*CORPUS * 3, *(f"{word}\n" * 20 for word in ("assistant", "user", *words))], trainer)
    tokenizer.add_special_tokens(list(special))
    if adds_bos:
        assert bos
        number = tokenizer.token_to_id(bos)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos}:0 $A:0", pair=f"{bos}:0 $A:0 $B:1", special_tokens=[(bos, number)]
        )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    said: dict[str, Any] = {
        "tokenizer_class": class_name,
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
    }
    said |= {"bos_token": bos, "eos_token": eos, "pad_token": pad, "unk_token": unk}
    if template is not None:
        said["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(said | (config or {})))
    return folder
