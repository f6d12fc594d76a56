"""Rules about schedules and strategies, against what transformers and PEFT really do with the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorachk.engine import session
from lorachk.engine.select import Selection
from lorachk.facts.collector import Options
from lorachk.launchers.resolve import ResolveOptions, resolve

ROOT = Path(__file__).parent.parent


def found(folder: Path, arguments: dict[str, Any], *codes: str, **versions: str) -> set[str]:
    """Codes that are found for a run with these arguments."""
    lines = [f"{name} = {_toml(value)}" for name, value in arguments.items()]
    environment = [f'{name} = "{version}"' for name, version in versions.items()]
    toml = folder / "lorachk.toml"
    toml.write_text("\n".join(['[run]\ntrainer = "hf"\n[run.args]', *lines, "[environment]", *environment]))
    report = session.run_command(
        "model",
        resolve(ResolveOptions(toml=str(toml))),
        options=Options(trace=False),
        selection=Selection(select=codes),
        rules=[ROOT / "rules"],
        rehearse=False,
    )
    assert (report.broken, report.internal_errors) == ([], [])
    return {finding.rule for finding in report.findings}


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else repr(value)


def refused(arguments: dict[str, Any], folder: Path) -> str | None:
    """What TrainingArguments says against these arguments; None when it takes them."""
    transformers = pytest.importorskip("transformers")
    try:
        transformers.TrainingArguments(output_dir=str(folder / "out"), use_cpu=True, **arguments)
    except ValueError as error:
        return str(error)
    return None


STRATEGIES = [
    ("steps", "steps"),
    ("epoch", "steps"),
    ("no", "no"),
    ("epoch", "epoch"),
    ("steps", "best"),
    ("no", "best"),
]
STEPS = [
    (None, 500),
    (100, 500),
    (300, 500),
    (500, 250),
    (0.1, 0.2),
    (0.1, 0.25),
    (0.1, 500),
    (100, 0.5),
    (0.03, 0.3),
]


@pytest.mark.slow
@pytest.mark.parametrize(("evaluated", "saved"), STRATEGIES)
def test_the_best_model_is_refused_where_the_library_refuses_it(tmp_path: Path, evaluated: str, saved: str) -> None:
    """A false alarm on a good pair, or silence on a bad one, is what L108 must not give."""
    for eval_steps, save_steps in STEPS:
        arguments: dict[str, Any] = {
            "load_best_model_at_end": True,
            "eval_strategy": evaluated,
            "save_strategy": saved,
            "save_steps": save_steps,
        }
        arguments |= {"eval_steps": eval_steps} if eval_steps else {}
        said = refused(arguments, tmp_path)
        assert (found(tmp_path, arguments, "L108") == {"L108"}) == (said is not None), (arguments, said)


@pytest.mark.parametrize(
    "arguments",
    [
        {"save_steps": 10.5},
        {"save_steps": 10.5, "save_strategy": "epoch"},
        {"eval_steps": 10.5},
        {"eval_steps": 10.5, "eval_strategy": "steps"},
        {"logging_steps": 0},
        {"logging_steps": 0, "logging_strategy": "no"},
        {"logging_steps": 2.5},
        {"lr_scheduler_type": "reduce_lr_on_plateau"},
        {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"},
        {"dataloader_prefetch_factor": 2},
        {"dataloader_prefetch_factor": 2, "dataloader_num_workers": 1},
        {"warmup_steps": -1},
        {"warmup_steps": 0.1},
    ],
    ids=str,
)
def test_what_training_arguments_refuse(tmp_path: Path, arguments: dict[str, Any]) -> None:
    """L222 must say what the library would, and nothing else."""
    pytest.importorskip("transformers", minversion="5.0")
    said = refused(arguments, tmp_path)
    assert (found(tmp_path, arguments, "L222") == {"L222"}) == (said is not None), said


@pytest.mark.parametrize(("schedule", "first"), [("constant", 1.0), ("constant_with_warmup", 0.0), ("linear", 0.0)])
def test_which_schedules_warm_up(tmp_path: Path, schedule: str, first: float) -> None:
    """L227 says of a schedule that it has no warm-up; the library must agree."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made = transformers.get_scheduler(schedule, optimizer, num_warmup_steps=10, num_training_steps=100)
    assert made.get_last_lr() == [first]
    codes = found(tmp_path, {"lr_scheduler_type": schedule, "warmup_steps": 10}, "L227")
    assert codes == ({"L227"} if first else set())


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_warm_up_longer_than_the_run_never_gets_there(tmp_path: Path, schedule: str) -> None:
    """What L243 says of 100 steps of warm-up in a run of 50."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made = transformers.get_scheduler(schedule, optimizer, num_warmup_steps=100, num_training_steps=50)
    rates = []
    for _ in range(50):
        rates += made.get_last_lr()
        optimizer.step()
        made.step()
    assert max(rates) == pytest.approx(0.49)
    arguments = {"lr_scheduler_type": schedule, "warmup_steps": 100, "max_steps": 50}
    assert found(tmp_path, arguments, "L243") == {"L243"}
    assert found(tmp_path, arguments | {"max_steps": 101}, "L243") == set()


def test_steps_are_counted_as_the_trainer_counts_them(tmp_path: Path) -> None:
    """L244's number of steps is the Trainer's own, with its rounding."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    import math

    for records, batch, accumulated, epochs in [(10, 2, 2, 3.0), (7, 2, 3, 2.0), (3, 1, 8, 2.0), (100, 3, 4, 1.5)]:
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path),
            use_cpu=True,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulated,
            num_train_epochs=epochs,
            report_to="none",
        )
        trainer = transformers.Trainer(model=torch.nn.Linear(1, 1), args=arguments, train_dataset=[{}] * records)
        loader = trainer.get_train_dataloader()
        steps = trainer.set_initial_training_values(arguments, loader)
        ours = math.ceil(max(math.ceil(math.ceil(records / batch) / accumulated), 1) * epochs)
        assert ours in steps, (ours, steps)


def test_peft_refuses_layers_beside_a_regex() -> None:
    """L225 promises an error."""
    peft = pytest.importorskip("peft")
    with pytest.raises(ValueError, match="cannot be used when `target_modules` is a str"):
        peft.LoraConfig(target_modules=r"llm\..*q_proj", layers_to_transform=[0])
    peft.LoraConfig(target_modules=["q_proj"], layers_to_transform=[0])


@pytest.mark.parametrize(("rslora", "scale"), [(False, 2.0), (True, 4.0)])
def test_what_the_adapter_is_scaled_by(rslora: bool, scale: float) -> None:
    """L241's factor is PEFT's."""
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, lora_alpha=8, use_rslora=rslora, target_modules=["0"])
    layer = peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(4, 4)), config).base_model.model[0]
    assert layer.scaling["default"] == scale
