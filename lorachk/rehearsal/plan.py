"""The plan of a rehearsal: what the ranks are to run, as JSON, and what had to differ from the user's run.

Knows no torch: the plan is made in lorachk's own process and read by the processes that train.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lorachk.facts.collector import NotCollected, Options
from lorachk.launchers.text import is_folder
from lorachk.run import Run

SEED = 20260
_MOST_RECORDS, _MOST_ACCUMULATION = 4, 2
# TrainingArguments of the user's that change what a step does; the rest is about logging, saving and speed.
_ARGS = (
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "average_tokens_across_devices",
    "ddp_bucket_cap_mb",
    "ddp_find_unused_parameters",
    "ddp_static_graph",
    "label_smoothing_factor",
    "max_grad_norm",
    "weight_decay",
)
# Parts of a DeepSpeed file that write files, need CUDA kernels, or search; none decides whether a step is right.
_DROPPED = (
    "aio",
    "autotuning",
    "comms_logger",
    "csv_monitor",
    "elasticity",
    "flops_profiler",
    "scheduler",
    "sparse_attention",
    "tensorboard",
    "wandb",
)
_PLAIN_OPTIMIZERS = {"adam", "adamw"}


@dataclass
class Plan:
    """Everything a rank needs; paths are absolute."""

    folder: str  # where rows, batches and the miniature go
    model: str  # the user's model folder or hub name
    lora: dict[str, Any]
    args: dict[str, Any]  # TrainingArguments
    deepspeed: dict[str, Any] | None
    dtype: str | None  # float32, bfloat16, float16; None: as the checkpoint
    input_require_grads: bool | None
    quantization: dict[str, Any] | None  # BitsAndBytesConfig
    ranks: int
    steps: int
    data: list[str] = field(default_factory=list)
    image_root: str | None = None
    max_length: int | None = None
    trainer: str | None = None
    device: str = "cpu"
    real_weights: bool = False
    trust_remote_code: bool = False
    changes: list[str] = field(default_factory=list)  # how the rehearsal differs from the run

    @property
    def weights(self) -> str:
        """Folder the ranks load the model from."""
        return self.model if self.real_weights else str(Path(self.folder) / "miniature")

    @property
    def stage(self) -> int:
        """ZeRO stage that runs; 0 without DeepSpeed."""
        zero = (self.deepspeed or {}).get("zero_optimization") or {}
        stage = zero.get("stage", 0)
        return stage if isinstance(stage, int) else 0

    def save(self) -> Path:
        """Write plan.json into the folder."""
        path = Path(self.folder) / "plan.json"
        path.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str) -> Plan:
        """Read plan.json."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))


def make_plan(run: Run, options: Options, folder: Path) -> Plan:
    """Plan the rehearsal of a run; NotCollected when the run does not say enough."""
    if not run.model:
        raise NotCollected("no model is known; name one with --model or [run] model")
    lora = _lora(run)
    changes: list[str] = []
    real = options.real_weights
    wanted = run.num_gpus if real else run.world_size
    # Two ranks are the smallest number that shards; with DeepSpeed they are the safe guess when nothing says how many.
    ranks = min(options.rehearsal_ranks, wanted or (options.rehearsal_ranks if run.deepspeed_config else 1))
    dtype = _precision(run, real, changes)
    args = _args(run, dtype, options.rehearsal_steps, real, changes)
    deepspeed = _deepspeed(run, args, real, changes) if run.deepspeed_config else None
    quantization = _quantization(run, dtype)
    if quantization and not real:
        changes.append("the base model is not quantized (bitsandbytes needs a GPU)")
    model = str(Path(run.model).resolve()) if is_folder(run.model) else run.model
    return Plan(
        folder=str(folder),
        model=model,
        lora=lora,
        args=args,
        deepspeed=deepspeed,
        dtype=dtype,
        input_require_grads=run.input_require_grads,
        quantization=quantization,
        ranks=max(1, ranks),
        steps=options.rehearsal_steps,
        data=[str(Path(p).resolve()) for p in run.data],
        image_root=run.image_root,
        max_length=run.max_length,
        trainer=run.trainer,
        device="cuda" if real else "cpu",
        real_weights=real,
        trust_remote_code=options.trust_remote_code,
        changes=changes,
    )


def _lora(run: Run) -> dict[str, Any]:
    """LoraConfig arguments: the PEFT file or [run.lora] as it stands, completed by what the launch file says."""
    lora = dict(run.lora_config)
    resolved = {
        "r": run.lora_r,
        "lora_alpha": run.lora_alpha,
        "lora_dropout": run.lora_dropout,
        "bias": run.lora_bias,
        "modules_to_save": run.modules_to_save,
        "target_modules": run.target_modules[0] if run.target_regex and run.target_modules else run.target_modules,
    }
    for key, value in resolved.items():
        if value is not None and lora.get(key) is None:
            lora[key] = value
    if run.use_lora is False or not (lora or run.use_lora):
        raise NotCollected("no LoRA configuration is known; the rehearsal trains an adapter")
    lora["inference_mode"] = False
    return lora


def _quantization(run: Run, dtype: str | None) -> dict[str, Any] | None:
    """BitsAndBytesConfig arguments, with the defaults of QLoRA where the run says nothing."""
    if run.load_in_8bit:
        return {"load_in_8bit": True}
    if not run.load_in_4bit:
        return None
    storage = {"bnb_4bit_quant_storage": run.bnb_4bit_quant_storage} if run.bnb_4bit_quant_storage else {}
    compute = {"bnb_4bit_compute_dtype": dtype} if dtype else {}
    return {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", **compute, **storage}


def _precision(run: Run, real: bool, changes: list[str]) -> str | None:
    if run.bf16:
        return "bfloat16"
    if run.fp16:
        if not real:
            changes.append("fp16 runs as bf16 (the CPU has no fp16 training), so no loss scaling is rehearsed")
        return "float16" if real else "bfloat16"
    stored = run.checkpoint_dtype
    if stored == "float16" and not real:
        changes.append("float16 weights run as bfloat16")
        return "bfloat16"
    return stored if stored in ("float32", "bfloat16", "float16") else None


def _args(run: Run, dtype: str | None, steps: int, real: bool, changes: list[str]) -> dict[str, Any]:
    records = run.per_device_train_batch_size or 1
    accumulation = run.gradient_accumulation_steps or 1
    if not real and (records > _MOST_RECORDS or accumulation > _MOST_ACCUMULATION):
        changes.append(
            f"micro batch {records} and {accumulation} accumulation steps run as "
            f"{min(records, _MOST_RECORDS)} and {min(accumulation, _MOST_ACCUMULATION)}"
        )
        records, accumulation = min(records, _MOST_RECORDS), min(accumulation, _MOST_ACCUMULATION)
    args: dict[str, Any] = {k: run.training_args[k] for k in _ARGS if run.training_args.get(k) is not None}
    optim = run.optim
    if optim and not real and not optim.startswith(("adamw_torch", "sgd", "adagrad", "rmsprop")):
        changes.append(f"optimizer {optim} runs as adamw_torch")
        optim = "adamw_torch"
    if optim == "adamw_torch_fused" and not real:
        optim = "adamw_torch"
    args |= {
        "max_steps": steps,
        "per_device_train_batch_size": records,
        "gradient_accumulation_steps": accumulation,
        # Without warm-up: its first step has learning rate 0 and would look like parameters that do not train.
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "bf16": dtype == "bfloat16" and bool(run.bf16 or run.fp16),
        "fp16": real and bool(run.fp16),
        "gradient_checkpointing": bool(run.gradient_checkpointing),
        "use_cpu": not real,
        "seed": SEED,
    }
    if run.learning_rate is not None:
        args["learning_rate"] = run.learning_rate
    if optim:
        args["optim"] = optim
    if run.gradient_checkpointing and run.use_reentrant is not None:
        args["gradient_checkpointing_kwargs"] = {"use_reentrant": run.use_reentrant}
    return args


def _deepspeed(run: Run, args: Mapping[str, Any], real: bool, changes: list[str]) -> dict[str, Any]:
    """The user's DeepSpeed file with what the world size, the CPU and small parameters make necessary."""
    config: dict[str, Any] = deepcopy(run.deepspeed_config)
    if dropped := [k for k in _DROPPED if config.pop(k, None) is not None]:
        changes.append(f"DeepSpeed sections left out: {', '.join(dropped)}")
    config["steps_per_print"] = 1_000_000
    config["wall_clock_breakdown"] = False
    for key, mine, asked in (
        ("train_micro_batch_size_per_gpu", "per_device_train_batch_size", run.per_device_train_batch_size),
        ("gradient_accumulation_steps", "gradient_accumulation_steps", run.gradient_accumulation_steps),
    ):
        # A number that contradicts the trainer's stays: that failure is the user's own.
        if isinstance(config.get(key), int) and config[key] == (asked or 1):
            config[key] = args[mine]
    if isinstance(config.get("train_batch_size"), int):
        config["train_batch_size"] = "auto"
    if real:
        return config
    zero = config.get("zero_optimization")
    if isinstance(zero, dict):
        _small_zero(zero, config, changes)
    fp16 = config.get("fp16")
    if isinstance(fp16, dict) and fp16.get("enabled"):
        was_on = fp16["enabled"] is True
        config["fp16"] = {"enabled": False}
        if was_on:
            config["bf16"] = {"enabled": True}
    if config.get("communication_data_type") in ("fp16", "float16"):
        config["communication_data_type"] = "bf16"
    optimizer = config.get("optimizer")
    if isinstance(optimizer, dict):
        if str(optimizer.get("type", "")).lower() not in _PLAIN_OPTIMIZERS:
            changes.append(f"optimizer {optimizer.get('type')} runs as AdamW")
            lr = (optimizer.get("params") or {}).get("lr", "auto")
            optimizer.update(type="AdamW", params={"lr": lr})
        # The fused CPU Adam would be compiled first; the torch one computes the same.
        optimizer["params"] = {**(optimizer.get("params") or {}), "torch_adam": True}
    return config


def _small_zero(zero: dict[str, Any], config: dict[str, Any], changes: list[str]) -> None:
    if zero.get("stage") == 3:
        # Parameters below the threshold are never released, and all of a miniature's are below the default.
        zero["stage3_param_persistence_threshold"] = 0
    quantized = ("zero_quantized_weights", "zero_quantized_nontrainable_weights", "zero_quantized_gradients")
    changes.extend(f"{key} is off (it needs CUDA kernels)" for key in quantized if zero.pop(key, None))
    if isinstance(zero.get("zero_hpz_partition_size"), int) and zero["zero_hpz_partition_size"] > 1:
        zero["zero_hpz_partition_size"] = 1
    for key in ("offload_optimizer", "offload_param"):
        offload = zero.get(key)
        if isinstance(offload, dict) and offload.get("device") not in (None, "none"):
            if offload.get("device") == "nvme":
                changes.append(f"{key} goes to cpu instead of nvme")
            zero[key] = {"device": "cpu", "pin_memory": False}
            config["zero_force_ds_cpu_optimizer"] = False
