"""What a run encodes its records with: how images are counted, the tokenizer, the trainer's encoder; or why not.

Everything is made from the `Run`, so that a process that encodes makes the same from the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorachk.facts.encoding.types import Encoder, Settings
from lorachk.families import is_vision
from lorachk.run import Run, Setting

if TYPE_CHECKING:
    from lorachk.facts.encoding.tokenizer import Tokenizer, TokenizerProblem
    from lorachk.families.visual.before import Prepared

NO_LIMIT = "no token limit: give --max-length or the trainer's own option (model_max_length)"

# Trainer's option -> field of Settings, the first that is given.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "template": ("template", "version", "conv_style"),
    "assistant_only_loss": ("assistant_only_loss",),
    "completion_only_loss": ("completion_only_loss",),
    "train_on_prompt": ("train_on_prompt",),
    "mask_history": ("mask_history",),
    "train_on_inputs": ("train_on_inputs",),
    "train_on_eos": ("train_on_eos",),
    "loss_scale": ("loss_scale",),
    "truncation": ("truncation_strategy", "truncation_mode", "excess_length_strategy"),
    "packing": ("packing", "neat_packing", "sample_packing"),
    "system": ("default_system", "system"),
    "enable_thinking": ("enable_thinking",),
    "eos_token": ("eos_token",),
    "mm_use_im_start_end": ("mm_use_im_start_end",),
    "flatten": ("data_flatten",),
}
_BY_PROCESSOR = (None, "trl", "hf")  # trainers that hand images to the model's processor as they are
_FLAGS = {name for name in Settings._fields if "bool" in str(Settings.__annotations__[name])}


@dataclass(frozen=True)
class Recipe:
    """What decides how records are encoded. Plain data: it goes to processes."""

    run: Run
    trainer: str | None
    environment: Mapping[str, str]  # variables that the launch file sets


@dataclass
class Setup:
    """How images are counted, and with what text is encoded; each with the reason where it is missing."""

    images: Prepared | None
    no_images: str | None
    tokenizer: Tokenizer | None = None
    problem: TokenizerProblem | None = None
    encoder: Encoder | None = None
    no_encoder: str | None = None
    labels: bool = True  # the encoder is the trainer's own: labels and fates are meant


def environment_of(settings: Iterable[Setting]) -> dict[str, str]:
    """The environment variables that a launch file sets."""
    found = {s.pointer.removeprefix("/"): s.value for s in settings if s.kind == "env"}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def folder_of(run: Run) -> str | None:
    """The folder a run's tokenizer is looked for in; None when the model is only a name."""
    if run.tokenizer:
        return run.tokenizer
    if not run.model:
        return None
    from lorachk.launchers.model_config import find_config

    config = find_config(run.model)
    if config is not None:
        return str(Path(config).parent)
    return run.model if Path(run.model).is_dir() else None


def setup(recipe: Recipe, *, text: bool = True) -> Setup:
    """Everything there is; with `text` False the arithmetic of images alone."""
    found = Setup(*images_of(recipe))
    if not text:
        return found
    run = recipe.run
    folder = folder_of(run)
    if folder is None:
        name = f"{run.model} is only a name here: " if run.model else ""
        found.no_encoder = f"no tokenizer: {name}give --model or --tokenizer, a folder with tokenizer.json"
        return found
    from lorachk.facts.encoding.tokenizer import TokenizerProblem, open_tokenizer
    from lorachk.facts.encoding.trainers import encoder_for

    try:
        found.tokenizer = open_tokenizer(folder)
    except TokenizerProblem as problem:
        found.problem = problem
        found.no_encoder = f"the tokenizer cannot be used: {problem}"
        return found
    # Without a trainer the chat template still tells how long a record is, but not what is learnt of it.
    found.labels = recipe.trainer is not None
    made = encoder_for(recipe.trainer or "hf", run.family, found.tokenizer, settings_of(run))
    if isinstance(made, str):
        found.no_encoder = made
    else:
        found.encoder = made
    return found


def llm_type(run: Run) -> str:
    """MiniCPM-V's --llm_type; where no launch file states it, the one that its README names for the model."""
    return run.llm_type or ("llama3" if run.family == "minicpmv25" else "qwen")


def settings_of(run: Run) -> Settings:
    """The encoder's settings, as the run states them by the trainer's own names."""
    stated: dict[str, Any] = {}
    for field, names in _OPTIONS.items():
        value = next((run.training_args[n] for n in names if run.training_args.get(n) is not None), None)
        if value is not None:
            stated[field] = _flag(value) if field in _FLAGS else str(value)
    # axolotl states these with each dataset; one encoder serves all, so that the first counts.
    datasets = run.training_args.get("datasets")
    first = datasets[0] if isinstance(datasets, list) and datasets and isinstance(datasets[0], dict) else {}
    roles = first.get("roles_to_train", run.training_args.get("roles_to_train"))
    if isinstance(roles, list):
        stated["roles_to_train"] = tuple(map(str, roles))
    if isinstance(first.get("train_on_eos"), str):
        stated["train_on_eos"] = first["train_on_eos"]
    return Settings(**{"llm_type": llm_type(run), "vision": is_vision(run.family) or None, **stated})


def _flag(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).strip().lower() in ("1", "true", "yes", "on", "y", "t")


def images_of(recipe: Recipe) -> tuple[Prepared | None, str | None]:
    """How images are counted, or the reason why they are not."""
    run, trainer = recipe.run, recipe.trainer
    if run.family is None:
        return None, "the model family is not known: give --model or --family"
    if run.family == "text":
        return None, "a text model takes no images"
    from lorachk.families.visual import Refused, resolve, resolve_folder
    from lorachk.families.visual.before import prepare

    options: dict[str, Any] = {**recipe.environment, **run.training_args}
    if run.max_slice_nums is not None:
        options["max_slice_nums"] = max(0, run.max_slice_nums)
    if trainer == "minicpmv":
        options["llm_type"] = llm_type(run)
    try:
        folder = folder_of(run) if run.model else None
        settings = resolve_folder(run.family, folder) if folder else resolve(run.family)
        if settings is None:
            return None, f"no visual-token arithmetic for {run.family}"
        if trainer in _BY_PROCESSOR:  # nobody between the run and the processor: its settings by their own names
            own = {"max_tiles": "max_tiles", "max_pixels": "max_pixels", "max_slice_nums": "max_slice_nums"}
            given = {field: options[name] for field, name in own.items() if name in options}
            settings = settings.override({f: v for f, v in given.items() if hasattr(settings.values, f)})
        prepared = prepare(trainer, settings, options)
    except Refused as reason:
        return None, str(reason)
    if prepared is None:
        return None, f"how {trainer} prepares the images of {run.family} is not known here"
    return prepared, None
