"""Official recipes, re-created: what they say is read as it is meant, and nothing that works is called wrong."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lorachk.engine import session
from lorachk.engine.rules import load_rules
from lorachk.engine.select import Selection
from lorachk.facts.collector import Options
from lorachk.launchers.resolve import ResolveOptions, resolve

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "fixtures/clean/recipes"
FILES = RECIPES / "deepspeed-files"
NAMES = sorted(folder.name for folder in RECIPES.iterdir() if folder != FILES)
EXPECTED = {name: json.loads((RECIPES / name / "expected.json").read_text()) for name in NAMES}
CASES = [(name, case) for name in NAMES for case in EXPECTED[name]["cases"]]


@pytest.fixture(autouse=True)
def read_the_pages_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages are the same for every recipe, and reading them takes longer than judging a recipe."""
    monkeypatch.setattr(session, "load_rules", lambda rules, _serves: loaded(tuple(rules)))


@cache
def loaded(rules: tuple[Path, ...]) -> Any:
    """All pages; a command judges those that serve it."""
    return load_rules(rules)


def report(command: str, select: tuple[str, ...] = (), **options: Any) -> Any:
    """The command's report, without trace and rehearsal."""
    found = session.run_command(
        command,
        resolve(ResolveOptions(**options)),
        options=Options(trace=False),
        selection=Selection(select=select, ignore={"V213": "where the checkout lies is no matter of a recipe"}),
        rules=[ROOT / "rules"],
        rehearse=False,
    )
    assert (found.broken, found.internal_errors) == ([], [])
    return found


def test_the_recipes_are_many() -> None:
    """A recipe that is lost would no longer be checked, and nobody would notice."""
    assert len(NAMES) >= 22
    assert len(list(FILES.glob("*.json"))) >= 24


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_read_as_it_is_meant(name: str) -> None:
    """A misread value makes every rule and estimate that uses it wrong."""
    run = resolve(ResolveOptions(toml=str(RECIPES / name / "lorachk.toml"))).run
    expected = EXPECTED[name]["run"]
    assert {field: getattr(run, field) for field in expected} == expected
    named = [
        *run.data,
        *run.eval_data,
        *([run.deepspeed] if run.at("deepspeed") else []),
    ]  # not what trainers bring along
    assert [path for path in named if path and not Path(path).exists()] == []


def named(case: tuple[str, dict[str, Any]]) -> str:
    """A recipe's name and with what it is judged."""
    name, given = case
    return "-".join(
        [name, "installed" if "environment" in given else "pinned", *(["model"] if "model" in given else [])]
    )


@pytest.mark.parametrize("case", [case for case in CASES if "model" not in case[1]], ids=named)
def test_a_recipe_gives_exactly_what_is_known_of_it(case: tuple[str, dict[str, Any]]) -> None:
    """A linter that cries at the recipe everybody uses is switched off."""
    name, given = case
    judged(name, given)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if "model" in case[1]], ids=named)
def test_a_recipe_with_its_model(case: tuple[str, dict[str, Any]]) -> None:
    """With the model there, what is frozen, targeted and saved is judged as well."""
    for library in ("torch", "transformers", "peft"):
        pytest.importorskip(library)
    name, given = case
    passed = judged(name, given | {"model": str(ROOT / "fixtures/models" / given["model"])})
    assert passed & {"P101", "P201", "G106"}


def judged(name: str, given: dict[str, Any]) -> set[str]:
    """Compare the findings with those of the case; the rules that passed."""
    options = {key: value for key, value in given.items() if key != "findings"}
    found = report("check", toml=str(RECIPES / name / "lorachk.toml"), **options)
    assert [[f.rule, Path(f.places[0].path or "").name] for f in found.findings] == given["findings"]
    passed = set(found.passed)
    assert {"Z104", "Z108", "P113"} <= passed
    if list((RECIPES / name).rglob("*.png")):  # it brings data in its project's dialect
        assert found.facts["record"] > 0
        assert {"D101", "D103", "D104", "D108"} <= passed
    return passed


@pytest.mark.parametrize("name", ["minicpmo-2_6-lora", "llava-1_5-task-lora", "2u1-qwen-vl-lora", "vlm-r1-rec-lora"])
def test_a_recipes_data_alone(name: str) -> None:
    """`data` must find the records and images where the script does, and no fault in them."""
    found = report("data", toml=str(RECIPES / name / "lorachk.toml"))
    assert found.findings == []
    assert found.facts["image"] > 0
    assert {"D104", "I101", "I102"} <= set(found.passed)


@pytest.mark.parametrize("deepspeed", ["0.19.8", pytest.param("0.14.5", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "path", sorted(p for p in FILES.glob("*.json") if p.name != "expected.json"), ids=lambda p: p.stem
)
def test_a_deepspeed_file_alone(path: Path, deepspeed: str) -> None:
    """`lorachk model --config ds.json` is the first thing people try, on files that ship with the frameworks."""
    found = report(
        "model",
        ("Z", "N", "Q", "L"),
        isolated=True,
        deepspeed=str(path),
        num_gpus=8,
        environment={"deepspeed": deepspeed},
    )
    expected = json.loads((FILES / "expected.json").read_text())["findings"].get(path.stem, [])
    if isinstance(expected, dict):
        expected = expected[deepspeed]
    assert [[f.rule, f.severity.name] for f in found.findings] == expected
