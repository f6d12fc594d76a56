"""The files of a model folder that say how text becomes tokens, read as transformers reads them; problems are values.

What is read in which order follows transformers 5.24 (tokenization_utils_base.py `_from_pretrained`,
processing_utils.py `get_processor_dict`); 4.4x differs in what is said here.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# What a tokenizer class takes when tokenizer_config.json does not say: the defaults of its __init__ (transformers 5.24
# models/qwen2, models/gpt2, models/llama, models/gemma; the Fast classes of 4.x have the same).
_CLASS_DEFAULTS: dict[str, dict[str, str]] = {
    "Qwen2Tokenizer": dict.fromkeys(("unk_token", "eos_token", "pad_token"), "<|endoftext|>"),
    "GPT2Tokenizer": dict.fromkeys(("unk_token", "bos_token", "eos_token"), "<|endoftext|>"),
    "LlamaTokenizer": {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
    "GemmaTokenizer": {f"{name}_token": f"<{name}>" for name in ("unk", "bos", "eos", "pad", "mask")},
}
_HASHED = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json")
_HASHED_TOO = ("merges.txt", "chat_template.jinja", "chat_template.json", "processor_config.json", "config.json")


class TokenizerProblem(Exception):
    """The folder has no tokenizer that can be used: file, reason, and the place where its JSON is broken."""

    def __init__(self, file: str, reason: str, line: int | None = None, col: int | None = None) -> None:
        at = "" if line is None else f":{line}" if col is None else f":{line}:{col}"
        super().__init__(f"{file}{at}: {reason}")
        self.file = file
        self.reason = reason
        self.line = line
        self.col = col


class AddedToken(NamedTuple):
    """A token beside the model's vocabulary, with the switches of tokenizers' AddedToken."""

    content: str
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False
    special: bool = True


class Described(NamedTuple):
    """What the files beside tokenizer.json say."""

    class_name: str | None  # without Fast
    model_type: str | None  # of config.json
    named: dict[str, AddedToken]  # bos_token ... mask_token, and tokens of the model's own such as image_token
    extra: list[AddedToken]
    added: dict[int, AddedToken]
    config: dict[str, Any]


def read_json(folder: Path, name: str, *, kind: type | None = dict) -> Any:
    """A JSON file of the folder; None when it is not there. Raises TokenizerProblem."""
    path = folder / name
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TokenizerProblem(str(path), error.strerror or str(error)) from error
    return parsed(text, path, kind=kind)


def parsed(text: bytes, path: Path, *, kind: type | None = dict) -> Any:
    """JSON of a file. Raises TokenizerProblem with line and column."""
    if not text.strip():
        raise TokenizerProblem(str(path), "the file is empty")
    if text.startswith(b"version https://git-lfs"):
        raise TokenizerProblem(str(path), "a Git LFS pointer, not the file itself: run `git lfs pull`")
    try:
        value = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TokenizerProblem(str(path), f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        why = "the file ends too early" if error.pos >= len(error.doc.rstrip()) else error.msg
        raise TokenizerProblem(str(path), f"broken JSON: {why}", error.lineno, error.colno) from error
    except RecursionError as error:
        raise TokenizerProblem(str(path), "JSON nested too deeply") from error
    if kind is not None and not isinstance(value, kind):
        raise TokenizerProblem(str(path), f"not a JSON {'object' if kind is dict else 'list'}")
    return value


def described(folder: Path) -> Described:
    """Special and added tokens. Raises TokenizerProblem."""
    config = read_json(folder, "tokenizer_config.json") or {}
    model_type = (read_json(folder, "config.json") or {}).get("model_type")
    name = config.get("tokenizer_class")
    class_name = name.removesuffix("Fast") if isinstance(name, str) else None
    values = {**_CLASS_DEFAULTS.get(class_name or "", {}), **config}
    at = str(folder / "tokenizer_config.json")
    added: dict[int, AddedToken] = {}
    decoder = config.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        for number, token in decoder.items():
            if not number.lstrip("-").isdigit() or not isinstance(token, dict):
                raise TokenizerProblem(at, f"added_tokens_decoder: {number!r} is no token with its number")
            added[int(number)] = _token(token, at)
    else:  # special_tokens_map.json and added_tokens.json are read only by tokenizers without added_tokens_decoder
        values |= read_json(folder, "special_tokens_map.json") or {}
    extra = values.get("extra_special_tokens") or values.get("additional_special_tokens") or []
    named = _named(values, extra, at)
    extras = [_token(token, at) for token in extra] if isinstance(extra, list) else []
    if not isinstance(decoder, dict):
        special = {token.content for token in (*named.values(), *extras)}
        for content, number in (read_json(folder, "added_tokens.json") or {}).items():
            if isinstance(number, int):
                plain = content not in special
                added[number] = AddedToken(content, normalized=plain, special=not plain)
    by_content = {token.content: token for token in added.values()}
    named = {key: by_content.get(token.content, token) for key, token in named.items()}
    return Described(class_name, model_type, named, extras, added, config)


def _named(values: dict[str, Any], extra: Any, at: str) -> dict[str, AddedToken]:
    own = {key: value for key, value in values.items() if key.endswith("_token") and key not in NAMED}
    if isinstance(extra, dict):
        own |= extra
    found: dict[str, AddedToken] = {}
    for key in (*NAMED, *own):
        value = values.get(key) if key in NAMED else own[key]
        if value is None or not isinstance(value, (str, dict)):
            continue
        if value:
            found[key] = _token(value, at)
    return found


def _token(value: Any, at: str) -> AddedToken:
    if isinstance(value, str):
        return AddedToken(value)
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        flags = {key: bool(value[key]) for key in AddedToken._fields[1:] if key in value}
        # As AddedToken's own defaults: a token that is not special is matched in normalized text.
        flags.setdefault("special", "__type" in value or "special" not in value)
        flags.setdefault("normalized", not flags["special"])
        return AddedToken(value["content"], **flags)
    raise TokenizerProblem(at, f"{value!r:.60} is no token")


class Templates(NamedTuple):
    """Chat templates of a folder by name, of the tokenizer and of the processor; and the file each set comes from."""

    tokenizer: dict[str, str]
    processor: dict[str, str]
    tokenizer_file: str | None
    processor_file: str | None


def templates(folder: Path, config: dict[str, Any]) -> Templates:
    """The chat templates. Raises TokenizerProblem.

    chat_template.jinja (and additional_chat_templates/*.jinja) win over tokenizer_config.json's entry, a text or a list
    of name and template. A processor reads the same files, or chat_template.json and processor_config.json, but never
    tokenizer_config.json.
    """
    files: dict[str, str] = {}
    source: Path | None = None
    for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        files[path.stem] = _text(path)
        source = path
    if (path := folder / "chat_template.jinja").is_file():
        files["default"] = _text(path)
        source = path
    where = str(source) if source else None
    if files:
        own, own_file = files, where
    else:
        own_file = str(folder / "tokenizer_config.json")
        own = _configured(config.get("chat_template"), own_file)
        own_file = own_file if own else None
    processor, processor_file = dict(files), where
    for name in ("chat_template.json", "processor_config.json"):
        value = read_json(folder, name)
        if isinstance(value, dict) and value.get("chat_template"):
            processor_file = str(folder / name)
            processor = _configured(value["chat_template"], processor_file)
    return Templates(own, processor, own_file, processor_file)


def _configured(value: Any, at: str) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return dict(value)
    if isinstance(value, list):
        try:
            return {str(entry["name"]): str(entry["template"]) for entry in value}
        except (TypeError, KeyError) as error:
            raise TokenizerProblem(at, "chat_template is a list whose entries have no name and template") from error
    raise TokenizerProblem(at, "chat_template is neither a text nor a list of named templates")


def _text(path: Path) -> str:
    try:
        # Like open(): any newline becomes \n.
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise TokenizerProblem(str(path), f"not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise TokenizerProblem(str(path), error.strerror or str(error)) from error


def digest(folder: Path) -> str:
    """SHA-256 of the files that decide how text becomes tokens: the identity of a tokenizer, 16 hex digits."""
    found = hashlib.sha256()
    names = (*_HASHED, *_HASHED_TOO, *(f"additional_chat_templates/{p.name}" for p in _additional(folder)))
    for name in names:
        try:
            content = (folder / name).read_bytes()
        except OSError:
            continue
        found.update(f"{name}\0{len(content)}\0".encode())
        found.update(content)
    return found.hexdigest()[:16]


def _additional(folder: Path) -> list[Path]:
    return sorted((folder / "additional_chat_templates").glob("*.jinja"))
