"""From whatever the user has to the Run: options, lorachk.toml, launch, DeepSpeed, PEFT and model files, defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorachk.errors import UsageError
from lorachk.launchers import by_trainer
from lorachk.launchers.derive import derive
from lorachk.launchers.layers import Layers
from lorachk.launchers.project import Lint, find_project, normalised
from lorachk.launchers.text import beside, exists, is_folder, where
from lorachk.launchers.trainers import TRAINERS
from lorachk.launchers.values import Found, Unknown
from lorachk.run import FIELDS, Location, Run, Setting, Source

# A reader is imported when there is something for it to read: `lorachk data train.json` needs none of them.
if TYPE_CHECKING:
    from lorachk.launchers.launch_file import LaunchFile
    from lorachk.launchers.project_file import Project

__all__ = ["Lint", "ResolveOptions", "Resolved", "resolve"]


@dataclass(frozen=True)
class ResolveOptions:
    """What the command line can give; paths are relative to where lorachk runs."""

    data: list[str] = field(default_factory=list)
    eval_data: list[str] = field(default_factory=list)
    image_root: str | None = None
    model: str | None = None
    tokenizer: str | None = None
    launch: str | None = None
    peft: str | None = None
    deepspeed: str | None = None
    toml: str | None = None
    isolated: bool = False  # do not look for lorachk.toml
    trainer: str | None = None
    family: str | None = None
    max_length: int | None = None
    max_slice_nums: int | None = None
    gpu: str | None = None
    gpu_memory: str | int | None = None  # "24GiB", "24GB" or bytes
    num_gpus: int | None = None
    num_nodes: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    requirements: str | None = None  # requirements.txt, a lock file ...: versions below those of [environment]


@dataclass(frozen=True)
class Resolved:
    """The run, and every file and setting it was resolved from."""

    run: Run
    settings: list[Setting]
    sources: list[Source]
    lint: Lint


_FLAGS = {name: f"--{name.replace('_', '-')}" for name in ResolveOptions.__dataclass_fields__} | {
    "deepspeed": "--config",
    "data": "DATA",
}


def resolve(options: ResolveOptions) -> Resolved:
    """Resolve a run. UsageError for files that are missing or broken and for options that mean nothing."""
    return _Resolver(options).resolve()


class _Resolver:
    def __init__(self, options: ResolveOptions) -> None:
        self.options = options
        self.layers = Layers()
        self.settings: list[Setting] = []
        self.sources: list[Source] = []
        self.arguments: dict[str, Found] = {}  # TrainingArguments by name
        self.lora: dict[str, Any] = {}  # LoraConfig arguments
        self.inline: Found | None = None  # a DeepSpeed configuration that is written among the arguments

    def resolve(self) -> Resolved:
        layers, options = self.layers, self.options
        layers.add(self._option_fields())
        project = self._project()
        lint = Lint()
        environment = {normalised(name): version for name, version in options.environment.items()}
        if project:
            lint = project.lint
            self.settings += project.settings
            self.sources.append(project.source)
            stated = {normalised(name): found.value for name, found in project.environment.items()}
            environment = {**stated, **environment}
            self._project_fields(project)
        environment = {**self._requirements(project), **environment}
        launch = self._launch()
        if launch:
            self.settings += launch.settings
            self.sources += launch.sources
            self.arguments = {**launch.launch.flags, **self.arguments}
            layers.derive("trainer", launch.trainer, Location(launch.path, launch.launch.line))
            layers.derive("launcher", launch.launch.launcher, Location(launch.path, launch.launch.line))
            from lorachk.launchers.flags import launch_fields
            from lorachk.launchers.program import program_file

            program = program_file(launch.launch, launch.folder)
            layers.derive("program", program, Location(launch.path, launch.launch.line))

            accelerate = self._accelerate(launch)
            self._add(launch_fields(launch.launch, layers.get("trainer"), launch.folder, accelerate))
            if layers.get("trainer") == "minicpmv":  # it opens image paths as they are, from where it is started
                layers.derive("image_root", launch.folder)
        if project and project.args:
            layers.derive("trainer", "hf")
        ds_config = self._deepspeed()
        self._peft(options.peft or (str(project.run["peft"].value) if project and "peft" in project.run else None))
        version = self._model()
        self._tokenizer()
        whole = launch is not None or bool(project and (project.args or project.lora)) or bool(options.peft)
        if own_way := by_trainer.of(layers.get("trainer")):
            own_way.complete(layers, self.arguments, environment, whole)
        derive(layers, self.arguments, environment, launched=whole, version=version)
        return Resolved(self._run(environment, ds_config), self.settings, self.sources, lint)

    def _option_fields(self) -> dict[str, Found]:
        options, found = self.options, dict[str, Found]()
        for name, flag in _FLAGS.items():
            value = getattr(options, name)
            if name in ("toml", "isolated", "environment", "requirements", "peft") or value is None or value == []:
                continue
            found[name] = Found(value, Location(flag))
            self.settings.append(Setting("option", f"/{name}", value, Location(flag)))
        if options.trainer is not None and options.trainer not in TRAINERS:
            raise UsageError(f"no trainer {options.trainer!r}", where="--trainer", hint=f"known: {', '.join(TRAINERS)}")
        for name in ("num_gpus", "num_nodes", "max_length", "max_slice_nums"):
            if name in found and found[name].value < 1:
                raise UsageError("must be 1 or more", where=_FLAGS[name])
        if "gpu_memory" in found:
            from lorachk.launchers.gpus import parse_bytes

            found["gpu_memory"] = Found(
                parse_bytes(found["gpu_memory"].value, "--gpu-memory"), Location("--gpu-memory")
            )
        return found

    def _project(self) -> Project | None:
        path = self.options.toml or (None if self.options.isolated else find_project())
        if not path:
            return None
        from lorachk.launchers.project_file import read_project

        return read_project(path)

    def _requirements(self, project: Project | None) -> dict[str, str]:
        named = project.run.get("requirements") if project else None
        path = self.options.requirements or (str(named.value) if named else None)
        if path is None:
            return {}
        from lorachk.launchers.requirements import read_requirements

        at = where(*named.at[:3]) if named and not self.options.requirements else "--requirements"
        read = read_requirements(path, at)
        self.settings += read.settings
        self.sources += read.sources
        return read.environment

    def _project_fields(self, project: Project) -> None:
        from lorachk.launchers import peft
        from lorachk.launchers.flags import argument_fields
        from lorachk.launchers.gpus import parse_bytes

        run = {name: found for name, found in project.run.items() if name not in ("peft", "requirements")}
        if "gpu_memory" in run:
            at = run["gpu_memory"].at
            run["gpu_memory"] = Found(parse_bytes(run["gpu_memory"].value, where(*at[:3])), at)
        if (model := run.get("model")) and exists(local := beside(project.path, str(model.value))):
            run["model"] = model._replace(value=local)
        if (tokenizer := run.get("tokenizer")) and exists(local := beside(project.path, str(tokenizer.value))):
            run["tokenizer"] = tokenizer._replace(value=local)
        self.layers.add(run)
        self.layers.add(peft.lora_fields(project.lora))
        if project.lora:
            self.layers.add({"use_lora": Found(True, next(iter(project.lora.values())).at)})
        self.lora = {name: found.value for name, found in project.lora.items()}
        self.arguments.update(project.args)
        self._add(argument_fields(project.args, self.layers.get("trainer"), str(Path(project.path).parent)))
        self.layers.add({k: v for k, v in project.quantization.items() if k in FIELDS})

    def _launch(self) -> LaunchFile | None:
        path = self.layers.get("launch")
        if not path:
            return None
        from lorachk.launchers.launch_file import read_launch

        return read_launch(path, self._named("launch"), self.layers.get("trainer"))

    def _add(self, found: dict[str, Found]) -> None:
        """Add a layer; a DeepSpeed configuration that stands in it, and in no file of its own, is kept for later."""
        given = found.get("deepspeed")
        if given is not None and isinstance(given.value, dict) and not self.layers.knows("deepspeed"):
            self.inline = given
            name = f"{where(*given.at[:3])} (inline)" if not given.why else given.why
            found = {**found, "deepspeed": given._replace(value=name)}
        self.layers.add(found)

    def _accelerate(self, launch: LaunchFile) -> dict[str, Found]:
        if launch.launch.launcher not in ("accelerate", "trl"):  # the latter starts the former
            return {}
        from lorachk.launchers.accelerate_config import read_accelerate

        config = read_accelerate(launch.launch, launch.folder, where(launch.path, launch.launch.line))
        self.settings += config.settings
        self.sources += [config.source] if config.source else []
        return config.fields

    def _named(self, name: str) -> str | None:
        at = self.layers.origins.get(name)
        return where(*at[:3]) if at else None

    def _deepspeed(self) -> dict[str, Any]:
        path = self.layers.get("deepspeed")
        if not path:
            return {}
        from lorachk.launchers import deepspeed

        if self.inline is not None:
            file = deepspeed.inline(self.inline, path, self.settings)
        else:
            file = deepspeed.read_json(path, "deepspeed", self._named("deepspeed"))
            self.sources.append(file.source)
        self.settings += file.settings
        self.layers.add(deepspeed.fields(file))
        return file.value

    def _peft(self, path: str | None) -> None:
        if not path:
            return
        from lorachk.launchers import peft

        file = peft.read_peft(path, "--peft" if self.options.peft else None)
        self.settings += file.settings
        self.sources.append(file.source)
        self.layers.add(peft.fields(file))
        self.lora = {**peft.arguments(file), **self.lora}

    def _model(self) -> str | None:
        """Read the model's config; gives the version MiniCPM-V writes into it."""
        model = self.layers.get("model")
        if not model:
            return None
        from lorachk.launchers import model_config

        path = model_config.find_config(model)
        self.layers.derive("model_found", path is not None)
        if path is None:
            return None
        file = model_config.read_model(path, self.layers.origins.get("model"))
        self.settings += file.settings
        self.sources.append(file.source)
        self.layers.add(model_config.fields(file))
        version = file.find("/version")
        return str(version.value) if version else None

    def _tokenizer(self) -> None:
        folder = self.layers.get("tokenizer")
        if folder and not is_folder(folder):
            hint = "name the folder that holds tokenizer.json"
            raise UsageError(f"no such folder: {folder}", where=self._named("tokenizer"), hint=hint)

    def _run(self, environment: dict[str, str], ds_config: dict[str, Any]) -> Run:
        values = self.layers.values
        if values.get("use_lora"):
            from lorachk.launchers import peft

            for name, argument in peft.LORA_FIELDS.items():
                if argument not in self.lora and values.get(name) is not None:
                    regex = name == "target_modules" and values.get("target_regex")
                    self.lora[argument] = values[name][0] if regex else _whole(values[name])
        arguments = {k: f.value for k, f in self.arguments.items() if not isinstance(f.value, Unknown)}
        return Run(
            **values,
            environment=environment,
            lora_config=self.lora,
            deepspeed_config=ds_config,
            training_args=arguments,
            argument_places={name: found.at for name, found in self.arguments.items()},
            origins=self.layers.origins,
            because=self.layers.because,
            unknown={name: unknown.reason for name, unknown in self.layers.unknown.items()},
        )


def _whole(value: Any) -> Any:
    """64.0 as 64, as LoraConfig declares alpha as a whole number; and "true" of init_lora_weights as the flag it is."""
    if value in ("true", "false"):
        return value == "true"
    return int(value) if isinstance(value, float) and value.is_integer() else value
