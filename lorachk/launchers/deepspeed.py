"""The DeepSpeed file: what it says, and what the Run takes from it."""

from __future__ import annotations

from typing import Any, NamedTuple

from lorachk.errors import UsageError
from lorachk.launchers.positions import leaves_of, noted, parse_json, settings_of
from lorachk.launchers.text import read_text, where
from lorachk.launchers.values import Found, Unknown, as_bool, as_int
from lorachk.run import Location, Setting, Source

# DeepSpeedZeroConfig.reduce_bucket_size in DeepSpeed 0.16 to 0.19
REDUCE_BUCKET_SIZE = 500_000_000
_LARGEST = 10_000  # values


class JsonFile(NamedTuple):
    """A configuration file in JSON: its object, settings, source row and the place of every value."""

    path: str
    value: dict[str, Any]
    settings: list[Setting]
    source: Source
    places: dict[str, tuple[int, int]]
    base: Location | None = None  # where the object stands inside another file

    def at(self, pointer: str) -> Location:
        """Where a value stands; the file itself, or the object, for a value that is not written there."""
        place = self.places.get(pointer)
        if self.base is not None:
            here = f"{self.base.pointer or ''}{pointer}"
            return Location(self.base.path, *place, here) if place else self.base
        return Location(self.path, *place, pointer) if place else Location(self.path)

    def find(self, pointer: str) -> Found | None:
        """The value at a pointer, None when absent."""
        value: Any = self.value
        for key in pointer.split("/")[1:]:
            if not isinstance(value, dict) or key not in value:
                return None
            value = value[key]
        return Found(value, self.at(pointer))


def read_json(path: str, kind: str, named_at: str | None = None) -> JsonFile:
    """Read a JSON object with positions; UsageError when it is missing, not JSON, or not an object."""
    text, source = read_text(path, kind, named_at)
    document = parse_json(text, path)
    if not isinstance(document.value, dict):
        raise UsageError(f"a {kind} file holds one JSON object", where=where(path, 1, 1))
    if kind == "deepspeed" and len(document.leaves) > _LARGEST:
        raise UsageError(f"holds {len(document.leaves):,} values; a DeepSpeed file has some dozens", where=path)
    settings = settings_of(kind, path, document)
    return JsonFile(path, document.value, settings, noted(source, document), document.places)


def inline(given: Found, name: str, settings: list[Setting]) -> JsonFile:
    """A DeepSpeed configuration that is written among a trainer's arguments, or that the trainer brings along.

    `settings` are those of the files read so far: they know where the leaves stand when a YAML file holds them.
    """
    base = given.at
    stem = base.pointer or ""
    places = {
        setting.pointer[len(stem) :]: (setting.at.line, setting.at.col)
        for setting in settings
        if setting.at.path == base.path
        and setting.at.line
        and setting.at.col
        and setting.pointer.startswith(f"{stem}/")
    }
    file = JsonFile(name, given.value, [], Source(name, "deepspeed"), places, base)
    for pointer, value in leaves_of(given.value):
        file.settings.append(Setting("deepspeed", pointer, value, file.at(pointer)))
    return file


def fields(file: JsonFile) -> dict[str, Found]:
    """Run fields a DeepSpeed file decides. `auto` stays out: it is what the TrainingArguments say."""
    found = {
        "deepspeed": Found(file.path, file.base or Location(file.path)),
        "zero_stage": _stage(file),
        "offload_optimizer": _offload(file, "offload_optimizer", "cpu_offload"),
        "offload_param": _offload(file, "offload_param", "cpu_offload_param"),
        "ds_fp16": _enabled(file, "fp16"),
        "ds_bf16": _enabled(file, "bf16" if "bf16" in file.value else "bfloat16"),
    }
    for field, key in (
        ("ds_train_batch_size", "train_batch_size"),
        ("ds_micro_batch_size", "train_micro_batch_size_per_gpu"),
        ("ds_gradient_accumulation_steps", "gradient_accumulation_steps"),
    ):
        given = file.find(f"/{key}")
        if given and given.value not in ("auto", None):
            number = as_int(given.value)
            found[field] = Found(number if number and number > 0 else Unknown("is no number from 1"), given.at)
    bucket = file.find("/zero_optimization/reduce_bucket_size")
    if bucket is None:
        found["reduce_bucket_size"] = Found(REDUCE_BUCKET_SIZE, Location(file.path))
    elif bucket.value != "auto":
        number = as_int(bucket.value, 2**62)
        found["reduce_bucket_size"] = Found(number if number is not None else Unknown("is no number"), bucket.at)
    return found


def hidden_size(config: dict[str, Any]) -> int | None:
    """The hidden size that transformers puts in for `auto` (integrations/deepspeed.py, trainer_config_finalize)."""
    for block in (config, config.get("text_config")):
        if not isinstance(block, dict):
            continue
        if (single := as_int(block.get("hidden_size"))) is not None:
            return single
        several = block.get("hidden_sizes")
        if isinstance(several, list) and several and all(isinstance(size, int) for size in several):
            return int(max(several))
    return None


def _stage(file: JsonFile) -> Found:
    block = file.find("/zero_optimization")
    if block is not None and isinstance(block.value, bool):  # the oldest form: true is stage 1
        return Found(int(block.value), block.at)
    if unread := _no_object(file, "/zero_optimization"):
        return unread
    given = file.find("/zero_optimization/stage")
    if given is None:
        return Found(0, file.at("/zero_optimization"))
    stage = as_int(given.value)
    return Found(stage if stage in (0, 1, 2, 3) else Unknown("is no ZeRO stage"), given.at)


def _offload(file: JsonFile, key: str, legacy: str) -> Found:
    block = file.find("/zero_optimization")
    if block is not None and isinstance(block.value, bool):
        return Found("none", block.at)
    for pointer in ("/zero_optimization", f"/zero_optimization/{key}"):
        if unread := _no_object(file, pointer):
            return unread
    given = file.find(f"/zero_optimization/{key}/device")
    if given is not None:
        known = given.value in ("cpu", "nvme", "none")
        return Found(given.value if known else Unknown("is neither cpu, nvme nor none"), given.at)
    old = file.find(f"/zero_optimization/{legacy}")
    if old is not None and as_bool(old.value):
        return Found("cpu", old.at)
    return Found("none", file.at(f"/zero_optimization/{key}"))


def _enabled(file: JsonFile, block: str) -> Found:
    if unread := _no_object(file, f"/{block}"):
        return unread
    given = file.find(f"/{block}/enabled")
    if given is None:
        return Found("false", file.at(f"/{block}"))
    word = {"1": "true", "0": "false"}.get(str(given.value), str(given.value).lower())
    return Found(word if word in ("true", "false", "auto") else Unknown("is neither true nor false"), given.at)


def _no_object(file: JsonFile, pointer: str) -> Found | None:
    """Unknown when the block is there and no object: DeepSpeed refuses it, and no default stands for it."""
    block = file.find(pointer)
    if block is None or isinstance(block.value, dict):
        return None
    if block.value is None and pointer != "/zero_optimization":  # DeepSpeed takes null for the other blocks
        return None
    return Found(Unknown("is no object"), block.at)
