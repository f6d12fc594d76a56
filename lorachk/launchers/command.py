"""The command that starts the training: how many processes, which script, which flags."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any, TypedDict

from lorachk.errors import UsageError
from lorachk.launchers import by_trainer
from lorachk.launchers.shell_script import Field, Invocation, Script
from lorachk.launchers.values import Found, Unknown, as_int, implied, literal
from lorachk.run import Location

_PYTHON = re.compile(r"python[0-9.]*$")
_PASSED_ON = re.compile(r"\$\{?[0-9@*#]")  # empty when the script is started without arguments
_NAME = re.compile(r"[A-Za-z_]\w*$")
ENDINGS = (".yaml", ".yml", ".json")  # of files of arguments
_WRAPPERS = {"nohup", "exec", "env", "srun", "time", "sudo", "stdbuf", "setsid", "nice", "poetry", "uv", "run"}
_TORCHRUN = {"torch.distributed.run", "torch.distributed.launch", "torchrun"}
_MODULES = {"accelerate.commands.launch": "accelerate", "deepspeed.launcher.runner": "deepspeed"}
_DIRECT = {
    "swift": "ms-swift",
    "llamafactory-cli": "llamafactory",
    "lmf": "llamafactory",
    "axolotl": "axolotl",
    "trl": "trl",
}
# what else these commands do, which trains nothing
_NO_TRAINING = {
    *("api", "app", "chat", "delinearize-llama4", "deploy", "env", "eval", "evaluate", "export", "fetch", "help"),
    *("infer", "inference", "merge-lora", "merge-sharded-fsdp-weights", "preprocess", "quantize", "rollout", "sample"),
    *("skills", "version", "vllm-serve", "web-ui", "webchat", "webui"),
}

# launcher flags that take no value; every other one takes the next word
_SWITCHES = {
    "torchrun": {"standalone", "no_python", "no-python", "m", "module", "run_path", "use_env", "use-env"},
    "deepspeed": {"no_python", "module", "no_local_rank", "force_multi", "save_pid", "enable_each_rank_log"},
    "accelerate": {
        "multi_gpu",
        "use_deepspeed",
        "use_fsdp",
        "cpu",
        "mps",
        "m",
        "module",
        "no_python",
        "quiet",
        "debug",
    },
    "python": {"u", "O", "B", "E", "s", "S", "I", "OO"},
}


@dataclass
class Launch:
    """A training command taken apart. Flag names have no dashes in front and `_` for `-`."""

    launcher: str  # torchrun, deepspeed, accelerate, python, or a trainer's own command
    program: str | None  # script or module
    launcher_flags: dict[str, Found] = field(default_factory=dict)
    flags: dict[str, Found] = field(default_factory=dict)
    environment: dict[str, Found] = field(default_factory=dict)
    line: int = 1
    config: Found | None = None  # YAML or JSON file of arguments it names
    unread: list[Found] = field(default_factory=list)  # words between the flags that only the shell knows


class _Arguments(TypedDict):
    flags: dict[str, Found]
    config: Found | None
    unread: list[Found]


def find_launch(script: Script, path: str) -> Launch:
    """The training command of a script; UsageError when there is none."""
    launches = [launch for call in script.invocations if (launch := _launch(call, path))]
    if not launches:
        raise UsageError(
            "no command that starts a training was found",
            where=path,
            hint="looked for torchrun, deepspeed, accelerate launch, python, swift, axolotl, llamafactory-cli",
        )
    # the first with flags or a file of arguments; else the first
    best = max(launches, key=lambda launch: len(launch.flags) > 1 or launch.config is not None)
    exported = {name: script.variables[name] for name in script.exported if name in script.variables}
    best.environment = {
        **{name: _found(value, path, f"/{name}") for name, value in exported.items()},
        **best.environment,
    }
    return best


def _found(value: Field, path: str, pointer: str) -> Found:
    content: Any = literal(value.text) if value.unknown is None else Unknown(value.unknown)
    return Found(content, Location(value.file or path, value.line, value.col, pointer))


def _launch(call: Invocation, path: str) -> Launch | None:
    environment = {name: _found(value, path, f"/{name}") for name, value in call.environment.items()}
    words = list(call.arguments)
    while words and (words[0].text in _WRAPPERS or "=" in words[0].text.split("/")[0]):
        if "=" in words[0].text:
            name, _, value = words[0].text.partition("=")
            environment[name] = _found(words[0]._replace(text=value), path, f"/{name}")
        words = words[1:]
        while words and words[0].text.startswith("-"):
            words = words[1:]
    if not words:
        return None
    name = os.path.basename(words[0].text)  # noqa: PTH119 - a command word, not a file here
    rest = words[1:]
    launcher = _DIRECT.get(name, name)
    if name == "accelerate":
        if not rest or rest[0].text != "launch":
            return None
        rest = rest[1:]
    elif _PYTHON.match(name):
        launcher = "python"
        switches, module = _python(rest)
        rest = rest[switches:]
        if module in _TORCHRUN:
            launcher = "torchrun"
        elif module in _MODULES:
            launcher = _MODULES[module]
        elif module is not None:
            return Launch("python", module, {}, environment=environment, line=call.line, **_arguments(rest, path))
    elif name in _DIRECT:
        if not rest or rest[0].text.replace("_", "-") in _NO_TRAINING:
            return None
        dashes = next((index for index, word in enumerate(rest) if word.text == "--"), len(rest))
        given = _arguments(rest[1:dashes], path)
        own, _ = parse_flags(rest[dashes + 1 :], path)  # axolotl hands these on to the launcher
        if given["config"] is None and given["unread"]:  # these commands take a file first
            given["config"] = given["unread"].pop(0)
        return Launch(launcher, rest[0].text, own, environment=environment, line=call.line, **given)
    elif name not in ("torchrun", "deepspeed"):
        return None
    return _behind_launcher(launcher, rest, path, environment, call.line)


def _python(words: list[Field]) -> tuple[int, str | None]:
    for index, word in enumerate(words):
        if word.text == "-m":
            return index + 2, words[index + 1].text if index + 1 < len(words) else None
        if not word.text.startswith("-"):
            return index, None
    return len(words), None


def _behind_launcher(
    launcher: str, words: list[Field], path: str, environment: dict[str, Found], line: int
) -> Launch | None:
    """Split the launcher's own flags from the program and its flags."""
    own: dict[str, Found] = {}
    index = 0
    while index < len(words) and words[index].text.startswith("-"):
        name, equals, value = words[index].text.lstrip("-").partition("=")
        key = name.replace("-", "_")
        if equals:
            own[key] = _found(words[index]._replace(text=value), path, f"/{key}")
        elif name in _SWITCHES.get(launcher, ()) or index + 1 >= len(words):
            own[key] = Found(True, Location(words[index].file or path, words[index].line, words[index].col, f"/{key}"))
        else:
            index += 1
            own[key] = _found(words[index], path, f"/{key}")
        index += 1
    if index >= len(words):
        return None
    program = words[index]
    if launcher == "python" and not program.text.endswith(".py"):
        return None
    given = _arguments(words[index + 1 :], path)
    return Launch(launcher, program.text, own, environment=environment, line=line, **given)


def _arguments(words: list[Field], path: str) -> _Arguments:
    """Flags, `name=value` words (LLaMA-Factory), and the file of arguments that stands first or behind --config."""
    flags, positional = parse_flags(words, path)
    config, unread = None, []
    for word in positional:
        name, equals, _ = word.text.partition("=")
        if word.unknown is not None and not _NAME.match(name) and not word.text.endswith(ENDINGS):
            if not _PASSED_ON.match(word.unknown):
                unread.append(_found(word, path, ""))
        elif config is None and word.text.endswith(ENDINGS):
            config = _found(word, path, "/config")
        elif equals and _NAME.match(name):
            offset = len(name) + 1
            flags[name] = _found(word._replace(text=word.text[offset:], col=word.col + offset), path, f"/{name}")
    named = flags.get("config")
    if config is None and named and isinstance(named.value, str) and named.value.endswith(ENDINGS):
        config = flags.pop("config")
    return {"flags": flags, "config": config, "unread": unread}


def parse_flags(words: list[Field], path: str) -> tuple[dict[str, Found], list[Field]]:
    """`--name value`, `--name=value`, `--switch` and `--list a b` as argparse reads them, and the words before them."""
    flags: dict[str, Found] = {}
    positional: list[Field] = []
    name, at, values = "", Location(path), list[Field]()

    def close() -> None:
        if not name:
            positional.extend(values)
        elif not values:
            flags[name] = Found(True, at)
        elif len(values) == 1:
            flags[name] = _found(values[0], path, f"/{name}")
        elif unknown := next((value.unknown for value in values if value.unknown), None):
            flags[name] = Found(Unknown(unknown), at)
        else:
            first = Location(values[0].file or path, values[0].line, values[0].col, f"/{name}")
            flags[name] = Found([literal(value.text) for value in values], first)

    for word in words:
        if re.match(r"--?[A-Za-z]", word.text):
            close()
            text, equals, value = word.text.lstrip("-").partition("=")
            name = text.replace("-", "_")
            at, values = Location(word.file or path, word.line, word.col, f"/{name}"), []
            if equals:
                offset = len(word.text) - len(value)
                values.append(word._replace(text=value, col=word.col + offset))
        else:
            values.append(word)
    close()
    return flags, positional


def processes(launch: Launch, trainer: str | None = None) -> dict[str, Found]:
    """`num_gpus` (local ranks) and `num_nodes` as the launcher resolves them; absent when it would ask the machine."""
    if launch.launcher in _DIRECT.values() and (own_way := by_trainer.of(trainer or launch.launcher)):
        return own_way.processes(launch)
    own, found = launch.launcher_flags, dict[str, Found]()
    visible = launch.environment.get("CUDA_VISIBLE_DEVICES")
    devices = _devices(visible)
    if launch.launcher == "torchrun":
        found["num_gpus"] = _count(own.get("nproc_per_node"), 1, launch)
        found["num_nodes"] = _count(own.get("nnodes"), 1, launch)
    elif launch.launcher == "deepspeed":
        if "num_gpus" in own:
            found["num_gpus"] = _count(own["num_gpus"], 1, launch)
        elif "include" in own and not isinstance(own["include"].value, Unknown):
            hosts = str(own["include"].value).split("@")
            slots = [part.split(":")[1].split(",") for part in hosts if ":" in part]
            if slots and len({len(part) for part in slots}) == 1:
                found["num_gpus"] = Found(len(slots[0]), own["include"].at)
                found["num_nodes"] = Found(len(hosts), own["include"].at)
        elif devices and "hostfile" not in own:
            found["num_gpus"] = devices
        if "num_nodes" in own:
            found["num_nodes"] = _count(own["num_nodes"], 1, launch)
        elif "hostfile" not in own:
            found.setdefault("num_nodes", implied(1, "default of deepspeed"))
    elif launch.launcher == "accelerate":
        machines = _count(own.get("num_machines"), 1, launch) if "config_file" not in own else own.get("num_machines")
        total = own.get("num_processes")
        if machines:
            found["num_nodes"] = machines
        if total and machines and isinstance(total.value, int) and isinstance(machines.value, int) and machines.value:
            found["num_gpus"] = Found(total.value // machines.value, total.at)
    elif launch.launcher == "ms-swift":
        if "NPROC_PER_NODE" in launch.environment:
            found["num_gpus"] = _count(launch.environment["NPROC_PER_NODE"], 1, launch)
            found["num_nodes"] = _count(launch.environment.get("NNODES"), 1, launch)
    elif launch.launcher == "python":
        found["num_gpus"] = implied(1, "python starts one process")
        found["num_nodes"] = implied(1, "python starts one process")
    return found


def _count(given: Found | None, default: int, launch: Launch) -> Found:
    if given is None:
        return implied(default, f"default of {launch.launcher}")
    if isinstance(given.value, Unknown):
        return given
    number = as_int(given.value)
    return Found(number if number is not None else Unknown(f"{given.value} is known on the cluster only"), given.at)


def _devices(visible: Found | None) -> Found | None:
    if visible is None or isinstance(visible.value, Unknown):
        return None
    count = len([part for part in str(visible.value).split(",") if part.strip()])
    return Found(count, visible.at) if count else None
