"""Which arguments the run's trainer takes, in the versions the run will use."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lorachk.facts import argument_scripts
from lorachk.facts.argument_classes import Argument
from lorachk.facts.argument_versions import NotKnown, Span, declared, recorded, spans, unpacked
from lorachk.launchers.trainers import PLAIN_HF
from lorachk.launchers.versions import installed, used
from lorachk.run import Run

# trl: program or subcommand -> the classes its parser is made of; the first script class that a version has counts
_TRL = {
    "sft": ("SFTConfig", ("ScriptArguments",)),
    "dpo": ("DPOConfig", ("ScriptArguments",)),
    "grpo": ("GRPOConfig", ("GRPOScriptArguments",)),
    "kto": ("KTOConfig", ("ScriptArguments",)),
    "rloo": ("RLOOConfig", ("RLOOScriptArguments", "ScriptArguments")),
    "reward": ("RewardConfig", ("ScriptArguments",)),
    "orpo": ("ORPOConfig", ("ScriptArguments",)),
    "cpo": ("CPOConfig", ("ScriptArguments",)),
}
_TRL_FIRST = "0.13"  # ScriptArguments as it is now
# Trainers that are installed as packages and change from release to release: their record is of one commit.
PACKAGED = {"llamafactory", "ms-swift", "axolotl"}
# What a trainer reads besides its classes.
_EXTRA = {
    "trl": ("config", "accelerate_config"),
    "ms-swift": ("config", "ENV"),
    "llamafactory": ("config",),
    "axolotl": ("launcher", "cloud", "sweep", "num_processes", "main_process_port", "debug", "prompter", "shard"),
}
# The first version whose arguments are as recorded, but for a few.
_SINCE = {"ms-swift": "4.0"}
# Keys under which these files describe more arguments than the classes declare.
_OPENING = {"axolotl": ("plugins",), "ms-swift": ("external_plugins", "ignore_args_error")}


class Known(NamedTuple):
    """An argument that the trainer takes."""

    argument: Argument
    owner: str
    source: str  # transformers 5.24.0, trl 0.17.0, OpenBMB/MiniCPM-V@0dbb566, or a file
    origin: str  # installed, recorded or script
    choices: tuple[str, ...]
    span: Span | None


@dataclass
class Accepted:
    """All arguments of the run's trainer, and what happens to others."""

    known: dict[str, Known] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    gone: dict[str, tuple[str, Span]] = field(default_factory=dict)  # of other versions: library and when
    source: str = ""  # whose arguments they are, in words
    certain: bool = True  # an argument that is not in `known` is not taken; else only those in `gone` are not
    unknown: str = "stops"  # what an unknown argument does: stops, ignored
    whole: bool = True  # the trainer's own classes are known, not transformers' alone
    words: bool = True  # argparse reads them: abbreviations and --no_x


def accepted(run: Run, program: str | None, launcher: str | None, folder: str) -> Accepted:
    """The arguments of the run's trainer. Raises NotKnown with the reason when that cannot be said."""
    trainer = run.trainer
    if trainer is None:
        raise NotKnown("which trainer reads the arguments is not known: --trainer says it")
    script = argument_scripts.find(program, folder) if trainer not in PACKAGED and launcher not in PACKAGED else None
    libraries = _Libraries(run)
    made = Accepted()
    found = argument_scripts.read_script(script, folder, libraries.names()) if script else None
    if found is not None:
        made.source, made.unknown = found.path, "stops" if found.strict else "ignored"
        for owner, fields in found.owners.items():
            _add(made, fields, owner, found.path, "script")
        libraries.add(made, found.roots)
    elif trainer == "trl":
        _trl(made, libraries, program)
    elif trainer in recorded()["trainers"]:
        _recorded(made, libraries, trainer, program)
    elif trainer in PLAIN_HF:
        libraries.add(made, {"TrainingArguments"})
        made.certain = made.whole = False
        made.source = made.source or f"transformers {libraries.version('transformers')}"
    else:
        raise NotKnown(f"which arguments {trainer} takes is not recorded")
    for name in _EXTRA.get(trainer, ()):
        _add(made, {name: Argument(name, "string")}, trainer, trainer, "recorded")
    if any(name in run.argument_places for name in _OPENING.get(trainer, ())):
        made.certain = False
    made.words = run.launch is not None and not run.launch.endswith((".yaml", ".yml", ".json"))
    for known in made.known.values():
        made.aliases.update(dict.fromkeys(known.argument.aliases, known.argument.name))
    return made


def _trl(made: Accepted, libraries: _Libraries, program: str | None) -> None:
    from lorachk.launchers.versions import at_least

    version = libraries.version("trl")
    if version and at_least(version, _TRL_FIRST) is False:
        raise NotKnown(f"the arguments of trl {version} are not recorded: the oldest is {_TRL_FIRST}")
    stem = Path(program or "").stem.partition("_")[0]
    if stem not in _TRL:
        made.certain = made.whole = False
    config, scripts = _TRL.get(stem, ("SFTConfig", ("ScriptArguments",)))
    sources = declared("trl", version)
    script = next((name for name in scripts if name in sources.classes), scripts[-1])
    libraries.add(made, {config, script, "ModelConfig", *({"DatasetMixtureConfig"} & sources.classes.keys())})
    made.source = f"trl {version}'s {config}"


def _recorded(made: Accepted, libraries: _Libraries, trainer: str, program: str | None) -> None:
    from lorachk.launchers.versions import at_least

    version = libraries.version(trainer) if trainer in _SINCE else None
    if version and at_least(version, _SINCE[trainer]) is False:
        raise NotKnown(f"the arguments of {trainer} {version} are not recorded: the oldest is {_SINCE[trainer]}")
    data = recorded()["trainers"][trainer]
    parsers: dict[str, Any] = data["parsers"]
    name = Path(program).name if program else ""
    known = name in parsers or not name or trainer in PACKAGED or (trainer, name) in _SAME
    classes = parsers.get(name) or next(iter(parsers.values()))
    made.source = data["source"]
    made.certain = False  # another commit may take more
    made.whole = known
    if trainer == "axolotl":
        made.unknown = "ignored"
    roots: set[str] = set()
    for owner, entry in classes.items():
        fields = {field: unpacked(field, packed) for field, packed in entry["fields"].items()}
        _add(made, fields, owner, data["source"], "recorded")
        roots |= set(entry["roots"])
    libraries.add(made, roots)


# Programs whose parser is the one that is recorded under another name.
_SAME = {
    ("llava", "train.py"),
    ("llava", "train_xformers.py"),
    ("vlm-r1", "grpo_rec.py"),
    ("internvl", "internvl_chat_finetune_custom.py"),
}


def _add(made: Accepted, fields: dict[str, Argument], owner: str, source: str, origin: str) -> None:
    """Add arguments that are not there yet: a trainer's own come before those of its base classes."""
    for name, argument in fields.items():
        made.known.setdefault(name, Known(argument, owner, source, origin, argument.choices, None))


class _Libraries:
    """transformers and trl in the versions the run will use."""

    def __init__(self, run: Run) -> None:
        self.environment = run.environment

    def version(self, library: str) -> str | None:
        return used(library, self.environment)

    def names(self) -> dict[str, set[str]]:
        """Class names that a script may take from each, whatever the version."""
        return {name: set(data["bases"]) for name, data in recorded()["libraries"].items()}

    def add(self, made: Accepted, roots: set[str]) -> None:
        """Add the fields of these classes and of what they descend from."""
        names = self.names()
        for library in ("trl", "transformers"):
            mine = roots & names[library]
            if library == "transformers" and roots - mine:
                mine |= {"TrainingArguments"}
            if not mine:
                continue
            version = self.version(library)
            sources = declared(library, version)
            source = f"{library} {version}"
            origin = "installed" if version == installed(library) else "recorded"
            when = spans(library, self._family(library, mine))
            outside = {name: dict[str, Argument]() for name in names["transformers"]} if library == "trl" else {}
            for name in sorted(mine):
                fields = sources.fields(name, outside)
                if fields is None:
                    raise NotKnown(f"{library} {version} has no {name}")
                for argument in fields.values():
                    choices = argument.choices or sources.enums.get(argument.enum or "", ())
                    entry = Known(argument, name, source, origin, choices, when.get(argument.name))
                    made.known.setdefault(argument.name, entry)
            for field_name, span in when.items():
                if field_name not in made.known:
                    made.gone.setdefault(field_name, (library, span))
            made.source = made.source or source

    def _family(self, library: str, names: set[str]) -> set[str]:
        """The classes and all they descended from in any version."""
        bases = recorded()["libraries"][library]["bases"]
        found, todo = set[str](), [*names]
        while todo:
            name = todo.pop()
            if name in found or name not in bases:
                continue
            found.add(name)
            todo += [base.removeprefix("^") for _, _, entry in bases[name] for base in entry]
        return found
