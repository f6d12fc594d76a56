"""Small tokenizers of the kinds the trainers meet, written into a folder as a model has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = Path(__file__).parents[2] / "fixtures" / "models" / "corpus.txt"
WORDS = [
    "USER",
    "ASSISTANT",
    "A chat between a curious user and an artificial intelligence assistant.",
    "USER: <image>",
]


def _lines() -> list[str]:
    return [*CORPUS.read_text(encoding="utf-8").splitlines()[:400], *WORDS * 8]


def byte_level(folder: Path, specials: Sequence[str], *, eos: str | None, bos: str | None = None) -> Path:
    """As Qwen, Llama 3 or InternLM have it: nothing is put in front of a text but, with `bos`, that token."""
    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    rust.train_from_iterator(_lines(), trainer)
    return _written(rust, folder, specials, bos, eos, adds_bos=bos is not None)


def sentencepiece(folder: Path, specials: Sequence[str] = (), *, legacy: bool = True, adds_bos: bool = True) -> Path:
    """As Llama 2 and Vicuna have it. `legacy`: every text between special tokens gets a word mark in front, else the
    first alone.
    """
    rust = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False, max_token_length=12
    )
    rust.train_from_iterator(_lines(), trainer)
    value = json.loads(rust.to_str())
    value["added_tokens"] = [each for each in value["added_tokens"] if not each["content"].startswith("<0x")]
    if not legacy:
        value["normalizer"] = None
        value["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    rust = Tokenizer.from_str(json.dumps(value))
    return _written(rust, folder, specials, "<s>", "</s>", adds_bos=adds_bos, unk="<unk>", legacy=legacy)


def _written(
    rust: Tokenizer,
    folder: Path,
    specials: Sequence[str],
    bos: str | None,
    eos: str | None,
    *,
    adds_bos: bool,
    unk: str | None = None,
    legacy: bool | None = None,
) -> Path:
    named = [token for token in (bos, eos, unk) if token is not None]
    rust.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in dict.fromkeys([*named, *specials])]
    )
    if adds_bos and bos is not None:
        rust.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, rust.token_to_id(bos))]
        )
    folder.mkdir(parents=True, exist_ok=True)
    rust.save(str(folder / "tokenizer.json"))
    config: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 10**9}
    if legacy is not None:
        config["legacy"] = legacy
    pad = unk or "<|pad|>"
    if unk is None:
        rust.add_special_tokens([AddedToken(pad, special=True)])
        rust.save(str(folder / "tokenizer.json"))
    named_tokens = {"bos_token": bos, "eos_token": eos, "unk_token": unk, "pad_token": pad}
    config.update({key: token for key, token in named_tokens.items() if token is not None})
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
