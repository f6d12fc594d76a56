"""The model's config.json: found in a folder or in the local Hugging Face cache, never over the network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from lorachk.launchers.deepspeed import JsonFile, hidden_size, read_json
from lorachk.launchers.text import is_file, is_folder, where
from lorachk.launchers.values import Found, as_int, as_text
from lorachk.run import Location

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+$")


def find_config(model: str) -> str | None:
    """Path of the config.json of a folder, a file, or a hub name that is in the local cache; else None."""
    path = str(Path(model).expanduser())
    if is_file(path):
        return model
    if is_folder(path):
        return os.path.join(model, "config.json") if is_file(f"{path}/config.json") else None  # noqa: PTH118
    return _cached(model) if _HUB_NAME.match(model) else None


def hub_cache() -> Path:
    """The folder huggingface_hub keeps downloads in, from the same environment variables."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(home).expanduser() / "hub"


def _cached(name: str) -> str | None:
    folder = hub_cache() / f"models--{name.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text("utf-8").strip()
        config = folder / "snapshots" / revision / "config.json"
        return str(config) if config.is_file() else None
    except (OSError, UnicodeDecodeError):
        return None


def read_model(path: str, named_at: Location | None = None) -> JsonFile:
    """Read a model's config.json; UsageError as for any configuration file."""
    return read_json(path, "model", where(*named_at[:3]) if named_at else None)


def fields(file: JsonFile) -> dict[str, Found]:
    """Run fields a model config decides; nested text configs count where the top level is silent."""
    found: dict[str, Found] = {}

    def put(field: str, *pointers: str, convert: Any = as_text) -> None:
        for pointer in pointers:
            given = file.find(pointer)
            if given is not None and (value := convert(given.value)) is not None:
                found.setdefault(field, Found(value, given.at))

    put("model_type", "/model_type")
    put("checkpoint_dtype", "/dtype", "/torch_dtype", "/text_config/dtype", "/text_config/torch_dtype")
    put("vocab_size", "/vocab_size", "/text_config/vocab_size", "/llm_config/vocab_size", convert=as_int)
    put("quant_method", "/quantization_config/quant_method")
    for name in ("tie_word_embeddings", "use_cache"):
        for pointer in (f"/{name}", f"/text_config/{name}"):
            if (given := file.find(pointer)) is not None and isinstance(given.value, bool):
                found.setdefault(name, given)
    architectures = file.find("/architectures")
    if architectures and isinstance(architectures.value, list) and architectures.value:
        found["architecture"] = Found(str(architectures.value[0]), file.at("/architectures/0"))
    if (hidden := hidden_size(file.value)) is not None:
        place = "/hidden_size" if "hidden_size" in file.value else "/text_config/hidden_size"
        found["hidden_size"] = Found(hidden, file.at(place))
    if "checkpoint_dtype" in found:
        name = str(found["checkpoint_dtype"].value).removeprefix("torch.")
        found["checkpoint_dtype"] = found["checkpoint_dtype"]._replace(value=name)
    return found
