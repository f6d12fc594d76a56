"""Fixers against the rule pages: what a fixer claims to mend, the rule no longer finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorachk.engine import example as examples
from lorachk.engine.fix import fix_file
from lorachk.engine.page import Block, Example, Page
from lorachk.engine.rules import builtin_rules, load_rules
from lorachk.errors import UsageError
from lorachk.facts.records.inputs import expand
from lorachk.fixes import SAFE, unsafe
from lorachk.fixes.surroundings import around
from lorachk.launchers.resolve import resolve

PAGES = {page.code: page for page in load_rules([builtin_rules()]).pages}
CLAIMED = sorted({code for fixer in (*SAFE, *unsafe()) for code in fixer.codes} | {"D101"})
BAD = [
    (code, number, with_unsafe)
    for code in CLAIMED
    if code in PAGES
    for number in range(len(PAGES[code].bad))
    for with_unsafe in (False, True)
]


def fixed_codes(page: Page, example: Example, folder: Path, *, with_unsafe: bool) -> tuple[set[str], Example]:
    """Codes of the fixes that were made, and the example with the repaired file in place of its own."""
    for block in example.blocks:
        if block.name != "facts":
            examples._write(page, block, folder)
    run = resolve(examples._options(folder)).run
    files = expand(run.data, "train", trainer=run.trainer) if run.data else []
    if len(files) != 1:
        return set(), example
    source = Path(files[0].local)
    target = folder / f"fixed{source.suffix}"
    found = around(run, files[0])
    container = found.loader.container if found.loader else None
    try:
        outcome = fix_file(source, target, found, container=container, with_unsafe=with_unsafe)
    except UsageError:  # no record would be left: nothing was fixed
        return set(), example
    text = target.read_text("utf-8")
    name = source.resolve().relative_to(folder.resolve()).as_posix()
    blocks = tuple(
        Block(language=b.language, name=b.name, text=text, line=b.line) if b.name == name else b for b in example.blocks
    )
    return {f.code for f in (*outcome.fixes, *outcome.file)}, Example(
        title=example.title, line=example.line, blocks=blocks
    )


def test_every_rule_that_a_fixer_names_exists():
    assert set(CLAIMED) <= set(PAGES), "a fix that names no rule cannot be looked up with `lorachk explain`"


@pytest.mark.parametrize(("code", "number", "with_unsafe"), BAD)
def test_what_is_fixed_is_no_longer_found(code, number, with_unsafe, tmp_path):
    page = PAGES[code]
    codes, fixed = fixed_codes(page, page.bad[number], tmp_path, with_unsafe=with_unsafe)
    if code not in codes:
        pytest.skip("no fixer claims this example")
    report = examples.judge_example(page, fixed)
    assert report.internal_errors == []
    assert [f.message for f in report.findings] == []


@pytest.mark.parametrize("code", [c for c in CLAIMED if c in PAGES])
def test_every_claim_is_kept_for_some_example(code, tmp_path):
    made = set()
    for number, bad in enumerate(PAGES[code].bad):
        folder = tmp_path / str(number)
        folder.mkdir()
        made |= fixed_codes(PAGES[code], bad, folder, with_unsafe=True)[0]
    assert code in made, "a fixer that never fires is a promise to nobody"


@pytest.mark.parametrize("code", sorted(c for c in PAGES if c[0] in "DI"))
def test_good_examples_are_left_as_they_are(code, tmp_path):
    page = PAGES[code]
    for number, good in enumerate(page.good):
        folder = tmp_path / str(number)
        folder.mkdir()
        codes, _ = fixed_codes(page, good, folder, with_unsafe=False)
        # A placeholder where the trainer puts it anyway is written out; nothing else is touched in a good file.
        assert codes - {"D108"} == set()
