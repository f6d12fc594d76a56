"""TOML positions, and lorachk.toml: an unnoticed typo there switches a check off."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorachk.errors import UsageError
from lorachk.launchers.project_file import read_project
from lorachk.launchers.toml_positions import parse_toml

TEXT = '''# a comment with = and [brackets]
title = "x"   # behind
[run]
data = ["a.json",
        'b.json', # second
]
args.fp16 = true
"quoted key" = 1
[run.lora]
target_modules = { one = [1, 2], two = "t]" }
long = """
a = 1
[not.a.table]
"""
[[jobs]]
name = 'first'
[[jobs]]
name = 'second'
[jobs.inner]
deep = 2
'''


def test_every_leaf_stands_where_it_is_said_to_stand() -> None:
    """A finding in lorachk.toml must be clickable."""
    lines = TEXT.split("\n")
    seen = {leaf.pointer: lines[leaf.line - 1][leaf.col - 1 :] for leaf in parse_toml(TEXT, "x.toml").leaves}
    starts = {
        "/title": '"x"',
        "/run/data/0": '"a.json"',
        "/run/data/1": "'b.json'",
        "/run/args/fp16": "true",
        "/run/quoted key": "1",
        "/run/lora/target_modules/one/0": "1, 2]",
        "/run/lora/target_modules/one/1": "2]",
        "/run/lora/target_modules/two": '"t]"',
        "/run/lora/long": '"""',
        "/jobs/0/name": "'first'",
        "/jobs/1/name": "'second'",
        "/jobs/1/inner/deep": "2",
    }
    assert seen.keys() == starts.keys()
    for pointer, start in starts.items():
        assert seen[pointer].startswith(start), pointer


def toml(folder: Path, text: str) -> str:
    path = folder / "lorachk.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ('[run]\nmodl = "x"\n', "2:8", "did you mean 'model'?"),
        ("[lnt]\n", "1:1", "did you mean 'lint'?"),
        ("[run]\ndata = 3\n", "2:8", "'data' must be a string or a list"),
        ("[run]\nnum_gpus = true\n", "2:12", "must be a whole number"),
        ('[run]\ntrainer = "minicpm"\n', "2:11", "did you mean 'minicpmv'?"),
        ('[lint]\nfail_on = "errors"\n', "2:11", "did you mean 'error'?"),
        ('[lint]\nselect = ["D", 1]\n', "2:16", "must be a string"),
        ("[environment]\ndeepspeed = 0.18\n", "2:13", "must be a string"),
        ('[run]\nmodel = "x\n', "2:11", ""),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: Path, text: str, place: str, says: str) -> None:
    """A key that is silently ignored is a check the user believes in and does not have."""
    path = toml(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_project(path)
    assert caught.value.where == f"{path}:{place}"
    assert says in str(caught.value)


def test_lint_section(tmp_path: Path) -> None:
    """Reasons must reach the report, rule folders must be found from anywhere."""
    lint = read_project(
        toml(tmp_path, '[lint]\nselect=["D"]\nignore={D111="on purpose"}\nrules=["ours/"]\nfail_on="warning"\n')
    ).lint
    assert (lint.select, lint.ignore, lint.fail_on) == (["D"], {"D111": "on purpose"}, "warning")
    assert lint.rules == [str(tmp_path / "ours")]
    assert list(read_project(toml(tmp_path, '[lint]\nignore=["D111"]\n')).lint.ignore) == ["D111"]
