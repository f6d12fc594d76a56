"""Tables run, setting, source, argument and resolved: what was resolved from the user's files, and from where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lorachk.facts.collector import Context, Row
from lorachk.facts.tables import tables
from lorachk.launchers.positions import parts
from lorachk.launchers.text import where
from lorachk.launchers.values import Unknown
from lorachk.run import FIELDS, Location, Run, Setting

# Fields that config.json of the model says.
_OF_MODEL = frozenset(
    {
        "model_found",
        "model_type",
        "architecture",
        "checkpoint_dtype",
        "tie_word_embeddings",
        "hidden_size",
        "vocab_size",
        "quant_method",
        "use_cache",
        "family",
    }
)
# Fields that a script may leave to the program it starts.
_OF_ADAPTER = frozenset(
    {
        "use_lora",
        "lora_r",
        "lora_alpha",
        "lora_dropout",
        "lora_bias",
        "target_modules",
        "target_regex",
        "modules_to_save",
        "exclude_modules",
        "peft_type",
        "init_lora_weights",
        "use_rslora",
        "use_dora",
        "ensure_weight_tying",
        "frozen_parameters",
    }
)


def collect(context: Context) -> None:
    """Fill run (one row), setting (one row per leaf), source (per file), argument and resolved."""
    context.sink.add("run", [run_row(context.run)])
    context.sink.add("setting", [setting_row(setting) for setting in context.settings])
    context.sink.add("source", [source._asdict() for source in context.sources])
    context.sink.add("argument", arguments(context.run))
    context.sink.add("resolved", resolved(context.run))
    context.sink.add("unknown", [{"fact": f"run.{field}", "reason": reason} for field, reason in unstated(context.run)])


def unstated(run: Run) -> Iterator[tuple[str, str]]:
    """Fields of the run that are unknown because the file that says them was not given, and which one it is."""
    launched = run.launch or run.argument_places or run.lora_config
    columns = {column.name for column in tables()["run"].columns}
    for name in FIELDS:
        if name not in columns or getattr(run, name) not in (None, []):
            continue
        if reason := run.unknown.get(name):
            at = run.at(name)
            place = f" ({where(*at[:3])})" if at else ""
            yield name, f"{name.replace('_', ' ')} is not known: {reason}{place}"
        elif name in _OF_MODEL:
            if run.model is None:
                yield name, "no model is named: --model DIR|NAME, or the launch file"
        elif not launched:
            yield name, "no launch file is given: --launch FILE, or lorachk.toml"
        elif name in _OF_ADAPTER and not run.use_lora:
            yield name, "nothing says how LoRA is set up: --peft FILE, or [run.lora] in lorachk.toml"


def arguments(run: Run) -> list[Row]:
    """The rows of the table `argument`."""
    rows: list[Row] = []
    for name, at in run.argument_places.items():
        known = name in run.training_args
        value = run.training_args.get(name)
        kind = json_type(value) if known else "unknown"
        rows.append({"name": name, "value": text(value) if known else None, "type": kind, "place": location(at)})
    return rows


def resolved(run: Run) -> list[Row]:
    """The rows of the table `resolved`: every field of the run that is known, with its origin."""
    rows: list[Row] = []
    columns = {column.name for column in tables()["run"].columns}
    for name in FIELDS:
        value = getattr(run, name)
        if name not in columns or value is None or value == []:
            continue
        at = run.at(name)
        origin = where(*at[:3]) if at else run.because.get(name)
        place = location(at) if at else None
        rows.append({"field": name, "value": text(value), "origin": origin, "given": at is not None, "place": place})
    return rows


def run_row(run: Run) -> Row:
    """The run as a row: a column per field, and `<field>_at` where it was read."""
    columns = {column.name for column in tables()["run"].columns}
    values = {name: getattr(run, name) for name in FIELDS if name in columns}
    return {**values, **{f"{name}_at": location(at) for name, at in run.origins.items() if f"{name}_at" in columns}}


def setting_row(setting: Setting) -> Row:
    """A setting as a row. A value only the shell could tell has type unknown and its reason for value."""
    value = setting.value
    known = not isinstance(value, Unknown)
    return {
        "kind": setting.kind,
        "pointer": setting.pointer,
        "name": (parts(setting.pointer) or [""])[-1],
        "value": text(value) if known else value.reason,
        "type": json_type(value) if known else "unknown",
        "place": location(setting.at),
    }


def location(at: Location) -> Mapping[str, Any]:
    """A location as a LOCATION struct."""
    return at._asdict()


def text(value: Any) -> str:
    """A value as text: strings as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def json_type(value: Any) -> str:
    """JSON type of a value; whole numbers apart from others. Dates of TOML count as strings."""
    if value is None:
        return "null"
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), ((list, tuple), "array"), (dict, "object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "string")
