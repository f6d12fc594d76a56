"""Table registry: what a dataset_info.json of LLaMA-Factory says of the datasets that are looked at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lorachk.facts.collector import Context
from lorachk.facts.records.datasetinfo import Entry, Fault, entry_for, is_registry, read
from lorachk.facts.settings import location
from lorachk.run import Location


class Leaf(NamedTuple):
    """One leaf of an entry, or what is wrong with it: a row of the table."""

    name: str  # the dataset
    file: str | None  # its file as `record.path` names it
    key: str  # file_name, formatting, columns/images ...
    value: str | None
    looked_up: bool  # a column that the trainer looks up in every record
    problem: str | None
    fatal: bool | None  # the trainer stops on the problem
    place: Location


def collect(context: Context) -> None:
    """Fill registry. UsageError for a registry among the data that is no JSON; no rows where there is none."""
    run = context.run
    found = leaves([*run.data, *run.eval_data], beside=run.trainer == "llamafactory")
    context.sink.add("registry", [{**leaf._asdict(), "place": location(leaf.place)} for leaf in found])


def leaves(data: Iterable[str], *, beside: bool) -> list[Leaf]:
    """Leaves and faults of the registries among `data`, and with `beside` of the entries that name its files."""
    found: dict[Leaf, None] = {}
    for path in data:
        if is_registry(path):
            registry = read(path)
            for entry in registry.entries:
                for file in entry.files or (None,):
                    found |= dict.fromkeys(_leaves(entry, file))
            found |= dict.fromkeys(_faulty(registry.faults, None))
        elif beside and (one := entry_for(path)):
            registry, entry = one
            found |= dict.fromkeys(_leaves(entry, path))
            found |= dict.fromkeys(_faulty([f for f in registry.faults if f.name == entry.name], path))
    return list(found)


def _leaves(entry: Entry, file: str | None) -> Iterator[Leaf]:
    columns = entry.mapping.columns
    for setting in entry.settings:
        key = _below(setting.pointer)
        block, _, column = key.partition("/")
        value = setting.value if isinstance(setting.value, str) else json.dumps(setting.value)
        looked_up = block == "columns" and columns.get(column) == setting.value
        yield Leaf(entry.name, file, key, value, looked_up, None, None, setting.at)


def _faulty(faults: Iterable[Fault], file: str | None) -> Iterator[Leaf]:
    for fault in faults:
        yield Leaf(fault.name, file, _below(fault.at.pointer or ""), None, False, fault.text, fault.fatal, fault.at)


def _below(pointer: str) -> str:
    """The part of a pointer inside its entry: columns/images of /mydocs/columns/images."""
    return pointer[1:].partition("/")[2]
