"""Table ds_value: the DeepSpeed configuration as it reaches DeepSpeed, and what transformers compares it with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorachk.deepspeed import accelerate, arguments
from lorachk.deepspeed.auto import resolve
from lorachk.deepspeed.tree import ABSENT, Path, Tree, Value, dotted, known, pointer
from lorachk.facts.collector import Context, Row
from lorachk.facts.settings import json_type, location, text
from lorachk.launchers.values import Unknown
from lorachk.launchers.versions import used
from lorachk.run import Location


def collect(context: Context) -> None:
    """One row per value; none when DeepSpeed is not used."""
    context.sink.add("ds_value", rows(context))


def rows(context: Context) -> list[Row]:
    """The rows of the table."""
    run = context.run
    launcher = arguments.launcher_settings(context.settings)
    fields = arguments.plugin_fields(launcher)
    places = {setting.pointer: setting.at for setting in context.settings if setting.kind == "deepspeed"}
    file = run.deepspeed_config
    if not file and not run.deepspeed and "deepspeed_config_file" not in launcher and launcher:
        file = accelerate.without_file(fields)
        places = {
            pointer(tuple(key.split("."))): launcher[name].at
            for name, (key, _) in accelerate.FIELDS.items()
            if name in launcher
        }
    if not file:
        return []
    given = arguments.arguments(run, launcher)
    transformers = used("transformers", run.environment)
    tree = resolve(
        file,
        given.values,
        arguments.sizes(context.settings, run.model_type, transformers),
        transformers=transformers,
        fields=fields,
        to_accelerate=bool(launcher) and "deepspeed" not in run.argument_places,
    )
    return [_row(path, value, tree, given, places) for path, value in tree.values.items()] + _lost(tree, places)


def _row(path: Path, value: Value, tree: Tree, given: arguments.Given, places: Mapping[str, Location]) -> Row:
    wanted = value.wanted
    unknown = value.value if isinstance(value.value, Unknown) else _unknown_part(value.value)
    row: dict[str, Any] = {
        "pointer": pointer(path),
        "key": dotted(path),
        "given": None if value.given is ABSENT else _text(value.given),
        "value": None if unknown else _text(value.value),
        "type": "unknown" if unknown else json_type(value.value),
        "origin": value.by,
        "reason": unknown.reason if unknown else None,
        "agrees": value.agrees,
        "mismatch": value.mismatch,
        "refused": next((r.message for r in tree.refusals if r.path == path), None),
        "place": location(places[pointer(path)]) if pointer(path) in places else None,
    }
    if wanted is not None:
        at = dict.fromkeys(given.places[name] for name in wanted.fields if name in given.places)
        row |= {
            "argument": wanted.name,
            "fields": list(wanted.fields),
            "argument_value": _text(wanted.value) if known(wanted.value) else None,
            "argument_origin": given.origin(wanted.fields),
            "argument_places": [location(place) for place in at],
        }
    return row


def _lost(tree: Tree, places: Mapping[str, Location]) -> list[Row]:
    """What is refused although it is no value: a block, or one that is absent."""
    return [
        {
            "pointer": pointer(refusal.path),
            "key": dotted(refusal.path),
            "origin": refusal.by,
            "refused": refusal.message,
            "place": location(places[pointer(refusal.path)]) if pointer(refusal.path) in places else None,
        }
        for refusal in tree.refusals
        if refusal.path not in tree.values
    ]


def _unknown_part(value: Any) -> Unknown | None:
    parts = value if isinstance(value, list) else []
    return next((part for part in parts if isinstance(part, Unknown)), None)


def _text(value: Any) -> str | None:
    return None if value is None else text(value)
