"""Files of arguments: YAML of LLaMA-Factory, axolotl, ms-swift and TRL, and HfArgumentParser's YAML and JSON."""

from __future__ import annotations

from typing import Any, NamedTuple

from lorachk.errors import UsageError
from lorachk.launchers.positions import Document, escape, noted, parse_json, settings_of
from lorachk.launchers.text import read_text, where
from lorachk.launchers.values import Found
from lorachk.run import Location, Setting, Source

# Keys that tell a trainer's file, and how many of them it takes; the first trainer that has enough it is.
_TELLING = {
    "llamafactory": (2, "finetuning_type cutoff_len stage lora_target dataset_dir quantization_bit template"),
    "axolotl": (2, "base_model micro_batch_size sequence_len datasets adapter lora_target_linear num_epochs"),
    "ms-swift": (1, "tuner_type train_type sft_type freeze_vit freeze_aligner model_id_or_path split_dataset_ratio"),
    "trl": (2, "use_peft dataset_name datasets accelerate_config lora_target_modules lora_task_type model_init_kwargs"),
    "vlm-r1": (2, "data_file_paths image_folders reward_funcs"),
    "minicpmv": (2, "llm_type tune_llm tune_vision max_slice_nums"),
    "hf": (2, "output_dir per_device_train_batch_size learning_rate num_train_epochs max_steps"),
}

# Files that are something else, by the keys that give them away.
_OTHERS: tuple[tuple[frozenset[str], str, str], ...] = (
    (frozenset({"zero_optimization", "train_micro_batch_size_per_gpu"}), "a DeepSpeed file", "give it with --config"),
    (frozenset({"peft_type", "base_model_name_or_path"}), "an adapter's configuration", "give it with --peft"),
    (frozenset({"architectures", "transformers_version"}), "a model's config.json", "give its folder with --model"),
    (
        frozenset({"distributed_type", "compute_environment"}),
        "accelerate's configuration, which says how many processes start and not what they train",
        "give the script with the command accelerate launch --config_file",
    ),
)


class ConfigFile(NamedTuple):
    """A file of arguments: its top-level keys with their values, every leaf as a setting, and the source row."""

    path: str
    arguments: dict[str, Found]
    settings: list[Setting]
    source: Source


def read_config(path: str, named_at: str | None = None) -> ConfigFile:
    """Read a YAML or JSON file of arguments. UsageError when it is missing, broken, or no mapping."""
    text, source = read_text(path, "launch", named_at)
    if path.endswith(".json"):
        document = parse_json(text, path)
    else:
        from lorachk.launchers.yaml_positions import parse_yaml

        document = parse_yaml(text, path)
    value = document.value
    if not isinstance(value, dict):
        what = "is empty" if value is None else f"holds {_called(value)}, not a mapping of arguments"
        raise UsageError(what, where=where(path, 1, 1), hint="arguments are written name: value")
    arguments = {str(key): Found(child, _at(path, document, f"/{escape(str(key))}")) for key, child in value.items()}
    return ConfigFile(path, arguments, settings_of("launch", path, document), noted(source, document))


def told_by_keys(keys: set[str]) -> str | None:
    """The trainer whose file has such keys; None when they fit none."""
    return next(
        (trainer for trainer, (count, telling) in _TELLING.items() if len(keys & {*telling.split()}) >= count), None
    )


def refuse_other(config: ConfigFile) -> None:
    """UsageError for a file that is known to be something else than a trainer's arguments."""
    for keys, what, hint in _OTHERS:
        if keys & config.arguments.keys():
            raise UsageError(f"cannot be used as a launch file: it is {what}", where=config.path, hint=hint)


def _at(path: str, document: Document, pointer: str) -> Location:
    line, col = document.places.get(pointer, (1, 1))
    return Location(path, line, col, pointer)


def _called(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"only {value!r:.40}"
