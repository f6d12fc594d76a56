"""Record which arguments the trainers take, in which versions: lorachk/facts/arguments_recorded.json.

    python benchmarks/versions/record_arguments.py WHEELS MIRROR

WHEELS has folders `transformers-4.36.0`, `trl-0.17.0` ... with those files of the wheels that declare arguments
(`download` below fetches them with pip); MIRROR has `owner+name/repo` git directories of the trainers. Facts only are
kept: names, types, choices and literal defaults.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from packaging.version import Version

from lorachk.facts.argument_classes import Argument, Sources, read_all

OUT = Path(__file__).parents[2] / "lorachk/facts/arguments_recorded.json"
FILES = {
    "transformers": ("training_args.py", "training_args_seq2seq.py", "trainer_utils.py"),
    "trl": ("trainer/*config*.py", "trainer/utils.py", "scripts/*.py", "core.py", "experimental/*/*_config.py"),
}
FIRST = {"transformers": "4.28", "trl": "0.8"}

# trainer -> source, files, [program, classes]; the first program stands for any other
TRAINERS: dict[str, tuple[str, list[str], list[tuple[str, list[str]]]]] = {
    "minicpmv": (
        "OpenBMB+MiniCPM-V",
        ["finetune/finetune.py"],
        [("finetune.py", ["ModelArguments", "DataArguments", "TrainingArguments", "LoraArguments"])],
    ),
    "llava": (
        "haotian-liu+LLaVA",
        ["llava/train/train.py"],
        [("train_mem.py", ["ModelArguments", "DataArguments", "TrainingArguments"])],
    ),
    "qwen-vl": (
        "QwenLM+Qwen3-VL",
        ["qwen-vl-finetune/qwenvl/train/argument.py"],
        [("train_qwen.py", ["ModelArguments", "DataArguments", "TrainingArguments"])],
    ),
    "qwen-vl-chat": (
        "QwenLM+Qwen-VL",
        ["finetune.py"],
        [("finetune.py", ["ModelArguments", "DataArguments", "TrainingArguments", "LoraArguments"])],
    ),
    "qwen-vl-series": (
        "2U1+Qwen2-VL-Finetune",
        ["src/params.py"],
        [
            ("train_sft.py", ["ModelArguments", "DataArguments", "TrainingArguments"]),
            ("train_dpo.py", ["ModelArguments", "DataArguments", "DPOArguments"]),
            ("train_grpo.py", ["ModelArguments", "DataArguments", "GRPOArguments"]),
            ("train_cls.py", ["ModelArguments", "DataArguments", "CLSArguments"]),
        ],
    ),
    "internvl": (
        "OpenGVLab+InternVL",
        ["internvl_chat/internvl/train/internvl_chat_finetune.py"],
        [("internvl_chat_finetune.py", ["ModelArguments", "DataTrainingArguments", "TrainingArguments"])],
    ),
    "fastchat": (
        "lm-sys+FastChat",
        ["fastchat/train/train_lora.py", "fastchat/train/train.py"],
        [("train_lora.py", ["ModelArguments", "DataArguments", "TrainingArguments", "LoraArguments"])],
    ),
    "vlm-r1": (
        "om-ai-lab+VLM-R1",
        [
            "src/open-r1-multimodal/src/open_r1/grpo_jsonl.py",
            "src/open-r1-multimodal/src/open_r1/trainer/grpo_config.py",
        ],
        [("grpo_jsonl.py", ["GRPOScriptArguments", "GRPOConfig", "GRPOModelConfig"])],
    ),
    "llamafactory": (
        "hiyouga+LLaMA-Factory",
        ["src/llamafactory/hparams/*.py"],
        [
            (
                "train",
                ["ModelArguments", "DataArguments", "TrainingArguments", "FinetuningArguments", "GeneratingArguments"],
            )
        ],
    ),
    "ms-swift": (
        "modelscope+ms-swift",
        [
            "swift/trainers/arguments.py",
            "swift/rlhf_trainers/args_mixin.py",
            "swift/rlhf_trainers/arguments.py",
            "swift/arguments/base_args/*.py",
            "swift/arguments/*.py",
            "swift/ray_utils/arguments.py",
        ],
        [("sft", ["SftArguments"]), ("pt", ["SftArguments"]), ("rlhf", ["RLHFArguments"])],
    ),
    "axolotl": ("axolotl-ai-cloud+axolotl", ["src/axolotl/utils/schemas/*.py"], [("train", ["AxolotlInputConfig"])]),
}
ALIASES = {"BaseTrainingArguments": "^Seq2SeqTrainingArguments"}
LIBRARY = {
    "TrainingArguments": "transformers",
    "Seq2SeqTrainingArguments": "transformers",
}
NONE = {"object", "ABC", "BaseModel", "Enum", "str", "Generic", "Protocol"}


def main(wheels: Path, mirror: Path) -> None:
    """Write the record."""
    libraries = {name: library(wheels, name) for name in FILES}
    trainers = {name: trainer(mirror, *spec) for name, spec in TRAINERS.items()}
    made = {"libraries": libraries, "trainers": trainers}
    OUT.write_text(_lines(made) + "\n", encoding="utf-8")
    print(f"{OUT}: {OUT.stat().st_size:,} bytes")


def library(wheels: Path, name: str) -> dict[str, Any]:
    """Every class of a library with the spans of versions in which each field was as it is."""
    folders = sorted(wheels.glob(f"{name}-*"), key=lambda path: Version(path.name.partition("-")[2]))
    versions = [path.name.partition("-")[2] for path in folders]
    classes: dict[str, dict[str, list[Any]]] = {}
    bases: dict[str, list[Any]] = {}
    enums: dict[str, dict[str, list[Any]]] = {}
    for index, folder in enumerate(folders):
        sources = read_all(
            path.read_text("utf-8") for pattern in FILES[name] for path in sorted((folder / name).glob(pattern))
        )
        for made in sources.classes.values():
            if name == "transformers" and made.name not in LIBRARY:
                continue
            _span(bases.setdefault(made.name, []), index, [b for b in made.bases if b not in NONE])
            for argument in made.fields.values():
                _span(classes.setdefault(made.name, {}).setdefault(argument.name, []), index, packed(argument))
        used = {a.enum for c in sources.classes.values() for a in c.fields.values() if a.enum}
        for enum in used & sources.enums.keys():
            for value in sources.enums[enum]:
                _span(enums.setdefault(enum, {}).setdefault(value, []), index, None)
    return {"versions": versions, "bases": bases, "classes": classes, "enums": enums}


def _span(spans: list[Any], index: int, what: Any) -> None:
    """Lengthen the last span by this version, or begin one: [first, last, what]."""
    if spans and spans[-1][2] == what and spans[-1][1] == index - 1:
        spans[-1][1] = index
    elif not (spans and spans[-1][1] == index):
        spans.append([index, index, what])


def packed(argument: Argument) -> list[Any]:
    """An argument without name: type, choices or enum, default, aliases."""
    choices = list(argument.choices) or argument.enum
    full = [argument.type, choices, argument.default, list(argument.aliases)]
    while full and not full[-1]:
        full.pop()
    return full


def trainer(mirror: Path, repository: str, patterns: list[str], parsers: list[Any]) -> dict[str, Any]:
    """A trainer's own classes as its head declares them."""
    git = ["git", "--git-dir", str(mirror / repository / "repo")]
    tree = subprocess.run([*git, "ls-tree", "-r", "--name-only", "HEAD"], capture_output=True, text=True, check=True)
    names = [
        n
        for p in patterns
        for n in tree.stdout.splitlines()
        if Path(n).match(p) and len(Path(n).parts) == len(Path(p).parts)
    ]
    texts = [
        subprocess.run([*git, "show", f"HEAD:{n}"], capture_output=True, text=True, check=True).stdout for n in names
    ]
    head = subprocess.run([*git, "log", "-1", "--format=%h %cs"], capture_output=True, text=True, check=True)
    commit, _, date = head.stdout.strip().partition(" ")
    sources = read_all(texts, models=repository.startswith("axolotl"))
    for made in sources.classes.values():
        made.bases = tuple(ALIASES.get(base, base) for base in made.bases if base not in NONE)
    listed = {name for _, classes in parsers for name in classes}
    outside = {root: dict[str, Argument]() for name in {*sources.classes, *listed} for root in sources.roots(name)}
    found = {}
    for program, classes in parsers:
        entry: dict[str, Any] = {}
        for name in classes:
            fields = sources.fields(name, outside)
            if fields is None:
                raise SystemExit(f"{repository}: {name} is not declared in {names}")
            entry[name] = {
                "roots": sorted(sources.roots(name)),
                "fields": {a.name: _own(a, sources) for a in fields.values()},
            }
        found[program] = entry
    return {"source": f"{repository.replace('+', '/')}@{commit}", "date": date, "parsers": found}


def _own(argument: Argument, sources: Sources) -> list[Any]:
    """As `packed`, with the values of an enum of its own in place."""
    if argument.enum in sources.enums:
        argument = argument._replace(choices=sources.enums[argument.enum])
    return packed(argument)


def _lines(value: Any, depth: int = 0) -> str:
    """JSON with one argument a line."""
    if isinstance(value, dict) and depth < 5 and value:
        inner = ",\n".join(f"{json.dumps(k)}: {_lines(v, depth + 1)}" for k, v in value.items())
        return "{\n" + inner + "\n}"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def download(wheels: Path) -> None:
    """Fetch the first release of every minor version and keep the files that declare arguments."""
    for name, patterns in FILES.items():
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "index", "versions", name], capture_output=True, text=True, check=True
        )
        line = next(text for text in listed.stdout.splitlines() if text.startswith("Available versions: "))
        first: dict[tuple[int, ...], str] = {}
        for version in line.partition(": ")[2].split(", "):  # newest first
            if Version(version) >= Version(FIRST[name]):
                first[Version(version).release[:2]] = version
        for version in first.values():
            folder = wheels / f"{name}-{version}"
            if folder.exists():
                continue
            with tempfile.TemporaryDirectory() as place:
                pip = [
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "-q",
                    "--no-deps",
                    "--only-binary",
                    ":all:",
                    "-d",
                    place,
                ]
                subprocess.run([*pip, f"{name}=={version}"], check=True)
                with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
                    wanted = [m for m in wheel.namelist() if any(Path(m).match(f"{name}/{p}") for p in patterns)]
                    wheel.extractall(folder, wanted)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    download(Path(sys.argv[1]))
    main(Path(sys.argv[1]), Path(sys.argv[2]))
