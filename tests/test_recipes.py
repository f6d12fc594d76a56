"""Official recipes, re-created: what they say is read as it is meant, and nothing that works is called wrong."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.engine.finding import Severity
from lorachk.engine.select import Selection
from lorachk.engine.session import run_command
from lorachk.facts.collector import Options
from lorachk.launchers.resolve import ResolveOptions, resolve

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "fixtures/clean/recipes"
FILES = RECIPES / "deepspeed-files"
NAMES = sorted(folder.name for folder in RECIPES.iterdir() if folder != FILES)
EXPECTED = {name: json.loads((RECIPES / name / "expected.json").read_text()) for name in NAMES}
CASES = [(name, case) for name in NAMES for case in EXPECTED[name]["cases"]]


def report(command: str, **options: Any) -> Any:
    """The command's report, without trace and rehearsal."""
    found = run_command(
        command,
        resolve(ResolveOptions(**options)),
        options=Options(trace=False),
        selection=Selection(),
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
    assert [path for path in [*run.data, *run.eval_data, run.deepspeed or "."] if not Path(path).exists()] == []


def named(case: tuple[str, dict[str, Any]]) -> str:
    """A recipe's name and with what it is judged."""
    name, given = case
    return "-".join(
        [name, "installed" if "environment" in given else "pinned", *(["model"] if "model" in given else [])]
    )


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_recipe_gives_exactly_what_is_known_of_it(case: tuple[str, dict[str, Any]]) -> None:
    """A linter that cries at the recipe everybody uses is switched off."""
    name, given = case
    if "model" in given:
        for library in ("torch", "transformers", "peft"):
            if importlib.util.find_spec(library) is None:
                pytest.skip(f"{library} is not installed")
        given = given | {"model": str(ROOT / "fixtures/models" / given["model"])}
    options = {key: value for key, value in given.items() if key != "findings"}
    found = report("check", toml=str(RECIPES / name / "lorachk.toml"), **options)
    assert [[f.rule, Path(f.places[0].path or "").name] for f in found.findings] == given["findings"]
    assert {"Z104", "Z108", "P113"} <= set(found.passed)


@pytest.mark.parametrize("name", [name for name in NAMES if list((RECIPES / name).rglob("*.png"))])
def test_a_recipes_data_is_in_order(name: str) -> None:
    """The records are in the dialect the project documents; `data` alone must find its images and no fault."""
    found = report("data", toml=str(RECIPES / name / "lorachk.toml"))
    assert found.findings == []
    assert found.facts["record"] > 0
    assert "D104" in found.passed


@pytest.mark.parametrize("deepspeed", ["0.14.5", "0.19.8"])
@pytest.mark.parametrize(
    "path", sorted(p for p in FILES.glob("*.json") if p.name != "expected.json"), ids=lambda p: p.stem
)
def test_a_deepspeed_file_alone(path: Path, deepspeed: str) -> None:
    """`lorachk model --config ds.json` is the first thing people try, on files that ship with the frameworks."""
    found = report("model", isolated=True, deepspeed=str(path), num_gpus=8, environment={"deepspeed": deepspeed})
    expected = json.loads((FILES / "expected.json").read_text())["findings"].get(path.stem, [])
    assert [[f.rule, f.severity.name] for f in found.findings if f.severity > Severity.info] == expected
