"""Builds the Rust tokenizer of a folder, from tokenizer.json or from vocab.json and merges.txt."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorachk.facts.encoding.modelfiles import AddedToken, Described, TokenizerProblem, parsed, read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer

# transformers/models/qwen2/tokenization_qwen2.py PRETOKENIZE_REGEX (5.24; the slow tokenizer of 4.x has the same)
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
# Model types that transformers 5 opens with the plain tokenizer.json whatever tokenizer_class says
# (models/auto/tokenization_auto.py TOKENIZER_MAPPING_NAMES: TokenizersBackend).
_PLAIN = {"minicpmv4_6", "minicpmv4_7"}
_AT = re.compile(r" at line (\d+) column (\d+)")


def rust_tokenizer(folder: Path, said: Described) -> RustTokenizer:
    """The tokenizer with all added and special tokens. Raises TokenizerProblem."""
    try:
        import tokenizers
    except ImportError as error:
        raise TokenizerProblem(
            str(folder), "the package tokenizers is not installed: pip install tokenizers"
        ) from error
    path = folder / "tokenizer.json"
    if path.is_file():
        built = _read(path)
        if said.class_name == "Qwen2Tokenizer" and said.model_type not in _PLAIN and built.normalizer is None:
            built.normalizer = tokenizers.normalizers.NFC()  # transformers 5 builds this class anew, with NFC
    else:
        built = _from_vocabulary(folder, said)
    built.no_truncation()
    built.no_padding()
    _add(built, said)
    return built


def _read(path: Path) -> RustTokenizer:
    from tokenizers import Tokenizer as RustTokenizer

    try:
        content = path.read_bytes()
    except OSError as error:
        raise TokenizerProblem(str(path), error.strerror or str(error)) from error
    try:
        return RustTokenizer.from_buffer(content)
    except Exception as error:  # tokenizers raises plain Exception and ValueError
        value = parsed(content, path)  # says where JSON itself is broken
        missing = [key for key in ("model", "added_tokens") if key not in value]
        if missing:
            raise TokenizerProblem(str(path), f"not a tokenizer: it has no {missing[0]}") from error
        reason = _AT.sub("", str(error).removeprefix("Cannot instantiate Tokenizer from buffer: "))
        place = _AT.search(str(error))
        line, col = (int(place[1]), int(place[2])) if place else (None, None)
        hint = "; it may be newer than the installed tokenizers package" if "untagged enum" in reason else ""
        raise TokenizerProblem(
            str(path), f"the tokenizers package cannot read it: {reason}{hint}", line, col
        ) from error


def _from_vocabulary(folder: Path, said: Described) -> RustTokenizer:
    """Qwen2's and GPT-2's tokenizers can be built from vocab.json and merges.txt exactly; others are not guessed."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as RustTokenizer

    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if not (vocabulary.is_file() and merges.is_file() and said.class_name in ("Qwen2Tokenizer", "GPT2Tokenizer")):
        raise _none(folder, said)
    vocab = read_json(folder, "vocab.json")
    try:
        pairs = [tuple(line.split()) for line in merges.read_text("utf-8").splitlines() if not line.startswith("#")]
        model = models.BPE(
            vocab=vocab,
            merges=[pair for pair in pairs if len(pair) == 2],
            continuing_subword_prefix="",
            end_of_word_suffix="",
            fuse_unk=False,
        )
    except Exception as error:  # tokenizers raises plain Exception
        raise TokenizerProblem(str(merges), f"vocab.json and merges.txt do not fit: {error}") from error
    built = RustTokenizer(model)
    prefix = bool(said.config.get("add_prefix_space", False))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=said.class_name == "GPT2Tokenizer")
    if said.class_name == "Qwen2Tokenizer":
        built.normalizer = normalizers.NFC()
        built.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_QWEN2), "isolated"), byte_level])
    else:
        built.pre_tokenizer = byte_level
    built.decoder = decoders.ByteLevel()
    return built


def _none(folder: Path, said: Described) -> TokenizerProblem:
    if not folder.is_dir():
        return TokenizerProblem(str(folder), "no such folder")
    found = [
        name for name in ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt") if (folder / name).is_file()
    ]
    if not found:
        found = sorted(p.name for p in folder.glob("*.tiktoken"))[:1]
    if not found:
        return TokenizerProblem(str(folder), "no tokenizer: there is no tokenizer.json")
    remedy = f"AutoTokenizer.from_pretrained({folder.name!r}).save_pretrained({folder.name!r}) writes one"
    kind = f" ({said.class_name})" if said.class_name else ""
    return TokenizerProblem(str(folder), f"there is {found[0]}{kind} but no tokenizer.json; {remedy}")


def _add(built: RustTokenizer, said: Described) -> None:
    """Tokens that the other files name and tokenizer.json does not have, in transformers' order."""
    present = {token.content for token in built.get_added_tokens_decoder().values()}
    wanted = [token for _, token in sorted(said.added.items())] + list(said.named.values()) + said.extra
    new: dict[str, AddedToken] = {}
    for token in wanted:
        if token.content and token.content not in present:
            new.setdefault(token.content, token)
    for token in new.values():
        built.add_tokens([_rust(token)])


def _rust(token: AddedToken) -> Any:
    from tokenizers import AddedToken as RustToken

    return RustToken(**token._asdict())


def position_free(built: RustTokenizer) -> bool:
    """Whether text between special tokens is tokenised the same wherever it stands.

    Not so where a mark for the beginning of the whole text is put in front (Metaspace with prepend_scheme "first").
    """
    return '"prepend_scheme":"first"' not in json.dumps(_head(built), separators=(",", ":"))


def _head(built: RustTokenizer) -> Any:
    """The pre-tokenizer as tokenizer.json writes it, without writing the vocabulary."""
    state = built.pre_tokenizer.__getstate__() if built.pre_tokenizer is not None else b"null"
    return json.loads(state)
