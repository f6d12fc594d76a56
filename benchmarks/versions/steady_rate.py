"""A learning rate that stays as it is, for old libraries with a new torch."""

from __future__ import annotations

from typing import Any

import torch


def keep_rate() -> None:
    """Have schedulers leave the rates alone.

    DeepSpeed drops an empty parameter group of the optimizer (older transformers make one without biases); then the
    scheduler of torch 2.13 stops, as it has more rates than groups. The rate is no matter here.
    """

    def stay(scheduler: Any, *_: Any) -> None:
        scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]

    torch.optim.lr_scheduler.LRScheduler._update_lr = stay  # type: ignore[method-assign]
