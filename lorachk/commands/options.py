"""From parsed words to what the engine takes: how the run is resolved, how facts are looked at."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lorachk.commands.progress import Watched
from lorachk.errors import UsageError
from lorachk.facts.collector import Options
from lorachk.launchers.resolve import ResolveOptions
from lorachk.run import Run


def require_input(command: str, run: Run) -> None:
    """A gate that was given nothing to look at must not say that all is well. Raises UsageError."""
    launched = run.launch or run.deepspeed or run.model or run.use_lora
    message, hint = None, "or write a lorachk.toml in this folder"
    if command == "data" and not run.data:
        message, hint = "no dataset is named", f"lorachk data train.json, {hint}"
    elif command == "model" and not launched:
        message, hint = "nothing to check is named", f"lorachk model --config ds.json, --launch, --model ..., {hint}"
    elif command == "smoke-train" and not run.model:
        message, hint = "no model is named", f"lorachk smoke-train --model DIR, {hint}"
    elif command == "check" and not (run.data or launched):
        message, hint = "nothing to check is named", f"lorachk check finetune_lora.sh, {hint}"
    if message:
        raise UsageError(message, where=command, hint=hint)


def resolve_options(arguments: argparse.Namespace) -> ResolveOptions:
    """What the command line says about the run."""
    deepspeed, toml = None, None
    for text in arguments.config:
        if text.endswith(".toml"):
            toml = text
        else:
            deepspeed = text

    def given(name: str) -> str | None:
        value: str | None = getattr(arguments, name, None)
        return value

    def number(name: str) -> int | None:
        value: int | None = getattr(arguments, name, None)
        return value

    return ResolveOptions(
        data=[*(getattr(arguments, "files", None) or ()), *(getattr(arguments, "data", None) or ())],
        eval_data=list(getattr(arguments, "eval_data", None) or ()),
        image_root=given("image_root"),
        model=given("model"),
        tokenizer=given("tokenizer"),
        launch=given("launch_file") or given("launch"),
        peft=given("peft"),
        deepspeed=deepspeed,
        toml=toml,
        isolated=arguments.isolated,
        trainer=given("trainer"),
        family=given("family"),
        max_length=number("max_length"),
        max_slice_nums=number("max_slice_nums"),
        gpu=given("gpu"),
        gpu_memory=given("gpu_memory"),
        num_gpus=number("num_gpus"),
        num_nodes=number("num_nodes"),
        requirements=given("requirements"),
    )


def looking(arguments: argparse.Namespace, watched: Watched) -> Options:
    """How thorough to look."""
    return Options(
        deep=getattr(arguments, "deep", False),
        fetch_urls=getattr(arguments, "fetch_urls", False),
        trust_remote_code=getattr(arguments, "trust_remote_code", False),
        rehearsal_steps=getattr(arguments, "steps", 3),
        rehearsal_ranks=getattr(arguments, "ranks", 2),
        rehearsal_timeout=getattr(arguments, "timeout", 600.0),
        real_weights=getattr(arguments, "real_weights", False),
        trace=not getattr(arguments, "no_trace", False),
        progress=watched.say,
        bar=watched.bar,
    )


def codes(texts: Sequence[str]) -> list[str]:
    """Codes of --select or --ignore, which may be given several at once with commas."""
    return [code.strip() for text in texts for code in text.split(",") if code.strip()]


def facts_file(arguments: argparse.Namespace) -> Path | None:
    """The file of --facts. Raises UsageError when it is not there, or when data is named beside it."""
    if not arguments.facts:
        return None
    named = [*(getattr(arguments, "files", None) or ()), *(getattr(arguments, "data", None) or ())]
    if named:
        hint = f"leave out {named[0]}: the file holds what was seen of its own dataset"
        raise UsageError("facts are asked instead of a dataset, not beside one", where="--facts", hint=hint)
    path = Path(arguments.facts)
    if not path.is_file():
        hint = near_path(arguments.facts) or "write one with --save FILE"
        raise UsageError("no such facts file", where=arguments.facts, hint=hint)
    return path


def near_path(path: str) -> str | None:
    """What the user probably meant by a path that is not there, as a hint."""
    import difflib

    folder = Path(path).parent
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except (OSError, ValueError):
        return f"the folder {str(folder)!r} does not exist either"
    close = difflib.get_close_matches(Path(path).name, names, 1, 0.6)
    return f"did you mean {folder / close[0]}?" if close else None
