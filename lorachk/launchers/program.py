"""The training program that a launch command starts."""

from __future__ import annotations

from lorachk.launchers.command import Launch
from lorachk.launchers.text import inside, is_file


def program_file(launch: Launch, folder: str) -> str | None:
    """Its Python file, whether it is there or not; None for a command of a trainer's own and for a library's module.

    `folder` is where the command is started. A module (`python -m llava.train.train`) is only taken for a file that is
    found below it.
    """
    program = launch.program
    if not program:
        return None
    if program.endswith(".py"):
        return inside(folder, program)
    if program.startswith("trl.scripts."):  # the same that `trl sft` starts
        return program.replace(".", "/") + ".py"
    module = inside(folder, program.replace(".", "/") + ".py")
    return module if "/" not in program and is_file(module) else None
