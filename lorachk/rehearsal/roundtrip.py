"""The checkpoint round trip: count the saved tensors, load them on a fresh base, compare with what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lorachk.rehearsal.build import is_adapter, load_base
from lorachk.rehearsal.plan import Plan
from lorachk.rehearsal.probe import Value
from lorachk.rehearsal.rows import Rows


def check_saved(plan: Plan, trained: dict[str, Value], folder: Path, rows: Rows) -> None:
    """Rows of `saved`; runs on rank 0 after the last collective."""
    wanted = {n: v.values for n, v in trained.items() if v.values is not None and is_adapter(n)}
    file, found = _read(folder)
    stored = {_plain(n): n for n in found}
    reloaded = _reload(plan, folder) if _complete(found, wanted, stored) else {}
    for name, values in wanted.items():
        mark = stored.pop(_plain(name), None)
        back = reloaded.get(name)
        rows.add(
            "saved",
            name=mark or _plain(name),
            file=file if mark else None,
            numel=found[mark].numel() if mark else None,
            expected_numel=values.numel(),
            equal=None if back is None else _equal(values, back),
        )
    rows.add("adapter", file=file, tensors=len(found))


def _read(folder: Path) -> tuple[str | None, dict[str, torch.Tensor]]:
    safe, pickled = folder / "adapter_model.safetensors", folder / "adapter_model.bin"
    if safe.is_file():
        from safetensors.torch import load_file

        return safe.name, load_file(safe)
    if pickled.is_file():
        return pickled.name, torch.load(pickled, weights_only=True, map_location="cpu")
    return None, {}


def _plain(name: str) -> str:
    """A parameter's name as PEFT writes it: without the adapter's name."""
    return name.replace(".modules_to_save.default.", ".").replace(".default", "").replace(".modules_to_save.", ".")


def _complete(found: dict[str, Any], wanted: dict[str, Any], stored: dict[str, str]) -> bool:
    """Whether loading can succeed: a tensor of another size would stop it, and is a row anyway."""
    return all(_plain(n) in stored and found[stored[_plain(n)]].numel() == v.numel() for n, v in wanted.items())


def _reload(plan: Plan, folder: Path) -> dict[str, torch.Tensor]:
    """Adapter parameters of a fresh base with the saved adapter on it, built without ZeRO."""
    import peft
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    model = peft.PeftModel.from_pretrained(load_base(plan), str(folder))
    return {n: p.detach().cpu() for n, p in model.named_parameters() if is_adapter(n)}


def _equal(trained: torch.Tensor, loaded: torch.Tensor) -> bool:
    """Equal in the coarser of both types: the file keeps the trained type, the fresh base may cast it."""
    coarse = min(trained.dtype, loaded.dtype, key=lambda t: torch.finfo(t).bits)
    return trained.shape == loaded.shape and bool(torch.equal(trained.to(coarse), loaded.to(coarse)))
