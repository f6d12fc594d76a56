"""Every `auto` of the DeepSpeed file to its value, in the order in which the libraries come by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorachk.deepspeed import accelerate, trainer
from lorachk.deepspeed.trainer import Arguments, Sizes
from lorachk.deepspeed.tree import Stopped, Tree
from lorachk.launchers.values import Unknown


def resolve(
    file: dict[str, Any],
    arguments: Mapping[str, Any],
    sizes: Sizes,
    *,
    transformers: str | None,
    fields: Mapping[str, Any] | None = None,
    to_accelerate: bool = False,
) -> Tree:
    """What transformers' Trainer and accelerate make of `file`.

    `arguments` are TrainingArguments by name, with world_size, num_training_steps and mixed_precision; one that is
    missing is unknown. `fields` are the DeepSpeed settings of accelerate's YAML. `to_accelerate` says that the file was
    named to accelerate instead of the Trainer, which then comes second.
    """
    tree = Tree(file)
    given = Arguments(arguments)
    mixed = given["mixed_precision"]
    try:
        if to_accelerate:
            if accelerate.plugin(tree, fields or {}):
                accelerate.precision(tree, mixed)
                trainer.process(tree, given, transformers)
        else:
            trainer.process(tree, given, transformers)
            if accelerate.plugin(tree, fields or {}):
                accelerate.precision(tree, mixed)
        trainer.finalize(tree, given, sizes, transformers)
        accelerate.prepare(tree, sizes)
    except Stopped:
        why = Unknown("the Trainer stops before it fills this in")
        for value in tree.values.values():
            if value.value == "auto":
                value.value = why
    return tree
