"""The user's own model on the meta device: real classes, names, shapes and dtypes, no weights and no memory."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorachk.facts.collector import NotCollected
from lorachk.launchers.text import is_file, is_folder
from lorachk.memory import precision

if TYPE_CHECKING:
    from lorachk.run import Run

NO_TORCH = "torch is not installed: pip install 'lorachk[train]'"


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep library chatter (prints, warnings, loggers) off the terminal."""
    loggers = [logging.getLogger(name) for name in ("transformers", "peft", "torch", "accelerate", "deepspeed")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)


def folder_of(model: str | None) -> Path:
    """Folder with the model's config.json: a local folder, or what the Hugging Face cache already holds.

    Raises NotCollected when there is none; nothing is downloaded.
    """
    if not model:
        raise NotCollected("no model is named: --model DIR|NAME, or the launch file")
    path = Path(model).expanduser()
    if is_file(f"{path}/config.json"):
        return path
    if is_folder(str(path)):
        raise NotCollected(f"{model} has no config.json")
    try:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(model, "config.json")
    except Exception:  # huggingface_hub missing, or a name it does not take
        cached = None
    if isinstance(cached, str):
        return Path(cached).parent
    raise NotCollected(f"no config.json for {model} on this machine (neither a folder nor in the Hugging Face cache)")


def load_config(folder: Path, *, trust_remote_code: bool) -> Any:
    """The model's config object. Remote code (auto_map) is executed only with `trust_remote_code`."""
    from transformers import AutoConfig

    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotCollected(f"{folder / 'config.json'} cannot be read: {error}") from None
    if not isinstance(raw, dict):
        raise NotCollected(f"{folder / 'config.json'} is not an object")
    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=trust_remote_code, local_files_only=True)
    except Exception as error:
        if raw.get("auto_map") and not trust_remote_code:
            raise NotCollected(
                f"model type {raw.get('model_type')!r} is defined by code in the model folder, which runs only with"
                " --trust-remote-code"
            ) from None
        raise NotCollected(f"transformers makes no model of {folder / 'config.json'}: {_one_line(error)}") from None


def model_class(config: Any, folder: Path, *, trust_remote_code: bool) -> Any:
    """Class the checkpoint's architecture names; else the one transformers maps the config to."""
    import transformers

    for name in getattr(config, "architectures", None) or []:
        if (found := getattr(transformers, name, None)) is not None:
            return found
    auto_map = getattr(config, "auto_map", None) or {}
    for key in ("AutoModelForImageTextToText", "AutoModelForCausalLM", "AutoModel"):
        if key in auto_map:
            if not trust_remote_code:
                raise NotCollected(
                    "the model's class is code in the model folder, which runs only with --trust-remote-code"
                )
            from transformers.dynamic_module_utils import get_class_from_dynamic_module

            return get_class_from_dynamic_module(auto_map[key], str(folder), local_files_only=True)
    for key in ("AutoModelForImageTextToText", "AutoModelForCausalLM"):
        auto = getattr(transformers, key, None)
        mapping = getattr(auto, "_model_mapping", {})
        if type(config) in mapping:
            return mapping[type(config)]
    wanted = ", ".join(getattr(config, "architectures", None) or []) or type(config).__name__
    raise NotCollected(f"the installed transformers {transformers.__version__} has no class {wanted}")


def build(
    run: Run, *, trust_remote_code: bool = False, layers: dict[str | None, int] | None = None, vision: int | None = None
) -> Any:
    """Base model on the meta device, in the dtype the run would load it in.

    `layers` (see `cut_layers`) and `vision` shorten the language model and the vision tower. Raises NotCollected when
    it cannot be built.
    """
    folder = folder_of(run.model)  # before torch is imported, which takes seconds
    try:
        import torch
    except ImportError:
        raise NotCollected(NO_TORCH) from None
    if importlib.util.find_spec("transformers") is None:
        raise NotCollected("transformers is not installed: pip install 'lorachk[train]'")
    config = load_config(folder, trust_remote_code=trust_remote_code)
    cls = model_class(config, folder, trust_remote_code=trust_remote_code)
    set_attention(config, "eager" if run.training_args.get("attn_implementation") == "eager" else "sdpa")
    if layers is not None:
        cut_layers(config, layers)
    if vision is not None:
        cut_vision(config, vision)
    try:
        with torch.device("meta"), _no_init_weights():
            model = cls(config)
    except Exception as error:
        raise NotCollected(f"{cls.__name__} cannot be built from its config: {_one_line(error)}") from None
    with contextlib.suppress(Exception):
        model.tie_weights()
    # PEFT asks whether this name has a config.json; with a folder it does not ask the hub.
    model.name_or_path = config._name_or_path = str(folder)
    precision.cast(model, precision.load_dtype(run, config))
    return model


def _no_init_weights() -> Any:
    try:
        from transformers.initialization import no_init_weights
    except ImportError:  # transformers 4
        from transformers.modeling_utils import no_init_weights
    return no_init_weights()


def text_config(config: Any) -> Any:
    """The language model's part of a config; the config itself for a text model."""
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def layer_kinds(config: Any) -> dict[str | None, int]:
    """How many decoder layers of each kind there are; the last layer's kind stands last. One kind None when uniform."""
    text = text_config(config)
    kinds = list(getattr(text, "layer_types", None) or [])
    if not kinds:
        return {None: text.num_hidden_layers}
    counts: dict[str | None, int] = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    counts[kinds[-1]] = counts.pop(kinds[-1])
    return counts


def cut_layers(config: Any, counts: dict[str | None, int]) -> None:
    """Keep as many decoder layers of each kind as `counts` says."""
    text = text_config(config)
    if getattr(text, "layer_types", None):
        text.layer_types = [kind for kind, number in counts.items() for _ in range(number)]
    text.num_hidden_layers = sum(counts.values())


def vision_layers(config: Any) -> int | None:
    """Layers of the vision tower; None without a tower, or when it is not a plain stack."""
    return getattr(getattr(config, "vision_config", None), _depth(config), None)


def shortest_vision(config: Any) -> int | None:
    """Fewest layers to which `cut_vision` can cut: MiniCPM-V merges patches after a layer in the middle."""
    total = vision_layers(config)
    if total is None:
        return None
    inserted = getattr(config.vision_config, "insert_layer_id", None)
    return min(total, 2 if inserted is None else inserted + 2)


def cut_vision(config: Any, layers: int) -> None:
    """Keep the first `layers` layers of the vision tower."""
    vision = config.vision_config
    setattr(vision, _depth(config), layers)
    if getattr(vision, "fullatt_block_indexes", None):  # Qwen2.5-VL: the others attend in windows
        vision.fullatt_block_indexes = [0]


def _depth(config: Any) -> str:
    vision = getattr(config, "vision_config", None)
    return "depth" if hasattr(vision, "depth") else "num_hidden_layers"


def set_attention(config: Any, implementation: str) -> None:
    """Set the attention implementation of a config and all its parts, without asking whether kernels are installed."""
    config._attn_implementation = implementation
    for name in getattr(config, "sub_configs", None) or {}:
        part = getattr(config, name, None)
        if part is not None and hasattr(part, "_attn_implementation"):
            part._attn_implementation = implementation


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
