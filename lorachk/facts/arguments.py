"""Tables known_argument and given_argument: what the run's trainer takes, and what it makes of what it is given."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from lorachk.errors import UsageError
from lorachk.facts.argument_known import PACKAGED, Accepted, Known, accepted
from lorachk.facts.argument_versions import NotKnown, recorded
from lorachk.facts.collector import Context, Row
from lorachk.facts.settings import location, text
from lorachk.launchers.values import as_bool
from lorachk.run import Location, Run

# What took the place of an argument that is gone; read in transformers 4.36 to 5.24 and trl 0.13 to 1.16.
SUCCESSORS: dict[str, str] = {
    "evaluation_strategy": "--eval_strategy",
    "group_by_length": "--train_sampling_strategy group_by_length",
    "warmup_ratio": "--warmup_steps with the same share: below 1 it counts as a share of all steps",
    "logging_dir": "the environment variable TENSORBOARD_LOGGING_DIR",
    "no_cuda": "--use_cpu",
    "use_mps_device": "nothing: the device is found",
    "per_gpu_train_batch_size": "--per_device_train_batch_size",
    "per_gpu_eval_batch_size": "--per_device_eval_batch_size",
    "adafactor": "--optim adafactor",
    "fp16_backend": "nothing: PyTorch's own mixed precision is used",
    "half_precision_backend": "nothing: PyTorch's own mixed precision is used",
    "fp16_opt_level": "nothing: it was for Apex",
    "push_to_hub_token": "--hub_token",
    "push_to_hub_model_id": "--hub_model_id",
    "push_to_hub_organization": "--hub_model_id ORGANIZATION/NAME",
    "include_inputs_for_metrics": "--include_for_metrics inputs",
    "fsdp_min_num_params": "min_num_params in --fsdp_config",
    "fsdp_transformer_layer_cls_to_wrap": "transformer_layer_cls_to_wrap in --fsdp_config",
    "torchdynamo": "--torch_compile_backend",
    "dispatch_batches": "dispatch_batches in --accelerator_config",
    "split_batches": "split_batches in --accelerator_config",
    "include_tokens_per_second": "--include_num_input_tokens_seen",
    "save_safetensors": "nothing: checkpoints are always safetensors",
    "overwrite_output_dir": "nothing: delete the folder yourself",
    "max_seq_length": "--max_length",
    "torch_dtype": "--dtype",
    "use_liger": "--use_liger_kernel",
    "gradient_checkpointing_use_reentrant": "--gradient_checkpointing_kwargs",
}


def collect(context: Context) -> None:
    """Fill both tables; both stay unknown, with the reason, when it cannot be said what the trainer takes."""
    run = context.run
    if not run.argument_places:
        context.sink.add("known_argument", [])
        context.sink.add("given_argument", [])
        return
    program, launcher, folder = _launched(run)
    try:
        made = accepted(run, program, launcher, folder)
    except NotKnown as reason:
        for table in ("known_argument", "given_argument"):
            context.sink.unknown(table, str(reason))
        return
    context.sink.add("known_argument", [known_row(known) for known in made.known.values()])
    if (
        any(s.kind == "env" and s.pointer == "/ALLOW_EXTRA_ARGS" for s in context.settings)
        and run.trainer == "llamafactory"
    ):
        made.unknown = "ignored"
    context.sink.add("given_argument", given_rows(run, made, launcher))


def _launched(run: Run) -> tuple[str | None, str | None, str]:
    """Program or subcommand, launcher, and the folder it is started in."""
    if run.launch is None:
        return None, None, "."
    from lorachk.launchers.launch_file import read_launch

    try:
        file = read_launch(run.launch)
    except UsageError:  # a file that is read with what resolve() knew besides
        return None, None, "."
    return file.launch.program, file.launch.launcher, file.folder


def known_row(known: Known) -> Row:
    """A row of known_argument."""
    return {
        "name": known.argument.name,
        "owner": known.owner,
        "source": known.source,
        "type": known.argument.type,
        "choices": list(known.choices) or None,
        "value": known.argument.default,
        "origin": known.origin,
        "since": known.span.since if known.span else None,
        "until": known.span.until if known.span else None,
    }


def given_rows(run: Run, made: Accepted, launcher: str | None) -> list[Row]:
    """The rows of given_argument, one per argument."""
    rows: list[Row] = []
    for name, at in run.argument_places.items():
        row: dict[str, Any] = {"name": name, "place": location(at), "source": made.source, "outcome": "accepted"}
        read_as = _read_as(name, made)
        if read_as is not None:
            known = made.known[read_as]
            row |= {"argument": read_as, "source": known.source}
            if name in run.training_args:
                row["problem"] = value_problem(known, run.training_args[name], words=_words(run, at))
        else:
            row |= _unread(name, made, launcher)
        rows.append(row)
    return rows


def _words(run: Run, at: Location) -> bool:
    """Whether a value stood on a command line, where argparse converts it."""
    return run.launch is not None and at.path == run.launch and not run.launch.endswith((".yaml", ".yml", ".json"))


def _read_as(name: str, made: Accepted) -> str | None:
    """The argument that a flag is for the trainer's parser: itself, an alias, --no_x, or the only one it begins."""
    if name in made.known:
        return name
    if name in made.aliases:
        return made.aliases[name]
    if not made.words:
        return None
    positive = name.removeprefix("no_")
    if positive != name and (known := made.known.get(positive)) and known.argument.type == "boolean":
        return positive if known.argument.default == "true" else None
    begun = [other for other in made.known if other.startswith(name)]
    return begun[0] if len(begun) == 1 else None


def _unread(name: str, made: Accepted, launcher: str | None) -> dict[str, Any]:
    """What becomes of an argument that the trainer does not take, as columns."""
    library = made.gone.get(name)
    if library is None and (not made.whole or launcher == "trl"):  # trl hands what it does not know to accelerate
        return {"outcome": "unknown"}
    certain = library is not None or made.certain
    outcome = made.unknown if certain else "doubtful"
    row: dict[str, Any] = {"outcome": outcome, "nearest": nearest(name, made)}
    if library is not None:
        row["source"] = f"{library[0]} {_version_of(made, library[0])}"
        span = library[1]
        after = _index(library[0], span.since) > _index(library[0], _version_of(made, library[0]))
        row["since" if after else "until"] = span.since if after else span.until
        row["successor"] = None if after else _successor(name, made)
    return row


def _successor(name: str, made: Accepted) -> str | None:
    """What to write instead, when it exists in this version."""
    said = SUCCESSORS.get(name)
    flag = said.removeprefix("--").split(" ")[0] if said and said.startswith("--") else None
    return said if flag is None or flag in made.known else None


def _version_of(made: Accepted, library: str) -> str:
    sources = (known.source for known in made.known.values())
    return next(source.partition(" ")[2] for source in sources if source.startswith(f"{library} "))


def _index(library: str, version: str) -> int:
    from packaging.version import Version

    release = Version(version).release
    return sum(Version(text).release[:2] <= release[:2] for text in recorded()["libraries"][library]["versions"])


def nearest(name: str, made: Accepted) -> str | None:
    """The argument that was probably meant."""
    close = get_close_matches(name, [*made.known], 1, 0.75)
    return close[0] if close else None


def value_problem(known: Known, value: Any, *, words: bool) -> str | None:
    """Why the trainer cannot read `value`, in words; None when it can, or when that cannot be told.

    `words`: argparse converts it from text, so that 1e3 is no whole number; else it is a value of YAML or TOML.
    """
    kind, name = known.argument.type, known.argument.name
    if value is None or isinstance(value, (list, dict)):
        return None
    if known.choices and kind == "string":
        if value is False and "no" in known.choices and not words:  # YAML reads a bare no as false
            return None
        shown = text(value)
        if shown in known.choices or _snapshot(known):
            return None
        near = get_close_matches(shown, known.choices, 1, 0.6)
        hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known.choices[:8])}"
        return f"{name} cannot be {shown!r}; {hint}"
    if kind == "boolean":
        return None if as_bool(value) is not None else f"{name} is a flag, not {text(value)!r}"
    if kind == "integer":
        if isinstance(value, bool):
            return f"{name} is a whole number, not {text(value)}" if words else None
        if isinstance(value, float):
            return f"{name} is a whole number, not {value:g} with a point or exponent" if words else None
        return None if isinstance(value, int) or _number(value, int) else f"{name} is a whole number, not {value!r}"
    if kind == "number" and not isinstance(value, (int, float)):
        return None if _number(value, float) else f"{name} is a number, not {value!r}"
    if kind == "number" and isinstance(value, bool) and words:
        return f"{name} is a number, not {text(value)}"
    return None


def _snapshot(known: Known) -> bool:
    """Whether the choices are those of one commit of a package, to which later ones add."""
    return known.origin == "recorded" and known.source in {recorded()["trainers"][name]["source"] for name in PACKAGED}


def _number(value: Any, kind: type[int] | type[float]) -> bool:
    try:
        kind(str(value))
    except ValueError:
        return False
    return True
