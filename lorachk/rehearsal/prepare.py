"""First process of a rehearsal: `python -m lorachk.rehearsal.prepare plan.json`.

Makes the miniature and the batches, checks that the miniature runs on its own (the control run), and traces in-place
writes.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from lorachk.children import die_with_parent
from lorachk.rehearsal.plan import SEED, Plan
from lorachk.rehearsal.rows import Rows

_LARGEST = 60_000_000  # parameters of a miniature; more means that the config did not shrink
_BATCHES = 4


def main() -> int:
    """Prepare; the exit code is 0 also when the rehearsal was refused, the row says why."""
    die_with_parent()
    plan = Plan.load(sys.argv[1])
    rows = Rows(plan.folder, "prepare")
    from lorachk.rehearsal.build import Refused

    try:
        _prepare(plan, rows)
    except Refused as refused:
        rows.add("refused", reason=str(refused))
    return 0


def _prepare(plan: Plan, rows: Rows) -> None:
    import torch

    from lorachk.rehearsal.build import Refused, load_config

    if plan.real_weights and not torch.cuda.is_available():
        raise Refused("rehearsing the real weights needs a CUDA GPU; without one the miniature is rehearsed")
    torch.manual_seed(SEED)
    config = load_config(plan.model, plan.trust_remote_code)
    batches = _batches(plan, config)
    if not plan.real_weights:
        batches.batches = _miniature(plan, config, batches.batches)
    torch.save(batches.batches, Path(plan.folder) / "batches.pt")
    rows.add("batches", images=batches.images, synthetic=batches.synthetic, count=len(batches.batches))
    if not plan.real_weights:
        _control(plan, batches.batches)
        _trace(plan, batches.batches, rows)


def _batches(plan: Plan, config: Any) -> Any:
    from lorachk.rehearsal.batches import Batches, encode, synthetic, takes_images
    from lorachk.rehearsal.miniature import token_ids, vocabulary_size
    from lorachk.rehearsal.processor import load_encoder
    from lorachk.rehearsal.samples import first_samples

    records = plan.args["per_device_train_batch_size"]
    encoder = load_encoder(plan.model, plan.trust_remote_code) if plan.data else None
    if encoder is not None:
        samples = first_samples(
            plan.data,
            plan.image_root,
            with_images=takes_images(encoder),
            # Only these trainers put text-only records into a vision-language batch as they are.
            mixed=plan.trainer in ("hf", "trl", "qwen-vl"),
            count=_BATCHES * min(records, 2),
            trainer=plan.trainer,
        )
        made = encode(encoder, samples, records, plan.max_length)[:_BATCHES]
        if made:
            return Batches(made, images=any("pixel_values" in b for b in made), synthetic=False)
    described = config.to_dict()
    vocabulary = vocabulary_size(described) or 1000
    made = synthetic(vocabulary, records, _BATCHES, SEED, token_ids(described))
    return Batches(made, images=False, synthetic=True)


def _miniature(plan: Plan, config: Any, batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write the miniature as a checkpoint folder; returns the batches in its vocabulary."""
    import torch

    from lorachk.rehearsal import miniature
    from lorachk.rehearsal.batches import renumber, used_ids
    from lorachk.rehearsal.build import Refused, model_class

    small = miniature.shrink(config.to_dict())
    vocabulary = miniature.vocabulary_size(small)
    ids = used_ids(batches) | miniature.token_ids(small) | set(plan_tokens(plan))
    table = miniature.compact(vocabulary, ids) if vocabulary else None
    if table is not None:
        small = miniature.with_vocabulary(small, table, miniature.compact_rows(table))
        batches = renumber(batches, table)
        if plan.lora.get("trainable_token_indices"):
            plan.lora["trainable_token_indices"] = renumbered(plan.lora["trainable_token_indices"], table)
    for key in ("attn_implementation", "_attn_implementation"):
        small.pop(key, None)
    made = type(config).from_dict(small)
    loader = model_class(config, plan.trust_remote_code)
    dtype = getattr(torch, plan.dtype) if plan.dtype else torch.float32
    try:
        if loader.__name__.startswith("Auto"):
            model = loader.from_config(made, trust_remote_code=plan.trust_remote_code)
        else:
            model = loader._from_config(made)
    # A class that cannot be built small is no fault of the user's run.
    except Exception as error:
        raise Refused(f"no miniature of {loader.__name__} could be built: {type(error).__name__}: {error}") from error
    if (size := sum(p.numel() for p in model.parameters())) > _LARGEST:
        raise Refused(f"{loader.__name__} could not be made small: {size / 1e6:.0f} million parameters are left")
    model.to(dtype).save_pretrained(plan.weights)
    if plan.trust_remote_code and Path(plan.model).is_dir():
        for code in Path(plan.model).glob("*.py"):
            shutil.copy(code, plan.weights)
    if plan.lora.get("layers_to_transform") is not None:
        plan.lora["layers_to_transform"] = None
    plan.save()
    return batches


def plan_tokens(plan: Plan) -> list[int]:
    """Token ids that the LoRA config trains by number."""
    indices = plan.lora.get("trainable_token_indices") or []
    lists = indices.values() if isinstance(indices, dict) else [indices]
    return [i for one in lists for i in one if isinstance(i, int)]


def renumbered(indices: Any, table: dict[int, int]) -> Any:
    """trainable_token_indices in the small vocabulary."""
    if isinstance(indices, dict):
        return {k: [table[i] for i in v] for k, v in indices.items()}
    return [table[i] for i in indices]


def _control(plan: Plan, batches: list[dict[str, Any]]) -> None:
    """The bare miniature must run forward, else what fails later proves nothing about the run."""
    import torch

    from lorachk.rehearsal.build import Refused, load_base

    try:
        model = load_base(plan).train()
        losses = []
        with torch.no_grad():
            losses += [model(**batch).loss for batch in batches]
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise Refused(f"the miniature does not run on its own: {type(error).__name__}: {text}") from error
    if any(loss is None for loss in losses):
        raise Refused(f"{type(model).__name__} gives no loss for labels; its trainer computes it elsewhere")


def _trace(plan: Plan, batches: list[dict[str, Any]], rows: Rows) -> None:
    """Forward and backward of the adapted miniature under the in-place tracer; one batch of each kind."""
    from lorachk.rehearsal.build import add_adapter, load_base, prepare_base
    from lorachk.rehearsal.inplace import InplaceTracer

    kinds = {("pixel_values" in b): b for b in reversed(batches)}
    try:
        model = load_base(plan)
        model = add_adapter(prepare_base(model, plan), plan).train()
    except Exception as error:
        # The ranks will meet the same error and report it with its phase.
        rows.add("untraced", reason=f"{type(error).__name__}: {error}")
        return
    if plan.args["gradient_checkpointing"]:
        enable = getattr(model, "activation_checkpointing_enable", None)
        options = plan.args.get("gradient_checkpointing_kwargs")
        if enable is not None:
            enable(activation_checkpointing_kwargs=options)
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    tracer = InplaceTracer(model)
    for batch in kinds.values():
        try:
            with tracer.watch():
                model(**batch).loss.backward()
        except RuntimeError as error:  # noqa: PERF203
            # Expected where hazards were defused (their values changed under autograd); else the ranks report it.
            rows.add("untraced", reason=f"{type(error).__name__}: {error}")
    for hazard, count in tracer.hazards.items():
        rows.add("hazard", **_in_users_file(plan, hazard._asdict()), count=count)


def _in_users_file(plan: Plan, hazard: dict[str, Any]) -> dict[str, Any]:
    """Remote code runs from a copy in transformers' module cache: name the file the user has."""
    own = Path(plan.model) / Path(hazard["file"]).name
    inside = "transformers_modules" in hazard["file"]
    return {**hazard, "file": str(own)} if inside and own.is_file() else hazard


if __name__ == "__main__":
    sys.exit(main())
