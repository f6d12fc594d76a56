"""axolotl: `axolotl train x.yaml`, `accelerate launch -m axolotl.cli.train x.yaml`, and the YAML alone.

Read in axolotl-ai-cloud/axolotl@067b021 (utils/schemas/, utils/config/, core/builders/, loaders/, cli/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lorachk.launchers.by_trainer import axolotl_defaults as defaults
from lorachk.launchers.by_trainer.axolotl_deepspeed import shipped
from lorachk.launchers.text import exists, inside, is_file
from lorachk.launchers.trainers import aliases
from lorachk.launchers.values import Found, Unknown, as_bool, as_float, as_int, implied

if TYPE_CHECKING:
    from lorachk.launchers.command import Launch
    from lorachk.launchers.layers import Layers

_ENDINGS = (".json", ".jsonl", ".csv", ".parquet", ".txt", ".arrow", ".zst", ".gz")
_READERS = {"json", "csv", "parquet", "arrow", "text"}  # of the datasets library, with the files in data_files
# schemas/enums.py LEGACY_ATTN_FLAG_TO_IMPL
_ATTENTION = {
    "xformers_attention": "xformers",
    "sage_attention": "sage",
    "flex_attention": "flex_attention",
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "eager_attention": "eager",
}


def fields(given: dict[str, Found], folder: str, environment: dict[str, Found]) -> dict[str, Found]:  # noqa: ARG001
    """Run fields out of axolotl's configuration; paths are relative to `folder`."""
    refused = _refused(given)
    given = {**given, **refused}
    found = {field: refused[name] for field, names in aliases("axolotl").items() for name in names if name in refused}
    found |= _adapter(given) | _precision(given) | _schedule(given)
    for field, name in (("data", "datasets"), ("eval_data", "test_datasets")):
        if (entry := given.get(name)) is not None and (files := _files(entry, folder)) is not None:
            found[field] = files
    if (checkpointing := given.get("gradient_checkpointing")) is not None:
        named = isinstance(checkpointing.value, str) and as_bool(checkpointing.value) is None  # offload, unsloth ...
        found["gradient_checkpointing"] = checkpointing._replace(value=True) if named else checkpointing
    for name, implementation in _ATTENTION.items():
        if _on(given, name) and "attn_implementation" not in found:
            found["attn_implementation"] = given[name]._replace(value=implementation)
    if (chosen := given.get("attn_implementation")) is not None and chosen.value is not None:
        found["attn_implementation"] = chosen
    if (sharded := _said(given, "fsdp_config")) is not None and _said(given, "fsdp") is None:
        found["fsdp"] = sharded._replace(value=bool(sharded.value))
    if (tokens := _said(given, "tokens")) is not None and tokens.value != []:  # loaders/tokenizer.py add_tokens
        found["resize_vocab"] = tokens if isinstance(tokens.value, Unknown) else tokens._replace(value=True)
    processor = _said(given, "processor_type")
    if processor is not None:
        found["max_length"] = processor._replace(value=Unknown("axolotl cuts no records with images to sequence_len"))
    deepspeed = _said(given, "deepspeed")
    if deepspeed is not None and isinstance(deepspeed.value, str) and not exists(inside(folder, deepspeed.value)):
        held = shipped(deepspeed.value)
        if held is not None:
            found["deepspeed"] = Found(held, deepspeed.at, f"{deepspeed.value} of axolotl")
    return found


def complete(layers: Layers, given: dict[str, Found], environment: dict[str, str], launched: bool) -> None:
    """What axolotl does where nothing is said."""
    if launched:
        defaults.fill(layers, {**given, **_refused(given)}, environment)


def processes(launch: Launch) -> dict[str, Found]:
    """Ranks as the launcher behind `axolotl train` resolves them; none known where it asks the machine."""
    if launch.program is None:  # the YAML alone
        return {}
    own = {**launch.flags, **launch.launcher_flags}
    launcher = launch.flags.get("launcher")
    name = str(launcher.value) if launcher is not None else "accelerate"
    if name == "python":
        return {field: implied(1, "axolotl --launcher python") for field in ("num_gpus", "num_nodes")}
    if name == "torchrun":
        ranks = _count(own.get("nproc_per_node"), "torchrun")
        return {"num_gpus": ranks, "num_nodes": _count(own.get("nnodes"), "torchrun")}
    total, machines = own.get("num_processes"), own.get("num_machines")
    if total is None:
        return {}
    nodes = _count(machines, "accelerate")
    count = as_int(total.value)
    known = bool(count and isinstance(nodes.value, int) and nodes.value)
    unknown = total.value if isinstance(total.value, Unknown) else Unknown(f"num_processes is {total.value!r}")
    return {"num_nodes": nodes, "num_gpus": total._replace(value=(count or 0) // nodes.value if known else unknown)}


def _count(given: Found | None, launcher: str) -> Found:
    if given is None:
        return implied(1, f"default of {launcher}")
    number = as_int(given.value)
    known = number is not None and number > 0
    if known or isinstance(given.value, Unknown):
        return given._replace(value=number if known else given.value)
    return given._replace(value=Unknown(f"{given.value} is known on the machine only"))


def _refused(given: dict[str, Found]) -> dict[str, Found]:
    """`--no-sample-packing` on the command line is sample_packing: false."""
    off = {name[3:]: found for name, found in given.items() if name.startswith("no_") and found.value is True}
    return {name: found._replace(value=False) for name, found in off.items()}


def _said(given: dict[str, Found], name: str) -> Found | None:
    """An argument that has a value: `lora_model_dir:` without one says nothing."""
    entry = given.get(name)
    return entry if entry is not None and entry.value not in (None, "") else None


def _on(given: dict[str, Found], name: str) -> bool:
    entry = given.get(name)
    return entry is not None and not isinstance(entry.value, Unknown) and as_bool(entry.value) is True


def _adapter(given: dict[str, Found]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    adapter = _said(given, "adapter")
    kind = str(adapter.value).lower() if adapter is not None else ""
    if adapter is not None:
        known = kind in ("lora", "qlora")
        found["use_lora"] = adapter._replace(value=known or Unknown(f"the adapter {kind} is a plugin's"))
        if kind == "llama-adapter":
            found["use_lora"] = adapter._replace(value=False)
            found["peft_type"] = adapter._replace(value="ADAPTION_PROMPT")
            found["frozen_parameters"] = adapter._replace(value=True)
    targets = _said(given, "lora_target_modules")
    if _on(given, "lora_target_linear"):  # find_all_linear_names(): every linear layer but the head
        more = [] if targets is None else targets.value if isinstance(targets.value, list) else [targets.value]
        found["target_modules"] = given["lora_target_linear"]._replace(value=["all-linear", *map(str, more)])
    elif targets is not None:
        found["target_modules"] = targets
    for field, name in (
        ("trainable_tokens", "peft_trainable_token_indices"),
        ("target_parameters", "lora_target_parameters"),
    ):
        if (entry := _said(given, name)) is not None:
            found[field] = entry._replace(value=bool(entry.value))
    # loaders/model.py: qlora quantizes with load_in_4bit only, lora with load_in_8bit only
    for field, quantized in (("load_in_4bit", "qlora"), ("load_in_8bit", "lora")):
        if (switch := _said(given, field)) is not None:
            acts = kind == quantized or kind not in ("lora", "qlora", "")
            found[field] = switch if acts else switch._replace(value=False)
    if _on(given, "gptq"):
        found["quant_method"] = given["gptq"]._replace(value="gptq")
    return found


def _precision(given: dict[str, Found]) -> dict[str, Found]:
    """bf16: full is evaluation in bf16 only; bfloat16 and float16 are the weights' dtype. auto waits for the GPU."""
    found: dict[str, Found] = {}
    bf16, fp16 = _said(given, "bf16"), _said(given, "fp16")
    if bf16 is not None and bf16.value == "full":
        found["bf16"] = bf16._replace(value=False)
        found["load_dtype"] = bf16._replace(value="bfloat16")
    elif bf16 is not None and bf16.value == "auto":
        found["bf16"] = bf16._replace(value=None)  # see complete()
    elif bf16 is not None and not (as_bool(bf16.value) is False and _on(given, "bfloat16")):
        found["bf16"] = bf16
    if "bf16" not in found and _on(given, "bfloat16"):
        found["bf16"] = given["bfloat16"]
    if fp16 is not None and (_on(given, "bf16") or _on(given, "bfloat16")):
        found["fp16"] = fp16._replace(value=False)
    tf32 = _said(given, "tf32")
    if tf32 is not None and tf32.value == "auto":
        found["tf32"] = tf32._replace(value=Unknown("auto: on where the GPU can do it"))
    return found


def _schedule(given: dict[str, Found]) -> dict[str, Found]:
    """evals_per_epoch and saves_per_epoch as shares of the run, as normalize_config() turns them."""
    found: dict[str, Found] = {}
    stated = _said(given, "num_epochs")
    epochs = as_float(stated.value) if stated is not None else 1.0
    for name, field, strategy in (
        ("evals_per_epoch", "eval_steps", "eval_strategy"),
        ("saves_per_epoch", "save_steps", "save_strategy"),
    ):
        per = _said(given, name)
        times = as_float(per.value) if per is not None else None
        if per is None or not times or not epochs:
            continue
        share = 1.0 / (times * epochs)
        if share < 1.0:
            found[field] = per._replace(value=share)
            found[strategy] = per._replace(value="steps")
    return found


def _files(given: Found, folder: str) -> Found | None:
    """Entries whose path is a file here, or that read data_files with a reader of the datasets library."""
    if isinstance(given.value, Unknown):
        return given
    files: list[str] = []
    for entry in given.value if isinstance(given.value, list) else [given.value]:
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            continue
        path = entry["path"]
        listed: Any = entry.get("data_files") or []
        names = [name for name in (listed if isinstance(listed, list) else [listed]) if isinstance(name, str)]
        if path in _READERS:
            files += [inside(folder, name) for name in names]
        elif "://" in path:
            continue
        elif exists(inside(folder, path)) and not is_file(inside(folder, path)):
            files += [inside(inside(folder, path), name) for name in names]
        elif is_file(inside(folder, path)) or path.endswith(_ENDINGS):
            files.append(inside(folder, path))
    return given._replace(value=files) if files else None
