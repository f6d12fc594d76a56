"""What the model is and what PEFT makes of it: modules, targets, parameters, on the meta device.

No weights are read: the model is built from its config.json with its own class, PEFT is applied with the run's own
configuration, and the real objects are asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lorachk.facts import byname, targets
from lorachk.facts.collector import Context, NotCollected
from lorachk.families import component, family_of
from lorachk.memory import adapter, precision, skeleton

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lorachk.run import Run


@dataclass
class Model:
    """The built model, for collectors that follow."""

    model: Any  # PeftModel or PreTrainedModel, on the meta device
    config: Any
    family: str | None
    adapted: bool | None  # PEFT was applied; None: the run does not say whether an adapter is trained
    packed: dict[int, precision.Packed]
    problem: str | None = None  # why PEFT refused
    parameters: list[dict[str, Any]] = field(default_factory=list)


def collect(context: Context) -> None:
    """Fill `module`, `target`, `hit` and `parameter`; the built model goes to context.shared["model"].

    Where the model cannot be built, the names in its checkpoint decide `target` and `hit`.
    """
    context.say("building the model without weights")
    try:
        with skeleton.silenced():
            built, modules, target_rows, hits = _build(context.run, trust=context.options.trust_remote_code)
            built.parameters = list(_parameters(built))
    except NotCollected as error:
        context.shared["no_model"] = str(error)  # what builds on the model is unknown for the same reason
        _by_name(context)
        raise
    context.shared["model"] = built
    sink = context.sink
    sink.add("module", modules)
    sink.add("target", target_rows)
    sink.add("hit", hits)
    sink.add("parameter", built.parameters)
    reason = built.problem
    if built.adapted is None:
        reason = "the run does not say whether an adapter is trained"
    if reason:
        for fact in ("parameter.requires_grad", "parameter.adapter", "parameter.saved"):
            sink.unknown(fact, reason)
    if built.problem:
        for fact in ("module.adapted", "module.saved_whole"):
            sink.unknown(fact, built.problem)


def _by_name(context: Context) -> None:
    """The tables that names alone decide; NotCollected leaves them unknown for the reason the model is."""
    try:
        names = byname.known_names(context)
        rows = byname.target_rows(context, names)
    except NotCollected:
        return
    context.sink.add("target", rows)
    context.sink.add("hit", byname.hit_rows(context.run, names))


def _build(
    run: Run, *, trust: bool
) -> tuple[Model, list[dict[str, Any]], list[dict[str, Any]], list[Mapping[str, Any]]]:
    base = skeleton.build(run, trust_remote_code=trust)
    architecture = type(base).__name__
    config = base.config
    family = run.family or family_of(
        getattr(config, "model_type", None), architecture, run.model, version=getattr(config, "version", None)
    )
    named = [(name, module) for name, module in base.named_modules() if name]
    modules = [
        {
            "name": name,
            "type": type(module).__name__,
            "component": component(family, name),
            "leaf": next(module.children(), None) is None,
            "linear": targets.is_linear(module),
        }
        for name, module in named
    ]
    known = [byname.Name(name, _holds(module), _dims(module)) for name, module in named]
    hits = byname.hit_rows(run, known, {name: type(module).__name__ for name, module in named})
    wanted = adapter.wanted(run)
    target_rows: list[dict[str, Any]] = []
    problem = None
    try:
        if wanted:
            target_rows = list(targets.rows(run, base, family))
    except NotCollected as error:
        problem = str(error)
    packed = precision.pack(base, run)
    model = base
    if wanted and problem is None:
        precision.prepare_kbit(base, run, packed)
        try:
            model = adapter.apply(run, base, family)
        except NotCollected as error:
            problem = str(error)
            # PEFT may have changed half of it.
            model = skeleton.build(run, trust_remote_code=trust)
            packed = precision.pack(model, run)
    elif wanted is False:
        adapter.freeze_without_adapter(run, model, family)
    adapted = None if wanted is None else wanted and problem is None
    if problem is None:
        wrapped = _wrapped(model) if adapted else {}
        for row in modules:
            kinds = wrapped.get(row["name"], ())
            row["adapted"], row["saved_whole"] = "adapted" in kinds, "saved" in kinds
    return Model(model, config, family, adapted, packed, problem), modules, target_rows, hits


def _holds(module: Any) -> bool:
    """Parameters of its own, or no children: no mere container."""
    return next(module.parameters(recurse=False), None) is not None or next(module.children(), None) is None


def _dims(module: Any) -> int | None:
    weight = getattr(module, "weight", None)
    return int(weight.dim()) if weight is not None and hasattr(weight, "dim") else None


def _wrapped(model: Any) -> dict[str, set[str]]:
    """Base name of every module PEFT wrapped, and how."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    found: dict[str, set[str]] = {}
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, BaseTunerLayer):
            found.setdefault(name, set()).add("adapted")
        elif isinstance(module, ModulesToSaveWrapper):
            found.setdefault(name, set()).add("saved")
    return found


def _parameters(built: Model) -> Iterator[dict[str, Any]]:
    known = built.adapted is not None and built.problem is None
    saved = _saved(built.model) if built.adapted else set()
    adapters = _adapter_parameters(built.model) if built.adapted else set()
    first: dict[int, str] = {}
    for name, parameter in built.model.named_parameters(remove_duplicate=False):
        packed = built.packed.get(id(parameter))
        row = {
            "name": name,
            "component": component(built.family, name),
            "shape": list(parameter.shape),
            "numel": parameter.numel(),
            "dtype": packed.dtype if packed else str(parameter.dtype).removeprefix("torch."),
            "bytes": packed.bytes if packed else parameter.numel() * parameter.element_size(),
            "tied_to": first.get(id(parameter)),
        }
        first.setdefault(id(parameter), name)
        if known:
            row["requires_grad"] = parameter.requires_grad and not packed
            row["adapter"] = id(parameter) in adapters
            # Without an adapter the Trainer saves the whole model.
            row["saved"] = id(parameter) in saved if built.adapted else True
        yield row


def _saved(model: Any) -> set[int]:
    """Parameters PEFT writes into the adapter file: its own function, asked on the meta model."""
    from peft import get_peft_model_state_dict

    # keep_vars gives the parameters themselves, so they can be recognised in what comes back.
    return {id(p) for p in get_peft_model_state_dict(model, state_dict=model.state_dict(keep_vars=True)).values()}


def _adapter_parameters(model: Any) -> set[int]:
    """Parameters that PEFT added (LoRA A, B, magnitude ...), not the copies modules_to_save makes."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = set()
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            for layer in module.adapter_layer_names:
                part = getattr(module, layer, None)
                if part is not None and hasattr(part, "parameters"):
                    found |= {id(p) for p in part.parameters()}
    return found
