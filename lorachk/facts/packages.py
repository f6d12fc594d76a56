"""Table package: the distributions whose versions decide how the run behaves. None is imported."""

from __future__ import annotations

from lorachk.facts.collector import Context, Row
from lorachk.launchers.versions import OF_INTEREST, installed


def collect(context: Context) -> None:
    """One row per distribution: what [environment] states, else what is installed here."""
    found = rows(context)
    context.sink.add("package", found)
    known = {row["name"] for row in found}
    for name, used in (("deepspeed", context.run.deepspeed), ("transformers", context.run.trainer)):
        if used and name not in known:
            reason = f"{name} is not installed here: state its version under [environment] in lorachk.toml"
            context.sink.unknown("package.version", reason, 1)


def rows(context: Context) -> list[Row]:
    """The rows of the table."""
    stated = context.run.environment
    places = {
        setting.pointer.rpartition("/")[2].lower().replace("_", "-").replace(".", "-"): setting.at
        for setting in context.settings
        if setting.kind == "toml" and setting.pointer.startswith("/environment/")
    }
    found: list[Row] = []
    for name in sorted({*OF_INTEREST, *stated}):
        if name in stated:
            at = places.get(name)
            entry = {"version": stated[name], "origin": "environment", "place": at._asdict() if at else None}
        elif version := installed(name):
            entry = {"version": version, "origin": "installed", "place": None}
        else:
            continue
        found.append({"name": name, **entry})
    return found
