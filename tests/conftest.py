"""Shared helpers."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from lorachk import cli

PAGE = """\
---
code: X101
name: too-many
severity: error
{head}---
# Too many things

They are too many.

## Fix
Have fewer.

## Check
```sql
{sql}
```

## Bad: {bad_title}
```yaml facts
{bad}
```

## Good
```yaml facts
{good}
```
"""


@pytest.fixture
def page_file(tmp_path: Path):
    """Write a rule page with the given query and return its path."""

    def make(sql: str, *, head: str = "", bad: str = "step: [{step: 1}]", good: str = "step: []") -> Path:
        path = tmp_path / "rules" / "X101-too-many.md"
        path.parent.mkdir(exist_ok=True)
        text = PAGE.format(head=head, sql=textwrap.dedent(sql).strip(), bad=bad, good=good, bad_title="one")
        path.write_text(text, encoding="utf-8")
        return path

    return make


@pytest.fixture
def run_in(monkeypatch, capsys):
    """Run one command in a folder, as a person without a terminal would; exit code, stdout, stderr."""

    def call(folder: Path, *words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
        try:
            code = cli.main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call
