"""The file a run is launched with: a shell script, which is read and never run, or a file of arguments."""

from __future__ import annotations

from typing import NamedTuple

from lorachk.errors import UsageError
from lorachk.launchers.command import ENDINGS, Launch, find_launch
from lorachk.launchers.shell_script import evaluate
from lorachk.launchers.started import arguments_from, started_in
from lorachk.launchers.text import inside, read_text, where
from lorachk.launchers.trainers import recognise
from lorachk.launchers.values import Found, Unknown
from lorachk.run import Setting, Source

_OTHER = {
    ".py": "a Python file can do anything before it trains, so it is not read",
    ".toml": "a TOML file launches nothing",
}


class LaunchFile(NamedTuple):
    """A launch file: the command in it, the trainer it starts, and every argument as a setting."""

    path: str
    folder: str  # where it is started
    launch: Launch
    trainer: str | None
    settings: list[Setting]
    sources: list[Source]


def read_launch(path: str, named_at: str | None = None, trainer: str | None = None) -> LaunchFile:
    """Read a launch script, or a YAML or JSON file of arguments, for `trainer` where that is known.

    UsageError when it is missing, broken, or starts no training.
    """
    for ending, reason in _OTHER.items():
        if path.endswith(ending):
            raise UsageError(
                f"cannot be used as a launch file: {reason}",
                where=path,
                hint="give the shell script that starts the run, its YAML, or describe the run in lorachk.toml",
            )
    return _config(path, named_at, trainer) if path.endswith(ENDINGS) else _script(path, named_at, trainer)


def _config(path: str, named_at: str | None, trainer: str | None) -> LaunchFile:
    from lorachk.launchers.config_file import read_config, refuse_other, told_by_keys

    config = read_config(path, named_at)
    refuse_other(config)
    trainer = trainer or told_by_keys(set(config.arguments))
    if trainer is None:
        raise UsageError(
            "no trainer is known that has such arguments",
            where=path,
            hint="say whose file it is: --trainer llamafactory, axolotl, ms-swift, trl, hf ...",
        )
    launch = Launch(trainer, None, {}, config.arguments, {}, 1)
    settings = [*config.settings, *_hand_on(launch)]
    folder = arguments_from(config.arguments, path)
    return LaunchFile(path, folder, launch, trainer, settings, [config.source])


def _script(path: str, named_at: str | None, trainer: str | None) -> LaunchFile:
    text, source = read_text(path, "launch", named_at)
    script = evaluate(text, path)
    launch = find_launch(script, path)
    folder = started_in(launch, script, path)
    settings = [
        *_settings("launcher", launch.launcher_flags),
        *_settings("launch", launch.flags),
        *_settings("env", launch.environment),
        *(Setting("launch", "", word.value, word.at) for word in launch.unread),
    ]
    sources = [source, *script.sources]
    if launch.config is not None and isinstance(launch.config.value, str):
        from lorachk.launchers.config_file import read_config, told_by_keys

        config = read_config(inside(folder, launch.config.value), where(*launch.config.at[:3]))
        launch.flags = {**config.arguments, **launch.flags}  # what the command line says goes before the file
        settings += config.settings
        sources.append(config.source)
        trainer = trainer or told_by_keys(set(config.arguments))
    elif launch.config is not None and isinstance(launch.config.value, Unknown):
        raise UsageError(
            f"the file of arguments cannot be known: {launch.config.value.reason}",
            where=where(*launch.config.at[:3]),
            hint="write its name out, or give the file itself",
        )
    settings += _hand_on(launch)
    return LaunchFile(path, folder, launch, recognise(launch) or trainer, settings, sources)


def _hand_on(launch: Launch) -> list[Setting]:
    """What TRL's command hands on to accelerate is none of its own arguments."""
    if launch.launcher != "trl":
        return []
    from lorachk.launchers.by_trainer.trl import hand_on

    hand_on(launch)
    return _settings("launcher", launch.launcher_flags)


def _settings(kind: str, found: dict[str, Found]) -> list[Setting]:
    return [Setting(kind, f"/{name}", entry.value, entry.at) for name, entry in found.items()]
