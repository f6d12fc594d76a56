"""Table package: the distributions whose versions decide how the run behaves. None is imported."""

from __future__ import annotations

from lorachk.facts.collector import Context, Row
from lorachk.launchers.requirements import normal
from lorachk.launchers.text import where
from lorachk.launchers.versions import OF_INTEREST, installed, used


def collect(context: Context) -> None:
    """One row per distribution: what [environment] states, else what is installed here."""
    found = rows(context)
    context.sink.add("package", found)
    known = {row["name"] for row in found}
    for name, wanted in (("deepspeed", context.run.deepspeed), ("transformers", context.run.trainer)):
        if wanted and name not in known:
            context.sink.unknown("package.version", _why(name, context), 1)


def _why(name: str, context: Context) -> str:
    """Why the version of a distribution is not known."""
    for setting in context.settings:
        if setting.kind == "requirements" and setting.pointer == f"/{name}":
            return f"{where(*setting.at[:3])} leaves open which {name} is used: {name} {setting.value}"
    return f"{name} is not installed here: state its version under [environment] in lorachk.toml"


def rows(context: Context) -> list[Row]:
    """The rows of the table."""
    stated = context.run.environment
    stating = [s for s in context.settings if s.kind == "requirements"]
    stating += [s for s in context.settings if s.kind == "toml" and s.pointer.startswith("/environment/")]
    places = {normal(setting.pointer.rpartition("/")[2]): setting for setting in stating}  # the later beats the earlier
    found: list[Row] = []
    for name in sorted({*OF_INTEREST, *stated}):
        if name in stated:
            if used(name, stated) is None:  # a range that the installed version is not in
                continue
            setting = places.get(name)
            origin = "requirements" if setting and setting.kind == "requirements" else "environment"
            place = setting.at._asdict() if setting else None
            entry = {"version": stated[name], "origin": origin, "place": place}
        elif version := installed(name):
            entry = {"version": version, "origin": "installed", "place": None}
        else:
            continue
        found.append({"name": name, **entry})
    return found
