"""What target_modules matches, told from names alone: where the model cannot be built (no torch, remote code).

The names are those of the checkpoint's tensors. The class of the installed transformers may call a module otherwise
than the checkpoint (a prefix more, experts in one tensor), so a regular expression that begins with a path, which the
checkpoint does not have, decides nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from lorachk.facts.collector import Context, NotCollected, Row
from lorachk.facts.matching import Rule
from lorachk.families import component

if TYPE_CHECKING:
    from lorachk.run import Run

# Trainers that replace what was stated by names they find in the model.
_OWN_TARGETS = frozenset({"vlm-r1", "llava", "qwen-vl-series"})
_EVERYTHING = frozenset({"all", "all-linear", "all_linear", "auto"})


class Name(NamedTuple):
    """A module by name, with what is known of it."""

    name: str
    leaf: bool  # no container: it has parameters of its own, or no children
    dims: int | None = None  # of its weight: 2 linear or embedding, 4 and 5 convolutions


def known_names(context: Context) -> list[Name]:
    """The modules by the checkpoint's names, else by those of its well-known type. Raises NotCollected for neither."""
    from lorachk.facts import weights
    from lorachk.families.layers import layer_names

    try:
        return names(weights.rows(context))
    except NotCollected:
        usual = layer_names(context.run.model_type, context.run.family)
        if not usual:
            raise
        return names({"module": name, "name": f"{name}.weight", "shape": [0, 0]} for name in usual)


def names(weights: Iterable[Row]) -> list[Name]:
    """Every module the checkpoint names, and every container above one."""
    dims: dict[str, int | None] = {}
    above: dict[str, None] = {}
    for row in weights:
        module, shape = str(row["module"]), row["shape"]
        if str(row["name"]).endswith(".weight"):
            dims[module] = len(shape) if shape is not None else None
        else:
            dims.setdefault(module, None)
        parts = module.split(".")
        for i in range(1, len(parts)):
            above[".".join(parts[:i])] = None
    found = [Name(module, leaf=True, dims=size) for module, size in dims.items() if module]
    return found + [Name(module, leaf=False) for module in above if module not in dims]


def target_rows(context: Context, modules: list[Name]) -> list[Row]:
    """Rows of the table `target`. Raises NotCollected when names alone do not decide."""
    from lorachk.facts.targets import near_miss

    run = context.run
    stated = _stated(run)
    place = run.at("target_modules")
    at = place._asdict() if place else None
    linear = [module.name for module in modules if module.leaf and module.dims in (None, 2)]
    known = [module.name for module in modules]
    found: list[Row] = []
    for entry in [stated] if isinstance(stated, str) else stated:
        try:
            rule = _rule(run, entry if isinstance(stated, str) else [entry])
            matched = sum(rule.matches(name) for name in known)
        except re.error as error:
            raise NotCollected(f"target_modules is no regular expression: {error}") from None
        if not matched and isinstance(stated, str):
            raise NotCollected("the checkpoint's names do not match, those of the model's class may")
        miss = None if matched else near_miss(entry, linear, run.family, regex=isinstance(stated, str))
        found.append({"kind": "target_modules", "entry": entry, "matched": matched, "near_miss": miss, "place": at})
    return found


def hit_rows(run: Run, modules: Iterable[Name], types: dict[str, str] | None = None) -> list[Row]:
    """Rows of the table `hit`: the modules that get an adapter. `types`: class names, where the model was built."""
    try:
        rule = _rule(run, _stated(run))
        matched = [module for module in modules if rule.matches(module.name)]
    except (NotCollected, re.error):
        return []
    return [
        {
            "name": module.name,
            "type": (types or {}).get(module.name),
            "component": component(run.family, module.name),
            "leaf": module.leaf,
            "dims": module.dims,
            "built": types is not None,
        }
        for module in matched
    ]


def _stated(run: Run) -> str | list[str]:
    if not run.target_modules:
        raise NotCollected("target_modules is not known")
    if run.trainer in _OWN_TARGETS or any(entry.lower() in _EVERYTHING for entry in run.target_modules):
        raise NotCollected("the target modules are found in the model, which was not built")
    return run.target_modules[0] if run.target_regex else list(run.target_modules)


def _rule(run: Run, targets: str | list[str]) -> Rule:
    config: dict[str, Any] = run.lora_config
    exclude: str | list[str] = config.get("exclude_modules") or run.exclude_modules or []
    layers = config.get("layers_to_transform")
    return Rule(targets, exclude, run.modules_to_save or [], layers, config.get("layers_pattern"))
