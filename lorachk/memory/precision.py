"""Dtypes: what the base model is loaded in, what quantization packs it into, what preparation casts back up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from lorachk.run import Run

# Trainers that call peft.prepare_model_for_kbit_training: it casts every unquantized half-precision parameter to fp32.
_KBIT_PREPARED = frozenset({None, "hf", "trl", "minicpmv", "llava", "axolotl"})
_NAMES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}


class Packed(NamedTuple):
    """A quantized weight: dtype of the packed tensor and bytes of it and its quantization state."""

    dtype: str
    bytes: int


def load_dtype(run: Run, config: Any) -> Any:
    """torch.dtype the base is loaded in.

    The run's own dtype argument; else bf16 or fp16 of the trainer, as the fine-tuning scripts pass it to
    from_pretrained; else the checkpoint's dtype, transformers' default since v5.
    """
    import torch

    stated = next(
        (run.training_args[k] for k in ("dtype", "torch_dtype", "model_dtype") if run.training_args.get(k)), None
    )
    names = [stated if stated != "auto" else None, _flagged(run) if stated != "auto" else None, run.checkpoint_dtype]
    names.append(getattr(config, "dtype", None) or getattr(config, "torch_dtype", None))
    for name in names:
        found = getattr(torch, _plain(name), None) if name is not None else None
        if isinstance(found, torch.dtype):
            return found
    return torch.float32


def _flagged(run: Run) -> str | None:
    return "bfloat16" if run.bf16 else "float16" if run.fp16 else None


def _plain(name: object) -> str:
    text = str(name).removeprefix("torch.")
    return _NAMES.get(text, text)


def cast(model: Any, dtype: Any) -> None:
    """Cast floating-point parameters as from_pretrained does; modules a class keeps in fp32 stay there."""
    import torch

    strict = set(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    kept = strict | (set(getattr(model, "_keep_in_fp32_modules", None) or ()) if dtype == torch.float16 else set())
    patterns = [re.compile(rf"(^|\.){name}($|\.)") for name in kept]
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point():
            wanted = torch.float32 if any(p.search(name) for p in patterns) else dtype
            parameter.data = parameter.data.to(wanted)


def pack(model: Any, run: Run) -> dict[int, Packed]:
    """Weights that the run's quantization packs, by id of the parameter; empty without quantization.

    bitsandbytes 4-bit: half a byte per element and per 64 elements one absmax, itself quantized to 8 bits with a
    float per 256 when double quantized (QLoRA, arXiv 2305.14314, section 3), else 4 bytes. 8-bit: a byte per element
    and 4 per row. GPTQ and AWQ: bits per element and per group a half-precision scale and a packed zero point.
    """
    from torch import nn

    bits, group, double = _scheme(model, run)
    if bits is None:
        return {}
    skip = _unquantized(model)
    packed: dict[int, Packed] = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear) or any(part in skip for part in (name, name.rsplit(".", 1)[-1])):
            continue
        n, rows = module.weight.numel(), module.weight.shape[0]
        if group is not None:
            packed[id(module.weight)] = Packed("int32", n * bits // 8 + n // group * 3)
        elif bits == 8:
            packed[id(module.weight)] = Packed("int8", n + 4 * rows)
        else:
            blocks = -(-n // 64)
            state = blocks + -(-blocks // 256) * 4 if double else 4 * blocks
            packed[id(module.weight)] = Packed(run.bnb_4bit_quant_storage or "uint8", n // 2 + state)
    return packed


def _scheme(model: Any, run: Run) -> tuple[int | None, int | None, bool]:
    own = getattr(model.config, "quantization_config", None) or {}
    own = own if isinstance(own, dict) else own.to_dict()
    double = bool(own.get("bnb_4bit_use_double_quant", run.training_args.get("bnb_4bit_use_double_quant", False)))
    if run.load_in_4bit or own.get("load_in_4bit"):
        return 4, None, double
    if run.load_in_8bit or own.get("load_in_8bit"):
        return 8, None, False
    if own.get("quant_method") in ("gptq", "awq"):
        group = own.get("group_size") or 128
        return int(own.get("bits") or 4), int(group) if int(group) > 0 else 128, False
    return None, None, False


def _unquantized(model: Any) -> set[str]:
    """Modules transformers leaves unquantized by default: the LM head and what it is tied to."""
    own = getattr(model.config, "quantization_config", None) or {}
    own = own if isinstance(own, dict) else own.to_dict()
    names = set(own.get("llm_int8_skip_modules") or own.get("modules_to_not_convert") or ()) | {"lm_head"}
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return names | {name for name, module in model.named_modules() if module is head}


def prepare_kbit(model: Any, run: Run, packed: dict[int, Packed]) -> None:
    """What peft.prepare_model_for_kbit_training does to a bitsandbytes base, for trainers that call it."""
    import torch

    if not packed or run.trainer not in _KBIT_PREPARED or any(p.dtype == "int32" for p in packed.values()):
        return
    for parameter in model.parameters():
        if id(parameter) not in packed and parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.to(torch.float32)
