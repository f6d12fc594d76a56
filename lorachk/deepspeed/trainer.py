"""What transformers fills into the DeepSpeed file and holds against it.

A copy in small of `HfTrainerDeepSpeedConfig` in transformers/integrations/deepspeed.py. Read in 4.31.0 to 5.24.0;
tests/test_deepspeed_auto.py runs the installed one on drawn files and compares every value and every line of its error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from lorachk.deepspeed.tree import Tree, Value, Wanted, dotted, known, path_of
from lorachk.launchers.values import Unknown
from lorachk.launchers.versions import at_least

FLOOR = "5.18.0"  # warm-up of at least one step since then, as DeepSpeed refuses 0 from 0.19.6 on
TEXT_CONFIG = "4.46.0"  # text_config.hidden_size is looked at since then
WHOLE = "4.45.0"  # the prefetch bucket is a whole number since then

BUCKETS = (
    "zero_optimization.reduce_bucket_size",
    "zero_optimization.stage3_prefetch_bucket_size",
    "zero_optimization.stage3_param_persistence_threshold",
)
_NO_SIZE = (
    "ValueError: The model's config file has neither `hidden_size` nor `hidden_sizes` entry, therefore it's not "
    "possible to automatically fill out the following `auto` entries in the DeepSpeed config file: {}. You can fix "
    "that by replacing `auto` values for these keys with an integer value of your choice."
)


class Sizes(NamedTuple):
    """The hidden size as an attribute of the model's config itself, and of its text_config; None when it has none."""

    own: int | Unknown | None
    text: int | Unknown | None


class Arguments:
    """The TrainingArguments that matter here, by name; one that is not known gives Unknown."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given

    def __getitem__(self, name: str) -> Any:
        return self.given.get(name, Unknown(f"{name} is not known"))

    def flag(self, *names: str) -> Any:
        """Whether any of these is true; Unknown when that cannot be told."""
        values = [self[name] for name in names]
        if any(value is True for value in values):
            return True
        return next((value for value in values if isinstance(value, Unknown)), False)


def process(tree: Tree, arguments: Arguments, version: str | None) -> None:
    """`trainer_config_process`: while the TrainingArguments are made."""
    micro, steps = arguments["per_device_train_batch_size"], arguments["gradient_accumulation_steps"]
    world = arguments["world_size"]
    fixed = arguments["auto_find_batch_size"] is not True
    total = next((v for v in (world, micro, steps) if isinstance(v, Unknown)), None)
    total = total or world * micro * steps
    _match(tree, "train_micro_batch_size_per_gpu", _plain("per_device_train_batch_size", micro), must=fixed)
    _match(tree, "gradient_accumulation_steps", _plain("gradient_accumulation_steps", steps))
    fields = ("world_size", "per_device_train_batch_size", "gradient_accumulation_steps")
    _match(tree, "train_batch_size", Wanted("train_batch_size (calculated)", fields, total), must=fixed)
    _match(tree, "gradient_clipping", _plain("max_grad_norm", arguments["max_grad_norm"]))
    rate = _plain("learning_rate", arguments["learning_rate"])
    _match(tree, "optimizer.params.lr", rate)
    betas = [arguments["adam_beta1"], arguments["adam_beta2"]]
    _match(tree, "optimizer.params.betas", Wanted("adam_beta1+adam_beta2", ("adam_beta1", "adam_beta2"), betas))
    _match(tree, "optimizer.params.eps", _plain("adam_epsilon", arguments["adam_epsilon"]))
    _match(tree, "optimizer.params.weight_decay", _plain("weight_decay", arguments["weight_decay"]))
    tree.fill(path_of("scheduler.params.warmup_min_lr"), 0, "transformers")
    _match(tree, "scheduler.params.warmup_max_lr", rate)
    if arguments["save_on_each_node"] is True:
        tree.config.setdefault("checkpoint", {})
        tree.put(("checkpoint", "use_node_local_storage"), True, "transformers")
    _precision(tree, arguments, at_least(version, "5.0.0"))


def _precision(tree: Tree, arguments: Arguments, five: bool | None) -> None:
    half = arguments.flag("fp16", "fp16_full_eval")
    if five is False:  # with apex, which is gone since 5.0
        backend = arguments["half_precision_backend"]
        apex = "apex" in (backend, arguments["fp16_backend"])
        wanted = False if apex and half is True else half
        fields = ("fp16", "fp16_full_eval", "half_precision_backend")
        _match(tree, "fp16.enabled", Wanted("fp16|fp16_full_eval+fp16_backend(amp)", fields, wanted))
        _match(tree, "amp.enabled", Wanted("fp16+fp16_backend(apex)", fields, apex and half is True))
        _match(tree, "amp.opt_level", _plain("fp16_opt_level", arguments["fp16_opt_level"]))
    else:
        _match(tree, "fp16.enabled", Wanted("fp16|fp16_full_eval", ("fp16", "fp16_full_eval"), half))
    brain = arguments.flag("bf16", "bf16_full_eval")
    _match(tree, "bf16.enabled", Wanted("bf16|bf16_full_eval", ("bf16", "bf16_full_eval"), brain))


def finalize(tree: Tree, arguments: Arguments, sizes: Sizes, version: str | None) -> None:
    """`trainer_config_finalize`: when the model and the number of steps are known."""
    _buckets(tree, sizes, version)
    steps = arguments["num_training_steps"]
    fields = ("max_steps", "num_train_epochs")
    _match(tree, "scheduler.params.total_num_steps", Wanted("num_training_steps (calculated)", fields, steps))
    warmup = warmup_steps(arguments, version)
    if not isinstance(warmup, Unknown) and at_least(version, FLOOR):
        warmup = max(1, warmup)
    parts = ("warmup_steps", "warmup_ratio", "max_steps")
    _match(tree, "scheduler.params.warmup_num_steps", Wanted("warmup_steps", parts, warmup))


def _buckets(tree: Tree, sizes: Sizes, version: str | None) -> None:
    autos = [name for name in BUCKETS if tree.is_auto(path_of(name))]
    if not autos:
        return
    size = sizes.own
    if size is None and at_least(version, TEXT_CONFIG) is not False:
        size = sizes.text
    if size is None:
        tree.refuse(path_of(autos[0]), "transformers", _NO_SIZE.format(autos))
        return
    lost = size if isinstance(size, Unknown) else None
    square = lost or size * size  # type: ignore[operator]
    tree.fill(path_of(BUCKETS[0]), square, "transformers")
    if tree.get(path_of("zero_optimization.stage")) == 3:
        share = lost or 0.9 * size * size  # type: ignore[operator]
        if isinstance(share, float) and at_least(version, WHOLE) is not False:
            share = int(share)
        tree.fill(path_of(BUCKETS[1]), share, "transformers")
        tree.fill(path_of(BUCKETS[2]), lost or 10 * size, "transformers")


def warmup_steps(arguments: Arguments, version: str | None) -> Any:
    """`TrainingArguments.get_warmup_steps`: its number, or Unknown."""
    steps, ratio, total = arguments["warmup_steps"], arguments["warmup_ratio"], arguments["num_training_steps"]
    five = at_least(version, "5.0.0")
    if five is None:
        return Unknown("the version of transformers is not known")
    if five and not isinstance(ratio, Unknown) and ratio is not None:
        steps = ratio  # it takes the place of warmup_steps while it is still there
    if isinstance(steps, Unknown):
        return steps
    if steps >= 1 or (not five and steps > 0):
        return int(steps)
    share = steps if five else ratio
    if isinstance(share, Unknown):
        return share
    if not share:
        return 0
    return total if isinstance(total, Unknown) else math.ceil(total * share)


def _plain(name: str, value: Any) -> Wanted:
    return Wanted(name, (name,), value)


def _match(tree: Tree, name: str, wanted: Wanted, *, must: bool = True) -> None:
    """`fill_match`: put the value in for `auto`, else compare."""
    path = path_of(name)
    block = tree.node(path)
    if block is None:
        return
    given = block.get(path[-1])
    if given == "auto":
        lost = wanted.value if isinstance(wanted.value, Unknown) else None
        if isinstance(wanted.value, list):
            lost = next((v for v in wanted.value if isinstance(v, Unknown)), None)
        tree.put(path, lost or wanted.value, "transformers")
        tree.values[path].wanted = wanted
        return
    if given is None:
        return
    entry = tree.values.setdefault(path, Value())
    entry.wanted = wanted
    if not must or not known(wanted.value):
        return
    entry.agrees = isinstance(given, Unknown) or given == wanted.value
    if not entry.agrees:
        entry.mismatch = f"- ds {dotted(path)}={given} vs hf {wanted.name}={wanted.value}"
