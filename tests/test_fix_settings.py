"""Fixes of configuration files: the value that is wrong changes, and nothing else of a file somebody wrote."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from lorachk.cli import main
from lorachk.fixes.settings import CannotEdit, Edit, applied, editor, told
from lorachk.launchers.positions import escape, parts

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAMES = st.text('abcdé/~ "\\', min_size=1, max_size=4)
SCALARS = st.booleans() | st.integers(-(10**6), 10**6) | st.text("xyz \"':#{}[],-\\é", max_size=6)
OBJECTS = st.recursive(
    st.dictionaries(NAMES, SCALARS, max_size=4),
    lambda inner: st.dictionaries(NAMES, inner | SCALARS | st.lists(SCALARS, max_size=3), max_size=4),
    max_leaves=12,
)


def pointers(value: Any, here: str = "") -> list[str]:
    """All pointers to members of objects."""
    if not isinstance(value, dict):
        return []
    return [p for k, v in value.items() for p in (f"{here}/{escape(k)}", *pointers(v, f"{here}/{escape(k)}"))]


@st.composite
def edits(draw: st.DrawFn, path: str) -> tuple[Any, Edit]:
    """A configuration and an edit that fits it."""
    value = draw(OBJECTS)
    here = pointers(value)
    assume(here)
    pointer = draw(st.sampled_from(here))
    operation = draw(st.sampled_from(["replace", "remove", "rename", "add", "move"]))
    new = draw(NAMES)
    if operation == "add":
        blocks = ["", *(p for p in here if isinstance(found(value, p), dict))]
        pointer = f"{draw(st.sampled_from(blocks))}/{escape(new)}"
        assume(pointer not in here)
        return value, Edit("add", path, pointer, draw(SCALARS))
    if operation == "rename":
        assume(f"{pointer.rpartition('/')[0]}/{escape(new)}" not in here)
        return value, Edit("rename", path, pointer, key=new)
    if operation == "move":
        assume(f"/{escape(new)}" not in here)
        return value, Edit("move", path, pointer, key=f"/{escape(new)}")
    return value, Edit(operation, path, pointer, draw(SCALARS) if operation == "replace" else None)  # type: ignore[arg-type]


def found(value: Any, pointer: str) -> Any:
    for key in parts(pointer):
        value = value[key]
    return value


@given(edits("x.json"), st.sampled_from([None, 2, "\t"]), st.booleans())
def test_json_after_an_edit_holds_what_the_edit_says(case: tuple[Any, Edit], indent: Any, ascii_: bool) -> None:
    """A fix that breaks the file, or another value in it, is worse than what it mends."""
    value, edit = case
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_)
    change = editor(edit.path)
    assert change
    assert applied(value, edit) != value or edit.value == found(value, edit.pointer)
    assert json.loads(change(text, edit)) == applied(value, edit)


@given(edits("x.yaml"), st.booleans())
def test_yaml_after_an_edit_holds_what_the_edit_says_or_is_not_written(case: tuple[Any, Edit], flow: bool) -> None:
    """A fix that breaks the file, or another value in it, is worse than what it mends."""
    value, edit = case
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True, sort_keys=False)
    change = editor(edit.path)
    assert change
    try:
        after = change(text, edit)
    except CannotEdit:
        return
    assert yaml.safe_load(after) == applied(value, edit)


@given(edits("x.toml"))
def test_toml_after_an_edit_holds_what_the_edit_says_or_is_not_written(case: tuple[Any, Edit]) -> None:
    """A fix that breaks the file, or another value in it, is worse than what it mends."""
    import tomlkit

    value, edit = case
    change = editor(edit.path)
    assert change
    try:
        after = change(tomlkit.dumps(value), edit)
    except CannotEdit:
        return
    assert tomllib.loads(after) == applied(value, edit)


TOML = """\
# ours
[run]
launch = "x.sh"   # what starts it
num_gpus = 3

[run.args]
fp16 = true # why
lr = 1e-4
"""


MOVED = ("fp16 = true # why\nlr = 1e-4\n", "lr = 1e-4\nhalf = true # why\n")


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (Edit("replace", "lorachk.toml", "/run/args/fp16", False), "fp16 = true # why", "fp16 = false # why"),
        (Edit("replace", "lorachk.toml", "/run/num_gpus", 8), "num_gpus = 3", "num_gpus = 8"),
        (Edit("rename", "lorachk.toml", "/run/args/lr", key="learning_rate"), "lr = 1e-4", "learning_rate = 1e-4"),
        (Edit("rename", "lorachk.toml", "/run/args/fp16", key="bf16"), "fp16 = true # why", "bf16 = true # why"),
        (Edit("move", "lorachk.toml", "/run/args/fp16", key="/run/args/half"), *MOVED),
        (Edit("remove", "lorachk.toml", "/run/args/fp16"), "fp16 = true # why\n", ""),
        (Edit("add", "lorachk.toml", "/run/args/bf16", True), "lr = 1e-4\n", "lr = 1e-4\nbf16 = true\n"),
    ],
)
def test_toml_keeps_comments_and_order(edit: Edit, before: str, after: str) -> None:
    """The reasons that people write beside their settings must still stand there."""
    change = editor(edit.path)
    assert change
    assert change(TOML, edit) == TOML.replace(before, after)


YAML = """\
# what is trained
model: x   # the base

lora:
    r: 8  # rank
    targets:
    -   q_proj
    - v_proj   # and this
bf16: 'no'
lr: 1e-4
"""


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (Edit("replace", "x.yaml", "/bf16", True), "bf16: 'no'\n", "bf16: true\n"),
        (Edit("replace", "x.yaml", "/lora/r", "no"), "    r: 8  # rank\n", '    r: "no" # rank\n'),
        (Edit("replace", "x.yaml", "/lora/r", 16), "    r: 8  # rank\n", "    r: 16 # rank\n"),
        (Edit("rename", "x.yaml", "/lr", key="learning_rate"), "lr: 1e-4\n", "learning_rate: 1e-4\n"),
        (Edit("remove", "x.yaml", "/lr"), "lr: 1e-4\n", ""),
        (Edit("add", "x.yaml", "/lora/alpha", 16), "bf16: 'no'\n", "    alpha: 16\nbf16: 'no'\n"),
        (Edit("add", "x.yaml", "/fp16", False), "lr: 1e-4\n", "lr: 1e-4\nfp16: false\n"),
    ],
)
def test_yaml_keeps_comments_quotes_and_indentation(edit: Edit, before: str, after: str) -> None:
    """People set their files as they like; a diff of more than the fix is not accepted by anyone."""
    change = editor(edit.path)
    assert change
    assert change(YAML, edit) == YAML.replace(before, after)


def test_json_keeps_the_way_it_is_set() -> None:
    """Short objects on one line beside long ones are how DeepSpeed files are written."""
    text = '{\n    "fp16": {"enabled": true},\n    "zero_optimization": {\n        "stage": 2\n    }\n}\n'
    change = editor("x.json")
    assert change
    edit = Edit("add", "x.json", "/zero_optimization/overlap_comm", True)
    expected = text.replace('"stage": 2\n', '"stage": 2,\n        "overlap_comm": true\n')
    assert change(text, edit) == expected
    assert change(text, Edit("replace", "x.json", "/fp16/enabled", "auto")) == text.replace("true", '"auto"')


def test_what_a_script_needs_is_told_as_its_flag() -> None:
    """A script may compute its flags; it is told what to write, and never written."""
    assert editor("train.sh") is None
    assert told(Edit("replace", "train.sh", "/fp16", False, line=3)) == "train.sh:3: set --fp16 false"
    assert told(Edit("rename", "t.sh", "/evaluation_strategy", key="eval_strategy", line=3)) == (
        "t.sh:3: write --eval_strategy for --evaluation_strategy"
    )


PAGE = """\
---
code: X101
name: stage-three
severity: error
fix: {safe}
---
# Stage 3

It is not wanted here.

## Fix
Use stage 2.

## Check
```sql
SELECT 'stage 3' AS message, place AS at, replacing(place, {value}) AS fix
FROM setting WHERE name = 'stage' AND value = '3'
```

## Bad: three
```json ds.json
{{"zero_optimization": {{"stage": 3}}}}
```

## Good: two
```json ds.json
{{"zero_optimization": {{"stage": 2}}}}
```
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a rule that has a fix, and a file it finds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "ds.json").write_text('{\n  "zero_optimization": {"stage": 3}\n}\n')
    return tmp_path


def page(house: Path, safe: str = "safe", value: str = "2") -> None:
    (house / "rules/X101-stage-three.md").write_text(PAGE.format(safe=safe, value=value))


ARGUMENTS = ["model", "--config", "ds.json", "--rules", "rules", "--select", "X101", "--isolated"]


def test_diff_shows_and_fix_writes(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--diff must change nothing, and --fix exactly what --diff showed."""
    page(house)
    before = (house / "ds.json").read_text()
    assert main([*ARGUMENTS, "--diff"]) == 1
    shown = capsys.readouterr().out
    assert '-  "zero_optimization": {"stage": 3}' in shown
    assert '+  "zero_optimization": {"stage": 2}' in shown
    assert (house / "ds.json").read_text() == before
    assert main([*ARGUMENTS, "--fix"]) == 0
    assert (house / "ds.json").read_text() == before.replace("3", "2")
    assert "mended ds.json" in capsys.readouterr().out
    assert [p.name for p in house.iterdir() if p.name.startswith(".")] == []


def test_an_unsafe_fix_is_made_only_when_asked_for(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What changes the training must not happen by the way."""
    page(house, safe="unsafe")
    assert main([*ARGUMENTS, "--fix"]) == 1
    assert '"stage": 3' in (house / "ds.json").read_text()
    assert "--unsafe-fixes would also mend X101" in capsys.readouterr().err
    assert main([*ARGUMENTS, "--fix", "--unsafe-fixes"]) == 0
    assert '"stage": 2' in (house / "ds.json").read_text()


def test_a_fix_that_mends_nothing_ends(house: Path) -> None:
    """Two fixes that undo each other must not go on for ever."""
    page(house, value="3")
    assert main([*ARGUMENTS, "--fix"]) == 1


def test_a_page_whose_fix_does_not_mend_its_bad_example_fails_its_test(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fix is a promise as a check is: its author learns at once when it does not hold."""
    page(house, value="3")
    assert main(["rules", "test", "rules"]) == 1
    assert "the fix leaves: stage 3" in capsys.readouterr().out
    page(house)
    assert main(["rules", "test", "rules"]) == 0


def test_a_query_with_a_fix_says_whether_it_is_safe(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the word nobody knows whether --fix may make it."""
    page(house)
    path = house / "rules/X101-stage-three.md"
    path.write_text(path.read_text().replace("fix: safe\n", ""))
    assert main([*ARGUMENTS]) == 2
    assert "'fix: safe' or 'fix: unsafe'" in capsys.readouterr().err


def test_the_json_report_has_the_patch(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Editors and bots make the change from the report; it is RFC 6902."""
    page(house)
    assert main([*ARGUMENTS, "--format", "json"]) == 1
    finding = json.loads(capsys.readouterr().out)["findings"][0]
    assert finding["patch"] == {
        "safe": True,
        "files": [
            {"path": "ds.json", "operations": [{"op": "replace", "path": "/zero_optimization/stage", "value": 2}]}
        ],
    }


def test_a_yaml_launch_file_is_mended_where_it_is(house: Path) -> None:
    """A DeepSpeed configuration that stands inside a YAML file is mended there."""
    page(house)
    text = textwrap.dedent("""\
        # mine
        model_name_or_path: org/base
        finetuning_type: lora
        stage: sft
        deepspeed:
          zero_optimization:
            stage: 3   # all of it
        """)
    (house / "x.yaml").write_text(text)
    arguments = ["model", "--launch", "x.yaml", "--rules", "rules", "--select", "X101", "--isolated", "--fix"]
    assert main(arguments) == 0
    assert (house / "x.yaml").read_text() == text.replace("stage: 3", "stage: 2")


BOTH = """\
---
code: X102
name: stage-asked-for
severity: warning
fix: safe
---
# A stage

It is better not to ask.

## Fix
Leave it out.

## Check
```sql
SELECT 'a stage' AS message, place AS at, removing(enclosing(place)) AS fix FROM setting WHERE name = 'stage'
```

## Bad: three
```json ds.json
{"zero_optimization": {"stage": 3}, "steps_per_print": 1}
```

## Good: none
```json ds.json
{"steps_per_print": 1}
```
"""


def test_two_fixes_of_one_value_are_not_both_made(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second was thought of for what the first has changed; what is left is looked at once more, and none is told
    to be done by hand that is done."""
    page(house)
    (house / "rules/X102-stage-asked-for.md").write_text(BOTH)
    assert main(["model", "--config", "ds.json", "--rules", "rules", "--select", "X", "--isolated", "--fix"]) == 0
    assert json.loads((house / "ds.json").read_text()) == {}
    assert "by hand" not in capsys.readouterr().out


def test_a_page_whose_fix_is_never_made_fails_its_test(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A column that is always NULL, or only told for scripts, was never tried: its author learns that."""
    page(house, value="NULL")
    assert main(["rules", "test", "rules"]) == 1
    assert "no bad example has a fix that could be made" in capsys.readouterr().out
