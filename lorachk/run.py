"""Run: what the user is about to launch, resolved from their files, every value with its origin.

`Run` is the bottom of the house: it knows nothing of files or libraries. `launchers/` fill it, `facts/` read it, and
the one-row table `run` is made from it field by field (see `facts/tables.py`). A field is None when it is unknown;
a rule that needs it is then skipped, never passed.

A plain dataclass: importing pydantic takes longer than judging a small dataset. The readers convert every value to its
field's type (`launchers/layers.py`); a run that comes from another process is validated by pydantic (`from_json`).
"""

# ruff: noqa: RUF009 -- the helpers below give dataclass fields, no shared defaults
# No `from __future__ import annotations`: the table `run` and the readers take the fields' types from FIELDS.
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple


class Location(NamedTuple):
    """A place in a file that a person can open; lines and columns count from 1, pointers are RFC 6901."""

    path: str
    line: int | None = None
    col: int | None = None
    pointer: str | None = None


class Setting(NamedTuple):
    """One leaf of a file (or option) that the run is launched with."""

    kind: str  # deepspeed, launch (trainer's flags), launcher (its own), accelerate, env, peft, toml, option, model
    pointer: str  # RFC 6901 inside the file; "/learning_rate" for the flag --learning_rate
    value: Any  # JSON value
    at: Location


class Source(NamedTuple):
    """One file that was read, and what was wrong with it."""

    path: str
    kind: str
    bytes: int | None = None
    encoding: str | None = None
    problem: str | None = None
    line: int | None = None
    col: int | None = None


def _fact(description: str) -> Any:
    return field(default=None, metadata={"description": description})


def _texts(description: str) -> Any:
    return field(default_factory=list, metadata={"description": description})


def _mapping(description: str) -> Any:
    return field(default_factory=dict, metadata={"description": description})


@dataclass(frozen=True, kw_only=True)
class Run:
    """The resolved run. Names are those of the libraries; bytes are bytes, lengths are tokens."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    # what is trained, by whom
    trainer: str | None = _fact(
        "trainer that reads these files: minicpmv vlm-r1 llava qwen-vl qwen-vl-chat qwen-vl-series internvl fastchat "
        "llamafactory ms-swift axolotl trl hf"
    )
    launch: str | None = _fact("launch file")
    launcher: str | None = _fact(
        "what starts the processes: torchrun, deepspeed, accelerate, python, or a trainer's command"
    )
    program: str | None = _fact("training program that it starts, a Python file; it need not be here")
    model: str | None = _fact("folder with config.json, or hub name")
    tokenizer: str | None = _fact("folder of the tokenizer and its chat template; None: the model's")
    model_found: bool | None = _fact("whether a config.json could be read for the model")
    family: str | None = _fact(
        "model family: minicpmv2 minicpmv25 minicpmv26 minicpmv46 qwen2_vl qwen2_5_vl llava text ..."
    )
    model_type: str | None = _fact("config.json model_type")
    architecture: str | None = _fact("first entry of config.json architectures")
    checkpoint_dtype: str | None = _fact("dtype the checkpoint is stored in (config.json dtype/torch_dtype)")
    tie_word_embeddings: bool | None = _fact("whether input embedding and LM head share one tensor")
    hidden_size: int | None = _fact("hidden size of the language model")
    vocab_size: int | None = _fact("rows of the embedding")
    llm_type: str | None = _fact("MiniCPM-V finetune.py --llm_type")
    # data
    data: list[str] = _texts("training files")
    eval_data: list[str] = _texts("evaluation files")
    image_root: str | None = _fact("folder image paths are joined to; None: as the trainer resolves them")
    max_length: int | None = _fact("token limit per record")
    max_slice_nums: int | None = _fact("MiniCPM-V: largest number of image slices")
    # adapter
    use_lora: bool | None = _fact("a LoRA adapter is trained")
    tune_llm: bool | None = _fact("the trainer also unfreezes the language model")
    tune_vision: bool | None = _fact("the trainer also trains the vision tower")
    tune_projector: bool | None = _fact("the trainer also trains the projector, merger or resampler")
    lora_r: int | None = _fact("LoRA rank")
    lora_alpha: float | None = _fact("LoRA alpha")
    lora_dropout: float | None = _fact("LoRA dropout probability")
    lora_bias: str | None = _fact("LoraConfig bias")
    target_modules: list[str] | None = _fact("LoRA target modules; one element and target_regex for a string")
    target_regex: bool | None = _fact("target_modules is one string, matched with re.fullmatch")
    modules_to_save: list[str] | None = _fact("modules trained and saved in full beside the adapter")
    exclude_modules: list[str] | None = _fact("modules that LoRA leaves out; one element for a regex")
    peft_type: str | None = _fact("LORA, ADALORA, LOHA, VERA ... when an adapter is trained")
    init_lora_weights: str | None = _fact("LoraConfig init_lora_weights: true, false, gaussian, pissa, olora ...")
    use_rslora: bool | None = _fact("scale by alpha / sqrt(r)")
    use_dora: bool | None = _fact("DoRA")
    ensure_weight_tying: bool | None = _fact("LoraConfig ensure_weight_tying")
    trainable_tokens: bool | None = _fact("LoraConfig trainable_token_indices is set")
    target_parameters: bool | None = _fact("LoraConfig target_parameters is set")
    resize_vocab: bool | None = _fact("the trainer resizes the embedding for tokens it adds")
    adapter: str | None = _fact("adapter that the run starts from")
    # precision and quantization
    fp16: bool | None = _fact("fp16 mixed precision of the trainer")
    bf16: bool | None = _fact("bf16 mixed precision of the trainer")
    tf32: bool | None = _fact("TF32 matrix multiplication")
    load_in_4bit: bool | None = _fact("bitsandbytes 4-bit base")
    load_in_8bit: bool | None = _fact("bitsandbytes 8-bit base")
    bnb_4bit_quant_storage: str | None = _fact("dtype that packs 4-bit weights")
    bnb_4bit_compute_dtype: str | None = _fact("dtype that 4-bit layers compute in")
    llm_int8_skip_modules: list[str] | None = _fact("modules that bitsandbytes leaves unquantized")
    load_dtype: str | None = _fact("dtype the weights are loaded in: from_pretrained dtype/torch_dtype")
    attn_implementation: str | None = _fact("eager, sdpa, flash_attention_2, flash_attention_3 ...")
    quant_method: str | None = _fact("quantization of the checkpoint itself: gptq awq bitsandbytes ...")
    # batch and schedule
    per_device_train_batch_size: int | None = _fact("micro batch size per GPU")
    gradient_accumulation_steps: int | None = _fact("micro batches per optimizer step")
    learning_rate: float | None = _fact("peak learning rate")
    lr_scheduler_type: str | None = _fact("learning-rate schedule")
    max_steps: int | None = _fact("optimizer steps; -1 or None: by epochs")
    num_train_epochs: float | None = _fact("epochs")
    optim: str | None = _fact("TrainingArguments optim")
    weight_decay: float | None = _fact("weight decay")
    adam_beta1: float | None = _fact("Adam beta1")
    adam_beta2: float | None = _fact("Adam beta2")
    adam_epsilon: float | None = _fact("Adam epsilon")
    max_grad_norm: float | None = _fact("gradient clipping")
    warmup_steps: float | None = _fact("steps of warm-up; below 1 a share of all steps (transformers 5)")
    warmup_ratio: float | None = _fact("share of all steps that is warm-up")
    eval_strategy: str | None = _fact("no, steps or epoch")
    eval_steps: float | None = _fact("steps between evaluations; below 1 a share of all steps")
    save_strategy: str | None = _fact("no, steps, epoch or best")
    save_steps: float | None = _fact("steps between checkpoints; below 1 a share of all steps")
    load_best_model_at_end: bool | None = _fact("the best checkpoint is loaded after training")
    save_only_model: bool | None = _fact("checkpoints hold no optimizer state")
    resume_from_checkpoint: str | None = _fact("checkpoint the run goes on from; true for the last one")
    ddp_find_unused_parameters: bool | None = _fact("DDP looks for parameters without gradient")
    dataloader_num_workers: int | None = _fact("worker processes per rank")
    packing: bool | None = _fact("several records are packed into one sequence")
    use_cache: bool | None = _fact("config.json use_cache; the KV cache is on unless the trainer turns it off")
    fsdp: bool | None = _fact("the model is sharded by FSDP")
    group_by_modality_length: bool | None = _fact("LLaVA: batches hold text or images, not both")
    remove_unused_columns: bool | None = _fact("the Trainer drops dataset columns that forward() does not name")
    # gradient checkpointing
    gradient_checkpointing: bool | None = _fact("activations are recomputed in backward")
    use_reentrant: bool | None = _fact("torch.utils.checkpoint variant")
    input_require_grads: bool | None = _fact("the trainer calls enable_input_require_grads()")
    # DeepSpeed
    deepspeed: str | None = _fact("DeepSpeed config file")
    zero_stage: int | None = _fact("ZeRO stage; 0 without DeepSpeed")
    offload_optimizer: str | None = _fact("none, cpu or nvme")
    offload_param: str | None = _fact("none, cpu or nvme")
    ds_train_batch_size: int | None = _fact("train_batch_size of the DeepSpeed file, when a number")
    ds_micro_batch_size: int | None = _fact("train_micro_batch_size_per_gpu of the DeepSpeed file, when a number")
    ds_gradient_accumulation_steps: int | None = _fact(
        "gradient_accumulation_steps of the DeepSpeed file, when a number"
    )
    ds_fp16: str | None = _fact("fp16.enabled of the DeepSpeed file: true, false, auto")
    ds_bf16: str | None = _fact("bf16.enabled of the DeepSpeed file: true, false, auto")
    reduce_bucket_size: int | None = _fact("elements of the gradient bucket, auto resolved as transformers does")
    # machine
    num_gpus: int | None = _fact("local ranks")
    num_nodes: int | None = _fact("machines")
    world_size: int | None = _fact("ranks in total")
    device_map: str | None = _fact("from_pretrained device_map")
    gpu: str | None = _fact("name of the GPU to judge for, when not this machine's")
    gpu_memory: int | None = _fact("bytes per GPU to judge for, when not this machine's")
    output_dir: str | None = _fact("where checkpoints go")
    frozen_parameters: bool | None = _fact("some parameters of the base model do not require grad (LoRA, freeze flags)")
    environment: dict[str, str] = _mapping("versions the run will use, by distribution")
    # whole inputs for those who build real objects from them; not columns of the table `run`
    lora_config: dict[str, Any] = _mapping("LoraConfig keyword arguments")
    deepspeed_config: dict[str, Any] = _mapping("the DeepSpeed file as parsed")
    training_args: dict[str, Any] = _mapping("the trainer's arguments by name, those that are known")
    argument_places: dict[str, Location] = _mapping("argument name to where it was given, known or not")
    origins: dict[str, Location] = _mapping("field name to where its value was read")
    because: dict[str, str] = _mapping("field name to where a value comes from that stands in no file")
    unknown: dict[str, str] = _mapping("field name to why its value, which is set, cannot be known")

    def at(self, field: str) -> Location | None:
        """Where the value of `field` was read; None for a library default or a derived value (see `because`)."""
        return self.origins.get(field)


# Field name to its type (`.type`) and meaning (`.metadata["description"]`).
FIELDS = {f.name: f for f in fields(Run)}


def as_json(run: Run) -> dict[str, Any]:
    """The run as JSON values, for another process."""
    from pydantic import TypeAdapter

    values: dict[str, Any] = TypeAdapter(Run).dump_python(run, mode="json")
    return values


def from_json(values: dict[str, Any]) -> Run:
    """The run that `as_json` took apart. Raises pydantic's ValidationError for anything else."""
    from pydantic import TypeAdapter

    return TypeAdapter(Run).validate_python(values)
