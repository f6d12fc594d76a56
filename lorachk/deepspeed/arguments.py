"""The TrainingArguments that the DeepSpeed file is filled from, out of the run; and accelerate's own settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lorachk.deepspeed.accelerate import FIELDS
from lorachk.deepspeed.trainer import Sizes
from lorachk.launchers.text import where
from lorachk.launchers.values import Found, Unknown, as_bool, as_float, as_int
from lorachk.launchers.versions import at_least
from lorachk.run import Location, Run, Setting

# TrainingArguments that are fields of the run.
_FIELDS = (
    *("per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "weight_decay", "max_grad_norm"),
    *("adam_beta1", "adam_beta2", "adam_epsilon", "warmup_steps", "fp16", "bf16", "world_size"),
)
# Those that are not, with their defaults; the same in all versions that have them.
_OTHERS: dict[str, Any] = {
    "fp16_full_eval": False,
    "bf16_full_eval": False,
    "save_on_each_node": False,
    "auto_find_batch_size": False,
    "half_precision_backend": "auto",
    "fp16_backend": "auto",
    "fp16_opt_level": "O1",
}


class Given(NamedTuple):
    """Arguments by name with where they were given, and in words where those come from that were not."""

    values: dict[str, Any]
    places: dict[str, Location]
    because: dict[str, str]

    def origin(self, names: Iterable[str]) -> str | None:
        """Where these come from, in words."""
        found = {
            where(*self.places[name][:3]) if name in self.places else self.because.get(name, "")
            for name in names
            if name in self.values and self.values[name] is not None
        }
        return ", ".join(sorted(found - {""})) or None


def arguments(run: Run, launcher: Mapping[str, Found]) -> Given:
    """What is known of the arguments; a trainer that is not known has none. `launcher`: accelerate's settings."""
    values: dict[str, Any] = {}
    places, because = dict(run.argument_places), dict(run.because)
    for name in _FIELDS:
        value = getattr(run, name)
        if value is not None:
            values[name] = value
            if at := run.at(name):
                places[name] = at
        elif name in run.argument_places:
            values[name] = Unknown(f"only the shell or the cluster knows {name}")
    if run.trainer is None:
        return Given(values, places, because)
    for name, default in _OTHERS.items():
        value = run.training_args.get(name, default)
        if name in run.argument_places and name not in run.training_args:
            value = Unknown(f"only the shell or the cluster knows {name}")
        flag = as_bool(value) if isinstance(default, bool) else None
        values[name] = value if flag is None else flag
    ratio = run.warmup_ratio
    if ratio is not None:
        values["warmup_ratio"] = ratio
    elif run.warmup_steps is not None and "warmup_ratio" not in run.argument_places:
        values["warmup_ratio"] = None  # absent: 0 before transformers 5, nothing since
    if run.max_steps is not None and run.max_steps > 0:
        values["num_training_steps"] = run.max_steps
    elif run.max_steps is not None:
        values["num_training_steps"] = Unknown("the number of steps follows from the number of records")
    values["mixed_precision"] = _mixed(values, launcher)
    return Given(values, places, because)


def _mixed(values: dict[str, Any], launcher: Mapping[str, Found]) -> Any:
    for name in ("fp16", "bf16"):
        value = values.get(name, Unknown(f"{name} is not known"))
        if value is True:
            return name
        if isinstance(value, Unknown):
            return value
    stated = launcher.get("mixed_precision")
    return str(stated.value).lower() if stated and stated.value is not None else "no"


def launcher_settings(settings: Iterable[Setting]) -> dict[str, Found]:
    """accelerate's flags and YAML by name, flags first; empty when it does not start DeepSpeed."""
    found: dict[str, Found] = {}
    flags: dict[str, Found] = {}
    for setting in settings:
        name = setting.pointer.rpartition("/")[2]
        if setting.kind == "accelerate":
            found[name] = Found(setting.value, setting.at)
        elif setting.kind == "launcher":
            flags[name] = Found(setting.value, setting.at)
    kind = found.get("distributed_type")
    started = kind is not None and str(kind.value).upper() == "DEEPSPEED"
    if not started and "use_deepspeed" not in flags:
        return {}
    return {**found, **flags}


def plugin_fields(launcher: Mapping[str, Found]) -> dict[str, Any]:
    """accelerate's DeepSpeed settings, converted as it converts them from its environment variables."""
    values: dict[str, Any] = {}
    for name, (_, default) in FIELDS.items():
        found = launcher.get(name)
        if found is None or found.value is None:
            continue
        values[name] = found.value if isinstance(found.value, Unknown) else _converted(found.value, default, name)
    return values


def _converted(value: Any, default: Any, name: str) -> Any:
    text = str(value).lower()
    if name == "gradient_clipping":
        return text if text == "auto" else as_float(text)
    if name == "gradient_accumulation_steps":
        return int(text) if text.isdigit() else text
    if name.endswith("_path"):
        return str(value)
    if isinstance(default, bool):
        return text == "true"
    return as_int(text) if isinstance(default, int) else text


def sizes(settings: Iterable[Setting], model_type: str | None, transformers: str | None) -> Sizes:
    """The model's hidden size, as attributes of its config object.

    `config.json` may leave out what the class has by default or under another name, so that an absent hidden size is
    known to be absent only for classes that were looked at (`nested.py`).
    """
    from lorachk.deepspeed.nested import FORWARDED, TEXT_ONLY, WITHOUT

    values = {setting.pointer: setting.value for setting in settings if setting.kind == "model"}
    if not values:
        untold = Unknown("the model's config.json was not read")
        return Sizes(untold, untold)
    unread = Unknown("the model's config.json does not tell the hidden size")
    own, text = _size(values, ""), _size(values, "/text_config")
    foreign = any(pointer.startswith("/auto_map") for pointer in values)
    if model_type in FORWARDED and at_least(transformers, "5.0.0") is not True:
        old = at_least(transformers, "5.0.0") is False
        return Sizes(next((size for size in (own, text) if old and size is not None), unread), text or own)
    if model_type in FORWARDED and text is None:  # a file from before 5 is flat; the object is not
        text = own
    if not foreign and model_type in WITHOUT:
        return Sizes(None, None)
    if not foreign and model_type in TEXT_ONLY:
        return Sizes(None, text if text is not None else unread)
    return Sizes(own if own is not None else unread, text if text is not None else unread)


def _size(values: Mapping[str, Any], block: str) -> Any:
    single = values.get(f"{block}/hidden_size")
    if single is not None:
        return as_int(single)
    several = [as_int(v) for pointer, v in values.items() if pointer.rpartition("/")[0] == f"{block}/hidden_sizes"]
    whole = [size for size in several if size is not None]
    return max(whole) if whole and len(whole) == len(several) else None
