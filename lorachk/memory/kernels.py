"""What CUDA kernels allocate where the CPU's differ: attention, dropout, packed weights, ZeRO-3's linear.

Which kernel runs cannot be asked without a GPU, so its buffers are allocated by autograd functions of the same shape.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def _new(like: Any, *shape: int, dtype: Any = None) -> Any:
    return like.new_empty(shape, dtype=dtype or like.dtype)


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


class _Flash(torch.autograd.Function):  # type: ignore[misc]
    """FlashAttention 2: keeps q, k, v, out and log-sum-exp (fp32); backward adds dq, dk, dv, an fp32 accumulator of dq,
    the row sums, and for grouped queries dk and dv expanded to all query heads."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any) -> Any:
        b, h, s, d = q.shape
        out = _new(q, b, s, h, d).transpose(1, 2)
        ctx.save_for_backward(q, k, v, out, _new(q, b, h, s, dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        q, k, v, _out, _lse = ctx.saved_tensors
        b, h, s, d = q.shape
        sums = _new(q, b, h, _up(s, 128), dtype=torch.float32)
        accumulated = _new(q, b, _up(s, 128), h, _up(d, 32), dtype=torch.float32)
        dq = _new(q, b, s, h, d).transpose(1, 2)
        dk, dv = (_new(t, t.shape[0], t.shape[2], t.shape[1], d).transpose(1, 2) for t in (k, v))
        if k.shape[1] != h:
            expanded = [_new(k, b, k.shape[2], h, d) for _ in range(2)]
            del expanded
        del sums, accumulated
        return dq, dk, dv


class _Efficient(torch.autograd.Function):  # type: ignore[misc]
    """aten::_scaled_dot_product_efficient_attention, which a dense mask selects: as flash, and the bias is kept."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, bias: Any) -> Any:
        b, h, s, d = q.shape
        out = _new(q, b, s, h, d).transpose(1, 2)
        ctx.save_for_backward(q, k, v, out, _new(q, b, h, _up(s, 32), dtype=torch.float32), bias)
        return out

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        q, k, v, _out, _lse, _bias = ctx.saved_tensors
        b, h, s, d = q.shape
        delta = _new(q, b, h, s, dtype=torch.float32)
        workspace = _new(q, b, s, h, d, dtype=torch.float32)
        dq, dk, dv = (_new(t, t.shape[0], t.shape[2], t.shape[1], d).transpose(1, 2) for t in (q, k, v))
        del delta, workspace
        return dq, dk, dv, None


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,  # noqa: ARG001 - the signature of torch
    is_causal: bool = False,  # noqa: ARG001
    scale: float | None = None,  # noqa: ARG001
    enable_gqa: bool = False,  # noqa: ARG001
) -> Any:
    if attn_mask is None:
        return _Flash.apply(query, key, value)
    bias = query.new_empty(attn_mask.shape) if attn_mask.dtype == torch.bool else attn_mask
    return _Efficient.apply(query, key, value, bias)


class _Zero3Linear(torch.autograd.Function):  # type: ignore[misc]
    """deepspeed.runtime.zero.linear: replaces F.linear under ZeRO-3 and keeps the input of frozen layers too."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        ctx.save_for_backward(x, weight, bias)
        out = x.matmul(weight.t())
        if bias is not None:
            out += bias
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:  # type: ignore[override, unused-ignore]
        x, weight, bias = ctx.saved_tensors
        dx = gradient.matmul(weight) if ctx.needs_input_grad[0] else None
        dw = db = None
        if ctx.needs_input_grad[1]:
            dw = gradient.reshape(-1, gradient.shape[-1]).t().matmul(x.reshape(-1, x.shape[-1]))
        if bias is not None and ctx.needs_input_grad[2]:
            db = gradient.sum(list(range(gradient.dim() - 1)))
        return dx, dw, db


class _PackedMatmul(torch.autograd.Function):  # type: ignore[misc]
    """bitsandbytes MatMul4Bit: the input is not kept; the weight is unpacked for the moment, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Any, shape: tuple[int, ...], bias: Any) -> Any:
        ctx.shape = shape
        return F.linear(x, x.new_empty(shape), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:  # type: ignore[override, unused-ignore]
        return gradient.matmul(gradient.new_empty(ctx.shape)), None, None


class PackedLinear(nn.Linear):  # type: ignore[misc]
    """A linear layer whose weight is packed by quantization; made from an nn.Linear by `pack`."""

    unpacked: tuple[int, ...]

    def forward(self, x: Any) -> Any:
        """Output of the layer."""
        return _PackedMatmul.apply(x, self.unpacked, self.bias)


def pack(module: Any, packed_bytes: int) -> None:
    """Turn an nn.Linear into a PackedLinear of `packed_bytes` in place."""
    shape = tuple(module.weight.shape)
    weight = torch.empty(packed_bytes, dtype=torch.uint8, device=module.weight.device)
    module.weight = nn.Parameter(weight, requires_grad=False)
    module.__class__, module.unpacked = PackedLinear, shape


def _dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:  # noqa: ARG001
    # CUDA's fused dropout keeps a mask of one byte per element, the CPU's a mask in the input's dtype.
    return torch.native_dropout(x, p, True)[0] if training and p > 0 else x


@contextlib.contextmanager
def cuda_like(*, zero3: bool) -> Iterator[None]:
    """Replace attention, dropout and, for ZeRO-3, F.linear while the model runs."""
    kept = F.scaled_dot_product_attention, F.dropout, F.linear
    F.scaled_dot_product_attention, F.dropout = _attention, _dropout  # type: ignore[assignment]
    if zero3:
        F.linear = lambda x, weight, bias=None: _Zero3Linear.apply(x, weight, bias)  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention, F.dropout, F.linear = kept
