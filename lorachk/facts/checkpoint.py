"""Table checkpoint: the checkpoint that the run goes on from, by its file names and JSON files. Nothing is unpickled.

Which one that is, if any, is up to the trainer's script: some take what resume_from_checkpoint says, some the last one
in the output folder without being asked, some none at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from lorachk.facts.collector import Context
from lorachk.facts.python_files import Reading, followed
from lorachk.facts.script_scan import scan
from lorachk.launchers.text import is_file, is_folder
from lorachk.run import Run

# Whose scripts go on from the last checkpoint in the output folder when there is one, and do not read the argument
# (LLaVA train.py:966, FastChat train_lora.py:195, VLM-R1 grpo_jsonl.py:1058, qwenvl/train/train_qwen.py:191,
# Qwen-VL-Series train_sft.py:236).
_BY_FOLDER = frozenset({"fastchat", "llava", "qwen-vl", "qwen-vl-series", "vlm-r1"})
# Whose scripts call trainer.train() and no more (MiniCPM-V finetune.py:292, Qwen-VL finetune.py:360); so does
# trl/scripts.
_NEVER = frozenset({"minicpmv", "qwen-vl-chat"})
_TRL_SCRIPT = re.compile(r"(^|/)(trl|examples)/scripts/\w+\.py$")
# Whose scripts take the last one when the argument is not given and the output folder may not be overwritten.
_BOTH = frozenset({"internvl", "llamafactory"})
_NAME = re.compile(r"checkpoint-(\d+)$")  # transformers.trainer_utils.get_last_checkpoint
_SHARD = re.compile(r"(?:bf16_|fp16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_?(optim|model)_states\.pt$")
_WEIGHTS = re.compile(r"(adapter_model|model|pytorch_model)[\w.-]*\.(safetensors|bin)(\.index\.json)?$")
_OPTIMIZER = ("optimizer.pt", "optimizer.bin")  # what the Trainer looks for without DeepSpeed


class Chosen(NamedTuple):
    """The checkpoint that is gone on from, and who says so."""

    path: str | None  # None: the last one was asked for, and there is none
    asked: bool  # by resume_from_checkpoint


def collect(context: Context) -> None:
    """Fill checkpoint: one row when the run goes on from one, or means to."""
    run = context.run
    if (reason := run.unknown.get("resume_from_checkpoint")) is not None:
        context.sink.unknown("checkpoint.exists", reason)
        return
    chosen = choose(run)
    if chosen is None or _unread(run):
        return
    found = row(chosen, run)
    context.sink.add("checkpoint", [found])
    if found["exists"] is None:
        context.sink.unknown("checkpoint.exists", f"the folder of the checkpoint, {_above(chosen, run)}, is not here")


def _above(chosen: Chosen, run: Run) -> Path:
    """The folder that the checkpoint is in, or is looked for in."""
    return (Path(chosen.path).parent if chosen.path else Path(run.output_dir or "")).expanduser()


def _unread(run: Run) -> bool:
    """Whether the program of the user's own starts training without a word of a checkpoint."""
    if run.trainer not in (None, "hf", "trl") or run.program is None or not is_file(run.program):
        return False
    read = followed([run.program], Reading(Path(run.program).parent, "the training program"), scan, [])
    calls = [r for _, found in read for r in found.rows if r["kind"] == "call" and r["name"] == "train"]
    calls = [r for r in calls if "trainer" in str(r["subject"]).lower()]
    return bool(calls) and not any(r["positional"] or r["keywords"] for r in calls)


def choose(run: Run) -> Chosen | None:
    """The checkpoint of a run; None when it begins anew."""
    trainer = run.trainer or "hf"
    given = (run.resume_from_checkpoint or "").strip()
    asked = bool(given) and given.lower() not in ("false", "none", "null")
    if trainer in _NEVER or (trainer == "trl" and (run.program is None or _TRL_SCRIPT.search(run.program))):
        return None
    if trainer in _BY_FOLDER:
        last = _last(run.output_dir)
        return Chosen(last, asked=False) if last else None
    if asked and given.lower() == "true":
        return Chosen(_last(run.output_dir), asked=True)
    if asked:
        return Chosen(given, asked=True)
    if trainer in _BOTH and str(run.training_args.get("overwrite_output_dir")).lower() != "true":
        last = _last(run.output_dir)
        return Chosen(last, asked=False) if last else None
    return None


def row(chosen: Chosen, run: Run) -> dict[str, Any]:
    """The row of a checkpoint, as far as it is there."""
    home = chosen.path and str(Path(chosen.path).expanduser())
    if home is None or not is_folder(home):
        near = _near(home or str(run.output_dir or ""))
        seen = is_folder(str(_above(chosen, run)))  # else the run may be another machine's
        return {"path": chosen.path, "asked": chosen.asked, "exists": False if seen else None, "near": near}
    folder = Path(home)
    names = sorted(entry.name for entry in folder.iterdir())
    state = _json(folder / "trainer_state.json")
    number = _NAME.search(folder.name)
    return {
        "path": chosen.path,
        "asked": chosen.asked,
        "exists": True,
        "whole": str(run.training_args.get("resume_only_model")).lower() != "true",
        "files": len(names),
        "step": _number(state, "global_step") or (int(number[1]) if number else None),
        "max_steps": _number(state, "max_steps"),
        "weights": any(_WEIGHTS.match(name) for name in names),
        "state": "trainer_state.json" in names,
        **_optimizer(folder, names),
        **_adapter(folder),
    }


def _optimizer(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Columns optimizer, deepspeed, zero_stage and ranks, from the names of files."""
    steps = [name for name in names if name.startswith("global_step")]
    plain = any(name in _OPTIMIZER for name in names) or any(name.startswith("optimizer") for name in names)
    if not steps:
        return {"deepspeed": False, "optimizer": plain}
    latest = _text(folder / "latest").strip()
    tag = latest if latest in steps else max(steps, key=lambda name: (len(name), name))
    files = [entry.name for entry in (folder / tag).iterdir()] if is_folder(str(folder / tag)) else []
    shards = [shard for shard in map(_SHARD.match, files) if shard]
    ranks = [int(shard[1]) for shard in shards if shard[3] == "optim"]
    whole = any(name.startswith("mp_rank_") for name in files)
    stage: int | None = (2 if ranks else 0) if whole else None
    if any(shard[3] == "model" for shard in shards):
        stage = 3
    parallel = any(int(shard[2]) for shard in shards)  # tensor parallel: ranks mean something else
    return {
        "deepspeed": True,
        "optimizer": bool(ranks) or (whole and stage == 0),
        "zero_stage": stage,
        "ranks": max(ranks) + 1 if ranks and not parallel else None,
    }


def _adapter(folder: Path) -> dict[str, Any]:
    """Columns of adapter_config.json; targets only where they are a list of names."""
    config = _json(folder / "adapter_config.json")
    if not config:
        return {"adapter": False}
    targets = config.get("target_modules")
    alpha = config.get("lora_alpha")
    return {
        "adapter": True,
        "lora_r": _number(config, "r"),
        "lora_alpha": float(alpha) if isinstance(alpha, (int, float)) and not isinstance(alpha, bool) else None,
        "patterns": bool(config.get("rank_pattern") or config.get("alpha_pattern")),
        "target_modules": sorted(str(t) for t in targets) if isinstance(targets, list) else None,
    }


def _last(output_dir: str | None) -> str | None:
    """The checkpoint folder with the highest step in the output folder, as transformers finds it."""
    if not output_dir or not is_folder(str(Path(output_dir).expanduser())):
        return None
    found = {
        int(match[1]): entry
        for entry in Path(output_dir).expanduser().iterdir()
        if (match := _NAME.match(entry.name)) and entry.is_dir()
    }
    return str(found[max(found)]) if found else None


def _near(path: str) -> list[str]:
    """Checkpoints that were probably meant: those in the folder, else those beside it, the likeliest first."""
    for folder in (Path(path), Path(path).parent):
        if path and is_folder(str(folder)):
            there = sorted(e.name for e in folder.iterdir() if _NAME.match(e.name) and e.is_dir())
            close = get_close_matches(Path(path).name, there, 3, 0.5)
            return [str(folder / name) for name in [*close, *(n for n in there if n not in close)][:3]]
    return []


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(path: Path) -> str:
    """Text of a small file; empty when there is none."""
    try:
        if not is_file(str(path)) or path.stat().st_size > 64 * 2**20:
            return ""
        return path.read_text("utf-8")
    except (OSError, ValueError):
        return ""


def _number(values: dict[str, Any], key: str) -> int | None:
    value = values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
