"""Reports to render: one with everything in it, one clean, one in which nothing could be judged."""

from __future__ import annotations

from lorachk.engine.finding import Finding, Place, Report, Severity, Skipped

GIB = 2**30


def full() -> Report:
    """Every part of a report, with the numbers of a plausible run."""
    return Report(
        command="check",
        findings=[_memory_error(), _reentrant(), _placeholders(), *_unread_keys(), _tf32()],
        passed=["D101", "D102", "P101"],
        skipped=[
            Skipped("T101", "answers-truncated", "no tokenizer: openbmb/MiniCPM-V-2_6 is not a folder on this machine"),
            Skipped(
                "T102", "no-supervised-tokens", "no tokenizer: openbmb/MiniCPM-V-2_6 is not a folder on this machine"
            ),
            Skipped("S101", "loss-not-finite", "rehearsal was not looked at"),
        ],
        ignored=[Skipped("D111", "text-only-records", "text-only records are dropped on purpose")],
        broken=[Skipped("X901", "our-own-rule", "Binder Error: column recrod not found")],
        internal_errors=["lorachk.facts.machine:collect_gpus: RuntimeError: NVML gave no answer"],
        facts={"record": 665000, "image": 640123, "turn": 1330000, "setting": 61, "gpu": 1, "run": 1},
        names={"D101": "dataset-not-json", "D102": "mixed-types", "P101": "target-without-module"},
        notes=["image.decodes: a sample of 2,000 images was decoded; --deep decodes all"],
        tables={"fit": _fit(), "memory": _memory(), "rehearsal": [_rehearsal()], "step": _steps(), "saved": _saved()},
        seconds=14.06,
        exit_code=1,
    )


def clean() -> Report:
    """Nothing found."""
    return Report(
        command="data",
        passed=[f"D{n}" for n in range(101, 125)],
        skipped=[
            Skipped(f"T{n}", "tokens", "no model was named; --model PATH lets lorachk count") for n in (101, 102, 103)
        ],
        facts={"record": 42, "image": 40},
        seconds=0.31,
    )


def unjudged() -> Report:
    """No rule could be judged: this must not look like success."""
    return Report(command="data", skipped=[Skipped("D101", "dataset-not-json", "no dataset was named")], exit_code=0)


def _memory_error() -> Finding:
    return Finding(
        "V101",
        "out-of-memory",
        Severity.error,
        "the run needs 27.2 GiB per GPU, an NVIDIA GeForce RTX 4090 has 23.5 GiB: 3.7 GiB are missing.",
        "In this order:\n\n1. Turn on `gradient_checkpointing`.\n2. Use ZeRO-3.",
    )


def _reentrant() -> Finding:
    return Finding(
        "Z101",
        "zero3-non-reentrant-checkpointing",
        Severity.error,
        "ZeRO-3 over frozen parameters with use_reentrant = false and deepspeed 0.18.9: the first backward pass stops "
        "with CheckpointError, because released parameters are recomputed with shape [0].",
        "Set `use_reentrant` to true and call `enable_input_require_grads()`, or use DeepSpeed **0.19.3** or newer.\n\n"
        "A second paragraph with the reasons.",
        (
            Place("configs/ds_zero3.json", 14, 20, "/zero_optimization/stage"),
            Place("finetune_lora.sh", 42, 5, "/gradient_checkpointing_kwargs", note="use_reentrant: false stands here"),
        ),
    )


def _placeholders() -> Finding:
    places = tuple(
        Place(
            "data/train.json",
            91 + 12 * n,
            5,
            f"/{7 + n}/conversations/0/content",
            7 + n,
            0,
            note=f"{n + 2} placeholders, 1 image: expected as many placeholders as images",
        )
        for n in range(10)
    )
    return Finding(
        "D108",
        "placeholder-count",
        Severity.warning,
        "133 records have another number of image placeholders than images.",
        "- Write one `<image>` per image, in the order of the images.\n- Or drop the record.",
        places,
        133,
        665000,
        "record",
    )


def _unread_keys() -> list[Finding]:
    """Two findings of one rule."""
    return [
        Finding(
            "Z208",
            "unread-key",
            Severity.warning,
            f"DeepSpeed reads no key {key}.",
            "Remove the key, or move it to where DeepSpeed reads it.",
            (Place("configs/ds_zero3.json", line, 5, f"/{key}"),),
        )
        for key, line in (("zero_stage", 3), ("gradient_accumulation", 9))
    ]


def _tf32() -> Finding:
    return Finding(
        "N107",
        "no-tf32",
        Severity.info,
        "tf32 is off; matrix products in fp32 run at a fraction of the GPU's speed.",
        "Set `tf32: true`.",
    )


def _fit() -> list[dict[str, object]]:
    own = {"gpu": "NVIDIA GeForce RTX 4090", "available": int(23.5 * GIB), "sequence": 2048, "micro_batch": 1}
    stages = ((0, "none", "none", 18.6, 20.1), (2, "none", "none", 25.4, 27.2), (2, "cpu", "none", 18.2, 19.9))
    stages += ((3, "none", "none", 9.5, 12.3), (3, "cpu", "cpu", 6.8, 9.4))
    return [
        {
            "zero_stage": stage,
            "offload_optimizer": optimizer,
            "offload_param": param,
            "configured": (stage, optimizer) == (2, "none"),
            "peak_allocated": int(peak * GIB),
            "needed": int(needed * GIB),
            "fits": needed < 23.5,
            "host_needed": int(45 * GIB) if optimizer == "cpu" else 0,
            "moment": "backward of layer 27, after the loss",
            **own,
        }
        for stage, optimizer, param, peak, needed in stages
    ]


def _memory() -> list[dict[str, object]]:
    parts = (
        ("weights", "7.6 billion parameters in bfloat16", 14.2, "exact"),
        ("adapter", "LoRA r 64 on 196 modules", 0.6, "exact"),
        ("activations", "one layer, logits and loss", 9.4, "trace"),
        ("optimizer", "Adam moments and fp32 copy", 1.2, "exact"),
        ("context", "CUDA context and NCCL", 1.2, "constant"),
    )
    return [
        {
            "zero_stage": 2,
            "offload_optimizer": "none",
            "offload_param": "none",
            "component": component,
            "detail": detail,
            "bytes": int(size * GIB),
            "host_bytes": 0,
            "method": method,
        }
        for component, detail, size, method in parts
    ]


def _rehearsal() -> dict[str, object]:
    return {
        "model": "miniature",
        "architecture": "MiniCPMV",
        "parameters": 3_214_000,
        "trainable": 12_288,
        "world_size": 2,
        "zero_stage": 2,
        "device": "cpu",
        "steps": 3,
        "seconds": 41.2,
        "outcome": "ok",
        "versions": "torch 2.13.0, transformers 5.23.0, peft 0.21.2, deepspeed 0.19.8",
    }


def _steps() -> list[dict[str, object]]:
    losses = ((10.82, 10.79), (10.61, 10.64), (float("nan"), 10.4))
    return [
        {"rank": rank, "step": n + 1, "loss": loss, "grad_norm": 3.2 - n, "seconds": 4.1 / (n + 1), "peak_bytes": None}
        for n, pair in enumerate(losses)
        for rank, loss in enumerate(pair)
    ]


def _saved() -> list[dict[str, object]]:
    return [
        {"name": f"layers.{n}.lora_A.weight", "file": "adapter_model.safetensors", "numel": 64, "equal": True}
        for n in range(128)
    ]
