"""What is particular to a trainer's own configuration; a module is imported when its trainer is met.

Each module has

    fields(given, folder, environment) -> dict[str, Found]
        Run fields out of the trainer's arguments where the common names (launchers/trainers.py) do not tell, or tell
        wrongly: they go before those. `folder` is where the trainer starts; `environment` the variables it is started
        with.
    complete(layers, given, environment, launched) -> None
        Fill what nothing stated with what the trainer does on its own account, each with a reason (`why`).
        `environment` holds the stated versions; `launched` says that the whole configuration was given.
    processes(launch) -> dict[str, Found]
        `num_gpus` and `num_nodes` when the trainer's own command starts the processes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from lorachk.launchers.command import Launch
    from lorachk.launchers.layers import Layers
    from lorachk.launchers.values import Found

_MODULES: dict[str, str] = {"axolotl": "axolotl", "llamafactory": "llamafactory", "ms-swift": "ms_swift", "trl": "trl"}


class ByTrainer(Protocol):
    """A module of this package."""

    def fields(self, given: dict[str, Found], folder: str, environment: dict[str, Found]) -> dict[str, Found]:
        """Run fields out of the trainer's own arguments."""

    def complete(self, layers: Layers, given: dict[str, Found], environment: dict[str, str], launched: bool) -> None:
        """What the trainer does where nothing is said."""

    def processes(self, launch: Launch) -> dict[str, Found]:
        """Ranks per machine and machines."""


def of(trainer: str | None) -> ByTrainer | None:
    """The module of a trainer that has one."""
    name = _MODULES.get(trainer or "")
    return cast(ByTrainer, import_module(f"{__name__}.{name}")) if name else None
