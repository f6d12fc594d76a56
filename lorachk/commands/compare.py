"""compare A B: what two launches do, side by side, differences first, each with where it comes from."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lorachk.commands.options import resolve_options
from lorachk.errors import UsageError
from lorachk.launchers.effective import Effect, as_text, effects
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.launchers.text import is_deepspeed, is_file, is_folder
from lorachk.report.escape import dump_json, markdown_cell, no_commands, visible
from lorachk.run import Run

if TYPE_CHECKING:
    from rich.text import Text


class Pair(NamedTuple):
    """One thing as both runs do it."""

    left: Effect
    right: Effect

    @property
    def differs(self) -> bool:
        """Whether the runs do it differently, as far as is known of both."""
        return bool(self.left.value != self.right.value)

    @property
    def known(self) -> bool:
        """Whether something is known of either."""
        return self.left.value is not None or self.right.value is not None


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison. Raises UsageError for a file that is no launch."""
    from lorachk.report import put

    common = resolve_options(arguments)
    sides = [
        [_shortened(effect, path) for effect in effects(_resolved(path, common))]
        for path in (arguments.left, arguments.right)
    ]
    pairs = [Pair(*both) for both in zip(*sides, strict=True)]
    shown = [pair for pair in pairs if pair.known and (arguments.all or pair.differs)]
    names = (arguments.left, arguments.right)
    same = sum(pair.known and not pair.differs for pair in pairs)
    if arguments.format == "json":
        text = _json(pairs, names)
    else:
        render = _markdown if arguments.format == "markdown" else _terminal
        text = no_commands(render(shown, names, same, everything=arguments.all))
    put(text, Path(arguments.output) if arguments.output else None)
    return 0


def _resolved(path: str, common: ResolveOptions) -> Run:
    """The run of a launch file, a lorachk.toml, a DeepSpeed file, or a folder with a lorachk.toml."""
    options = replace(common, isolated=True)
    if is_folder(path) and is_file(f"{path}/lorachk.toml"):
        path = f"{path}/lorachk.toml"
    if is_folder(path):
        raise UsageError("is a folder without lorachk.toml", where=path, hint="name the launch file in it")
    if path.endswith(".toml"):
        return resolve(replace(options, toml=path)).run
    if path.endswith(".json") and is_deepspeed(path):
        return resolve(replace(options, deepspeed=path)).run
    return resolve(replace(options, launch=path)).run


def _shortened(effect: Effect, path: str) -> Effect:
    """Paths as they are from the folder of the launch file: two runs with their own copies of a file do the same."""
    folder = os.path.normpath(path if is_folder(path) else Path(path).parent)

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(part) for part in value]
        return value.replace(f"{folder}/", "") if isinstance(value, str) and folder != "." else value

    return effect._replace(value=short(effect.value), origin=short(effect.origin))


def _told(effect: Effect) -> str:
    return visible(as_text(effect.value))


def _terminal(pairs: list[Pair], names: tuple[str, str], same: int, *, everything: bool) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for name in names:
        table.add_column(Text(visible(name)), overflow="fold")
    topic = ""
    for pair in pairs:
        if pair.left.topic != topic:
            topic = pair.left.topic
            table.add_row(Text(topic, style="bold cyan"))
        style = "yellow" if pair.differs and everything else ""
        table.add_row(Text(f"  {pair.left.name}", style=style), *(_cell(effect) for effect in pair))
    console = Console(highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    text = "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n" if pairs else ""
    return text + _closing(pairs, same, everything=everything)


def _cell(effect: Effect) -> Text:
    from rich.text import Text

    text = Text(_told(effect), style="dim" if effect.value is None else "")
    if effect.origin and effect.value is not None:
        text.append(f"\n{visible(effect.origin)}", style="dim")
    return text


def _closing(pairs: list[Pair], same: int, *, everything: bool) -> str:
    count = sum(pair.differs for pair in pairs)
    unknown = sum(pair.differs and None in (pair.left.value, pair.right.value) for pair in pairs)
    said = f"{count} difference{'s' * (count != 1)}"
    said += f", {unknown} of them known of one run only" if unknown else ""
    return f"\n{said}; {same} settings are the same{'' if everything else ' (--all shows them)'}.\n"


def _markdown(pairs: list[Pair], names: tuple[str, str], same: int, *, everything: bool) -> str:
    lines = [f"| | {' | '.join(markdown_cell(visible(name)) for name in names)} |", "|---|---|---|"]
    for pair in pairs:
        cells = []
        for effect in pair:
            origin = (
                f"<br>{markdown_cell(visible(effect.origin))}" if effect.origin and effect.value is not None else ""
            )
            cells.append(f"{markdown_cell(_told(effect))}{origin}")
        lines.append(f"| {pair.left.topic}: {pair.left.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" + _closing(pairs, same, everything=everything)


def _json(pairs: list[Pair], names: tuple[str, str]) -> str:
    def side(effect: Effect) -> dict[str, object]:
        return {"value": effect.value, "origin": effect.origin}

    return dump_json(
        {
            "version": 1,
            "left": names[0],
            "right": names[1],
            "settings": [
                {
                    "topic": pair.left.topic,
                    "name": pair.left.name,
                    "differs": pair.differs,
                    "left": side(pair.left),
                    "right": side(pair.right),
                }
                for pair in pairs
                if pair.known
            ],
        }
    )
