"""`accelerate launch --config_file`: the processes it starts, and the DeepSpeed settings it passes on."""

from __future__ import annotations

from typing import NamedTuple

from lorachk.errors import UsageError
from lorachk.launchers.command import Launch
from lorachk.launchers.positions import noted, settings_of
from lorachk.launchers.text import inside, read_text, where
from lorachk.launchers.values import Found, Unknown, as_int, implied
from lorachk.run import Location, Setting, Source

_UNTOLD = Unknown("accelerate takes it from the configuration file of the machine it starts on (accelerate config)")
_STAGES = ("zero_stage", "offload_optimizer", "offload_param")


class AccelerateConfig(NamedTuple):
    """Run fields out of accelerate's own flags and file, and the settings and source of the file."""

    fields: dict[str, Found]
    settings: list[Setting]
    source: Source | None


def read_accelerate(launch: Launch, folder: str, named_at: str) -> AccelerateConfig:
    """What accelerate decides on its own account. UsageError for a file that is missing or no YAML mapping.

    A flag of the training script (`--deepspeed ds.json`) goes before all of this.
    """
    own = launch.launcher_flags
    named = own.get("config_file")
    given = {name: found for name, found in own.items() if name != "config_file"}
    settings: list[Setting] = []
    source = None
    if named is not None and isinstance(named.value, str):
        at = where(*named.at[:3]) if named.at.line else named_at
        values, source = _read(inside(folder, named.value), at)
        settings = [Setting("accelerate", pointer, found.value, found.at) for pointer, found in values.items()]
        stated = {pointer.rsplit("/", 1)[-1]: found for pointer, found in values.items()}
        given = {**stated, **given}
        kind = str(given.get("distributed_type", Found("NO", Location("default"))).value).upper()
        if kind == "DEEPSPEED":
            given.setdefault("use_deepspeed", stated["distributed_type"])
        else:
            for name in ("zero_stage", "deepspeed_config_file"):
                given.pop(name, None)
            if kind == "FSDP":
                settings.append(Setting("accelerate", "/use_fsdp", True, stated["distributed_type"].at))
                given.setdefault("use_fsdp", stated["distributed_type"]._replace(value=True))
        _export(launch, given)
        return AccelerateConfig(_fields(given, "no"), settings, source)
    if named is not None:  # its name is known to the shell only
        return AccelerateConfig(_fields(given, "unknown"), settings, source)
    _export(launch, given)
    told = given.keys() & {"multi_gpu", "use_fsdp", "cpu", "distributed_type"}
    return AccelerateConfig(_fields(given, "no" if told else "unknown"), [], None)


def _export(launch: Launch, given: dict[str, Found]) -> None:
    """Variables of accelerate that trainers look at."""
    if "use_fsdp" in given:
        launch.environment.setdefault("FSDP_VERSION", given.get("fsdp_version", given["use_fsdp"]._replace(value=1)))


def _fields(given: dict[str, Found], otherwise: str) -> dict[str, Found]:
    found: dict[str, Found] = {"fsdp": given["use_fsdp"]} if "use_fsdp" in given else {}
    machines, total = given.get("num_machines"), given.get("num_processes")
    if machines is not None:
        found["num_nodes"] = machines
    if total is not None:
        nodes = as_int(machines.value) if machines is not None else 1
        count = as_int(total.value)
        if nodes and count:
            found["num_gpus"] = Found(count // nodes, total.at)
    if "use_fsdp" in given:
        found["fsdp"] = given["use_fsdp"]
    if "deepspeed_config_file" in given:
        found["deepspeed"] = given["deepspeed_config_file"]
    elif "use_deepspeed" in given:
        at = given["use_deepspeed"].at
        found["zero_stage"] = given.get("zero_stage", Found(2, at))  # accelerate's default
        for side in ("optimizer", "param"):
            found[f"offload_{side}"] = given.get(f"offload_{side}_device", Found("none", at))
    elif otherwise == "unknown":
        found |= dict.fromkeys(_STAGES, implied(_UNTOLD, "accelerate config"))
    return found


def _read(path: str, named_at: str) -> tuple[dict[str, Found], Source]:
    from lorachk.launchers.yaml_positions import parse_yaml

    text, source = read_text(path, "accelerate", named_at)
    document = parse_yaml(text, path)
    if not isinstance(document.value, dict):
        raise UsageError("is no configuration file of accelerate: it holds no mapping", where=path)
    found = {entry.pointer: Found(entry.value, entry.at) for entry in settings_of("accelerate", path, document)}
    return found, noted(source, document)
