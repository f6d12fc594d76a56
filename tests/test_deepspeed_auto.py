"""What the real transformers and accelerate make of a DeepSpeed file is what lorachk says they make of it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.deepspeed.auto import resolve
from lorachk.deepspeed.trainer import Sizes
from lorachk.deepspeed.tree import Tree, leaves
from lorachk.launchers.values import Unknown

transformers = pytest.importorskip("transformers")
pytest.importorskip("deepspeed")
WORLD = 3
FILES = Path(__file__).parent.parent / "fixtures/clean/recipes/deepspeed-files"


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu() -> Iterator[None]:
    """DeepSpeed's accelerator is chosen once per process; what was set is put back."""
    kept = {name: os.environ.get(name) for name in ("DS_ACCELERATOR", "ACCELERATE_USE_DEEPSPEED")}
    os.environ["DS_ACCELERATOR"] = "cpu"
    yield
    for name, value in kept.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def training_arguments(given: dict[str, Any]) -> Any:
    """What HfTrainerDeepSpeedConfig asks of TrainingArguments: the real methods on the given values."""

    class Arguments(SimpleNamespace):
        get_warmup_steps = transformers.TrainingArguments.get_warmup_steps

    return Arguments(world_size=WORLD, **given)


def model(sizes: Sizes) -> Any:
    """A model whose config has these attributes and no others."""
    config = SimpleNamespace()
    if sizes.own is not None:
        config.hidden_size = sizes.own
    if sizes.text is not None:
        config.text_config = SimpleNamespace(hidden_size=sizes.text)
    return SimpleNamespace(config=config)


def by_the_libraries(
    file: dict[str, Any], given: dict[str, Any], sizes: Sizes, fields: dict[str, Any] | None
) -> tuple[dict[str, Any], list[str], list[str]]:
    """The configuration, the lines of mismatches, and the errors, in the order of Trainer and accelerate."""
    from accelerate.utils import DeepSpeedPlugin
    from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

    errors: list[str] = []
    arguments = training_arguments(given)
    mixed = "fp16" if given["fp16"] else "bf16" if given["bf16"] else "no"
    steps = given["max_steps"]

    @contextlib.contextmanager
    def noted() -> Iterator[None]:
        try:
            yield
        except (ValueError, AttributeError) as error:
            errors.append(f"{type(error).__name__}: {error}")

    environment = environment_of(fields or {})
    kept = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    config: Any = None
    try:
        with noted():
            if fields is None:
                config = HfTrainerDeepSpeedConfig(file)
                config.trainer_config_process(arguments)
                plugin = DeepSpeedPlugin(hf_ds_config=config)
                plugin.set_mixed_precision(mixed)
            else:
                plugin = DeepSpeedPlugin(hf_ds_config=file)
                plugin.set_mixed_precision(mixed)
                config = HfTrainerDeepSpeedConfig(plugin.hf_ds_config.config)
                plugin.hf_ds_config, plugin.deepspeed_config = config, config.config
                config.trainer_config_process(arguments)
            with noted():
                config.trainer_config_finalize(arguments, model(sizes), steps)
            if "optimizer" not in config.config:
                config.config["zero_allow_untested_optimizer"] = True
            prepare(plugin, model(sizes), given["gradient_accumulation_steps"])
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    lines = [line for error in errors for line in error.splitlines() if line.startswith("- ds ")]
    return (config.config if config else {}), lines, [e for e in errors if "- ds " not in e]


class Reached(Exception):
    """deepspeed.initialize was called."""


def prepare(plugin: Any, built: Any, steps: int) -> None:
    """Run the real `_prepare_deepspeed` up to where it starts DeepSpeed."""
    import deepspeed
    import torch
    from accelerate import Accelerator
    from accelerate.utils import DummyOptim, DummyScheduler

    network = torch.nn.Linear(1, 1)
    network.config = built.config
    optimizer: Any = torch.optim.SGD(network.parameters())
    given = [network, optimizer]
    if "optimizer" in plugin.deepspeed_config:
        given[1] = optimizer = DummyOptim(network.parameters())
    if "scheduler" in plugin.deepspeed_config:
        given.append(DummyScheduler(optimizer))
    elif isinstance(optimizer, DummyOptim):
        given.append(DummyScheduler(optimizer, lr_scheduler_callable=lambda _: None))
    me = SimpleNamespace(
        fp8_backend=None,
        deepspeed_plugin=plugin,
        parallelism_config=None,
        split_batches=False,
        num_processes=WORLD,
        gradient_accumulation_steps=steps,
        device=torch.device("cpu"),
        state=SimpleNamespace(),
    )

    def reached(**_: Any) -> None:
        raise Reached

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deepspeed, "initialize", reached)
        patch.setattr("accelerate.accelerator.logger", logging.getLogger())
        patch.setattr("accelerate.accelerator.map_pytorch_optim_to_deepspeed", lambda given: given)
        with contextlib.suppress(Reached):
            Accelerator._prepare_deepspeed(me, *given)


def environment_of(fields: dict[str, Any]) -> dict[str, str]:
    """What `accelerate launch` sets for these settings of its YAML."""
    names = {
        "gradient_accumulation_steps": "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
        "gradient_clipping": "ACCELERATE_GRADIENT_CLIPPING",
        "zero_stage": "ACCELERATE_DEEPSPEED_ZERO_STAGE",
    }
    return {names[name]: str(value).lower() for name, value in fields.items()}


def auto_or(*values: Any) -> st.SearchStrategy[Any]:
    """Mostly auto."""
    return st.sampled_from(["auto", "auto", *values])


def block(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some of these keys."""
    return st.fixed_dictionaries({}, optional=keys)


FILE = st.fixed_dictionaries(
    {
        "zero_optimization": block(
            stage=st.sampled_from([0, 2, 3, 3, "auto", "3"]),
            reduce_bucket_size=auto_or(5e8, 1000),
            stage3_prefetch_bucket_size=auto_or(10),
            stage3_param_persistence_threshold=auto_or(10),
            sub_group_size=auto_or(10),
            offload_param=block(device=auto_or("cpu"), pin_memory=st.booleans(), nvme_path=auto_or("/x")),
            stage3_gather_16bit_weights_on_model_save=auto_or(True),
        )
    },
    optional={
        "train_batch_size": auto_or(6, 12, "6"),
        "train_micro_batch_size_per_gpu": auto_or(1, 2),
        "gradient_accumulation_steps": auto_or(1, 2),
        "gradient_clipping": auto_or(1, 1.0, 0.5),
        "optimizer": block(
            type=st.just("AdamW"),
            params=block(
                lr=auto_or(1e-4), betas=auto_or([0.9, 0.999], [0.9, 0.95]), eps=auto_or(1e-8), fused=auto_or(1)
            ),
        )
        | st.none(),
        "scheduler": block(
            type=st.just("WarmupLR"),
            params=block(
                warmup_min_lr=auto_or(0),
                warmup_max_lr=auto_or(1e-4),
                warmup_num_steps=auto_or(0, 10),
                total_num_steps=auto_or(100),
            ),
        ),
        "fp16": block(enabled=auto_or(True, False, "true"), loss_scale=auto_or(0)),
        "bf16": block(enabled=auto_or(True, False)),
        "checkpoint": block(tag_validation=st.just("WARN")),
        "remark": st.just("x"),
    },
)
ARGUMENTS = st.fixed_dictionaries(
    {
        "per_device_train_batch_size": st.sampled_from([1, 2]),
        "gradient_accumulation_steps": st.sampled_from([1, 2]),
        "max_grad_norm": st.sampled_from([1.0, 0.5]),
        "learning_rate": st.sampled_from([1e-4, 5e-5]),
        "adam_beta1": st.just(0.9),
        "adam_beta2": st.sampled_from([0.999, 0.95]),
        "adam_epsilon": st.just(1e-8),
        "weight_decay": st.just(0.0),
        "warmup_steps": st.sampled_from([0, 0.03, 5.0, 10]),
        "max_steps": st.sampled_from([100, 7]),
        "save_on_each_node": st.booleans(),
        "fp16_full_eval": st.booleans(),
        "bf16_full_eval": st.just(False),
    }
)
SIZES = st.sampled_from([Sizes(64, None), Sizes(None, 61), Sizes(None, None), Sizes(64, 61)])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    file=FILE,
    arguments=ARGUMENTS,
    precision=st.sampled_from(["fp16", "bf16", "no"]),
    sizes=SIZES,
    fields=st.none() | block(gradient_accumulation_steps=st.sampled_from([1, 2]), zero_stage=st.sampled_from([2, 3])),
)
def test_every_value_and_every_line_is_what_the_libraries_say(
    file: dict[str, Any], arguments: dict[str, Any], precision: str, sizes: Sizes, fields: dict[str, Any] | None
) -> None:
    """A wrong value, or a disagreement that is missed or made up, sends the user after an error that is not there."""
    arguments = {**arguments, "fp16": precision == "fp16", "bf16": precision == "bf16"}
    config, lines, errors = by_the_libraries(file, arguments, sizes, fields)
    known = arguments | {
        "world_size": WORLD,
        "num_training_steps": arguments["max_steps"],
        "mixed_precision": precision,
        "auto_find_batch_size": False,
        "warmup_ratio": None,
    }
    tree = resolve(
        file,
        known,
        sizes,
        transformers=transformers.__version__,
        fields=fields,
        to_accelerate=fields is not None,
    )
    said = [r.message for r in tree.refusals]
    assert set(errors) <= set(said)
    assert bool(errors) == bool(said)
    if not any("mixed_precision" in e or "sizes` entry" in e for e in errors):  # these end it, and lorachk goes on
        assert sorted(v.mismatch for v in tree.values.values() if v.mismatch) == sorted(lines)
    if not errors:
        assert tree.config == config
        left = dict(leaves(config))
        assert {path: v.value for path, v in tree.values.items() if path in left} == left


@pytest.mark.parametrize(
    "path", [p for p in sorted(FILES.glob("*.json")) if p.name != "expected.json"], ids=lambda p: p.stem
)
def test_real_files_are_filled_as_the_libraries_fill_them(path: Path) -> None:
    """These are the files people start from; a wrong value in one of them is seen by everybody."""
    file = json.loads(path.read_text())
    arguments = {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "max_grad_norm": 1.0,
        "learning_rate": 2e-5,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "weight_decay": 0.1,
        "warmup_steps": 0.03,
        "max_steps": 500,
        "save_on_each_node": False,
        "fp16_full_eval": False,
        "bf16_full_eval": False,
        "fp16": False,
        "bf16": True,
    }
    config, lines, errors = by_the_libraries(file, arguments, Sizes(64, None), None)
    more = {"world_size": WORLD, "num_training_steps": 500, "mixed_precision": "bf16", "warmup_ratio": None}
    tree = resolve(file, arguments | more, Sizes(64, None), transformers=transformers.__version__)
    assert tree.config == config
    assert sorted(v.mismatch for v in tree.values.values() if v.mismatch) == sorted(lines)
    assert [r.message for r in tree.refusals] == errors


def test_what_is_not_known_is_not_guessed() -> None:
    """A made-up value would be compared with the file's and reported as a disagreement."""
    file = {
        "train_batch_size": 12,
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_clipping": 0.5,
        "scheduler": {"params": {"total_num_steps": "auto", "warmup_num_steps": "auto"}},
        "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto"},
    }
    untold = Unknown("no config.json")
    tree = resolve(file, {"per_device_train_batch_size": 2}, Sizes(untold, untold), transformers="5.24.0")
    values = {".".join(path): v for path, v in tree.values.items()}
    assert values["train_micro_batch_size_per_gpu"].value == 2
    unknown = {key for key, v in values.items() if isinstance(v.value, Unknown)}
    assert {"scheduler.params.total_num_steps", "zero_optimization.reduce_bucket_size"} <= unknown
    assert [v.mismatch for v in values.values() if v.mismatch or v.agrees is not None] == []
    assert tree.refusals == []


@pytest.mark.parametrize(
    ("version", "prefetch", "warmup", "refused"),
    [
        ("4.44.2", 3686.4, 0, 1),
        ("4.45.2", 3686, 0, 1),
        ("4.46.3", 3686, 0, 0),
        ("5.17.0", 3686, 0, 0),
        ("5.18.0", 3686, 1, 0),
    ],
)
def test_what_moved_between_versions(version: str, prefetch: float, warmup: int, refused: int) -> None:
    """The same file works with one transformers and stops with another."""
    file = {
        "scheduler": {"params": {"warmup_num_steps": "auto"}},
        "zero_optimization": {"stage": 3, "stage3_prefetch_bucket_size": "auto"},
    }
    arguments = {"warmup_steps": 0, "warmup_ratio": 0.0, "num_training_steps": 10}
    tree = resolve(file, arguments, Sizes(64, None), transformers=version)
    values = {".".join(path): v.value for path, v in tree.values.items()}
    assert values["zero_optimization.stage3_prefetch_bucket_size"] == prefetch
    assert values["scheduler.params.warmup_num_steps"] == warmup
    nested = resolve(file, arguments, Sizes(None, 64), transformers=version)
    assert len([r for r in nested.refusals if r.by == "transformers"]) == refused


@pytest.mark.parametrize("value", [True, "x", [1]])
def test_a_value_where_a_block_should_be(value: Any) -> None:
    """The oldest form, `zero_optimization: true`, ends in an AttributeError of transformers, not in stage 1."""
    config, _, errors = by_the_libraries(
        {"zero_optimization": value, "optimizer": value}, dict.fromkeys(NAMES, 1), Sizes(64, None), None
    )
    tree: Tree = resolve({"zero_optimization": value}, {}, Sizes(64, None), transformers="5.24.0")
    assert config == {}
    assert [r.message for r in tree.refusals] == errors


NAMES = (
    *("per_device_train_batch_size", "gradient_accumulation_steps", "max_grad_norm", "learning_rate", "adam_beta1"),
    *("adam_beta2", "adam_epsilon", "weight_decay", "warmup_steps", "max_steps", "save_on_each_node"),
    *("fp16_full_eval", "bf16_full_eval", "fp16", "bf16"),
)
