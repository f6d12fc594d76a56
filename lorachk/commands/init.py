"""init: a commented lorachk.toml from what is found in a folder."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

from lorachk.errors import UsageError
from lorachk.facts.surroundings import Surroundings, look_around
from lorachk.launchers.project import NAME
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.launchers.text import is_folder, overlaid
from lorachk.report import keep
from lorachk.report.escape import visible
from lorachk.run import Run

_OTHERS = 5  # further files of a kind that are named
_WIDE = 48  # column of the remarks


def run(arguments: argparse.Namespace) -> int:
    """Write the file and say what was found. Raises UsageError when there is one already, or nothing to begin with."""
    folder = arguments.folder
    if not is_folder(folder):
        raise UsageError("no such folder", where=folder)
    target = os.path.normpath(Path(folder, NAME))
    if os.path.lexists(target) and not (arguments.force or arguments.print):
        hint = "--force replaces it, --print shows what would be written"
        raise UsageError("there is one already", where=target, hint=hint)
    found = look_around(folder)
    text = "\n".join(_lines(folder, found, _run(folder, found))) + "\n"
    problem = _problem(target, text)
    if arguments.print:
        print(text, end="")
        return 0
    keep(text.encode(), Path(target), NAME)
    print(_told(target, found))
    if problem:
        print(f"It cannot be used as it is:\n  {visible(problem)}")
    return 0


def _run(folder: str, found: Surroundings) -> Run | None:
    """The run of the first launch file; None without one, or when something it names is missing or broken."""
    first = next(iter(found.launches), None)
    if first is None:
        return None
    try:
        return resolve(ResolveOptions(isolated=True, launch=os.path.normpath(Path(folder, first)))).run
    except UsageError:
        return None


def _problem(target: str, text: str) -> str | None:
    """What keeps the file from being used, which the person must mend elsewhere."""
    try:
        with overlaid({target: text}):
            resolve(ResolveOptions(toml=target))
    except UsageError as error:
        return str(error)
    return None


def _lines(folder: str, found: Surroundings, run: Run | None) -> Iterator[str]:
    yield "# Written by `lorachk init`. What is not stated here comes from the launch file and the libraries' defaults;"
    yield "# what is stated goes before them. Lines behind # are suggestions. Then: lorachk check"
    yield ""
    yield "[run]"
    yield from _launch(found, run)
    yield from _model(found, run)
    yield from _data(folder, found, run)
    if not found.launches:
        yield from _chosen("deepspeed", found.deepspeed, "", used=True)
        yield from _chosen("peft", found.adapters, "the adapter's configuration", used=False)
    yield from _chosen("requirements", found.pins, "the versions the run will use", used=bool(found.pins))
    yield from _machine(run)
    yield ""
    yield _line("# [run.args]", "the trainer's own flags, by their names")
    yield "# per_device_train_batch_size = 1"
    yield ""
    yield _line("# [environment]", "versions where the run will be, when they are not those here")
    yield '# deepspeed = "0.19.8"'
    yield ""
    yield "[lint]"
    yield _line('fail_on = "error"', "or warning, info, never")
    yield _line('# ignore = { D111 = "why" }', "rules that are wrong for you, with the reason")


def _launch(found: Surroundings, run: Run | None) -> Iterator[str]:
    names = list(found.launches)
    yield from _chosen("launch", names, "what starts the training", used=True)
    if not names:
        yield _line('# launch = "finetune_lora.sh"', "no launch file was found: .sh, .yaml or .json with arguments")
        yield _line('# trainer = "hf"', "minicpmv, llamafactory, ms-swift, axolotl, trl, llava ...")
    elif run is not None and run.trainer:
        yield _line(f"# trainer = {_quoted(run.trainer)}", "told from the launch file")


def _model(found: Surroundings, run: Run | None) -> Iterator[str]:
    if run is not None and run.model:
        remark = "as the launch file names it" if run.model_found else "a folder with its config.json tells more"
        yield _line(f"# model = {_quoted(run.model)}", remark)
        for name in found.models[:_OTHERS]:
            yield _line(f"# model = {_quoted(name)}", "found here")
        return
    yield from _chosen("model", found.models, "folder with config.json", used=True)
    if not found.models:
        yield _line('# model = "openbmb/MiniCPM-V-2_6"', "a folder with config.json, or a name on the hub")


def _data(folder: str, found: Surroundings, run: Run | None) -> Iterator[str]:
    if run is not None and run.data:
        names = [name if "://" in name else os.path.relpath(name, folder) for name in run.data]
        yield _line(f"# data = [{', '.join(map(_quoted, names))}]", "as the launch file names it")
    else:
        train = [name for name in found.datasets if not _is_eval(name)]
        yield from _several("data", train, found)
        yield from _several("eval_data", [name for name in found.datasets if _is_eval(name)], found)
    if found.images and not (run is not None and run.image_root):
        yield _line(f"# image_root = {_quoted(_common(found.images))}", "folder that image paths are joined to")


def _several(key: str, names: list[str], found: Surroundings) -> Iterator[str]:
    if not names:
        return
    yield _line(f"{key} = [{_quoted(names[0])}]", f"{found.datasets[names[0]]} records")
    for name in names[1 : 1 + _OTHERS]:
        yield _line(f"# {key} = [{_quoted(name)}]", f"{found.datasets[name]} records")


def _machine(run: Run | None) -> Iterator[str]:
    if run is None or run.num_gpus is None:
        yield _line("# num_gpus = 8", "GPUs per machine")
    yield _line('# gpu = "RTX 4090"', "to judge for a machine that is not this one")


def _chosen(key: str, names: list[str], remark: str, *, used: bool) -> Iterator[str]:
    for index, name in enumerate(names[: 1 + _OTHERS]):
        first = index == 0 and used
        yield _line(f"{'' if first else '# '}{key} = {_quoted(name)}", remark if index == 0 else "also found")
    if len(names) > 1 + _OTHERS:
        yield f"# ... and {len(names) - 1 - _OTHERS} more"


def _line(setting: str, remark: str) -> str:
    return f"{setting:<{_WIDE}}# {remark}" if remark else setting


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_eval(name: str) -> bool:
    stem = Path(name).stem.lower()
    return any(word in stem for word in ("eval", "valid", "test", "dev"))


def _common(folders: list[str]) -> str:
    return os.path.commonpath(folders) or "."


def _told(target: str, found: Surroundings) -> str:
    counts = (
        (len(found.launches), "launch file"),
        (len(found.deepspeed), "DeepSpeed file"),
        (len(found.models), "model folder"),
        (len(found.adapters), "adapter"),
        (len(found.datasets), "dataset"),
        (len(found.pins), "file of versions"),
    )
    said = [f"{count} {name if count == 1 else _plural(name)}" for count, name in counts if count]
    lines = [f"wrote {visible(target)}: found {', '.join(said) or 'nothing of a run, so it holds suggestions only'}"]
    if not found.whole:
        lines.append("the folder holds very many files; not all of them were looked at")
    folder = str(Path(target).parent)
    there = "" if folder == "." else f"cd {visible(folder)} && "
    lines.append(f"next: look through it, then {there}lorachk check")
    return "\n".join(lines)


def _plural(name: str) -> str:
    return "files of versions" if name == "file of versions" else f"{name}s"
