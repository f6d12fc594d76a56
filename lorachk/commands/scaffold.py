"""rules new: a rule page to begin with. Its check and examples already run, so that every change can be tried."""

from __future__ import annotations

import argparse
import contextlib
import re
from pathlib import Path

from lorachk.engine.page import Page
from lorachk.engine.rules import builtin_rules, load_pages
from lorachk.errors import UsageError

_CODE = re.compile(r"[A-Z]{1,3}[0-9]{3}")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_OF_A_RUN = "GKLNPQSVZ"  # areas of the built-in rules that ask the run and not the dataset

_HEAD = """\
---
code: {code}
name: {name}
severity: warning
{head}symptoms: []
sources: []
---
# {title}

What happens, and why, in a few sentences that a newcomer understands.

## Fix
What to change, in order of preference.

## Check
"""
_DATA = """\
```sql
SELECT path, record, turn, format('an answer of {}', plural(characters, 'character')) AS message
FROM turn
WHERE speaker = 'assistant' AND characters < 3
```

## Bad: an answer of one letter
```json train.json
[
  {"messages": [{"role": "user", "content": "Which animal is it?"}, {"role": "assistant", "content": "a"}]}
]
```

## Good: a whole sentence
```json train.json
[
  {"messages": [{"role": "user", "content": "Which animal is it?"}, {"role": "assistant", "content": "It is a cat."}]}
]
```
"""
_RUN = """\
```sql
SELECT learning_rate_at AS at, format('learning_rate is {}, expected at most 0.01', learning_rate) AS message
FROM run
WHERE learning_rate > 0.01
```

## Bad: a learning rate of 0.1
```toml lorachk.toml
[run.args]
learning_rate = 0.1
```

## Good: an ordinary one
```toml lorachk.toml
[run.args]
learning_rate = 0.0001
```
"""


def new_rule(arguments: argparse.Namespace) -> int:
    """Write the page and say where it is. Raises UsageError for a code or name that cannot be, or is taken."""
    code, name = arguments.code, arguments.name
    folder = Path(arguments.folder or _own_folder())
    known = _whole([builtin_rules(), folder])
    _checked(code, name, known)
    path = folder / f"{code}-{name}.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_page(code, name))
    except FileExistsError:
        raise UsageError("there is such a file already; it is left as it is", where=str(path)) from None
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(path)) from None
    print(f"wrote {path}")
    print(f"  its examples run as they are:  lorachk rules test {path}")
    print("  tables and columns to ask:     lorachk sql --tables")
    print(f"  use it:                        lorachk check --rules {folder}   (or [lint] rules in lorachk.toml)")
    return 0


def _whole(folders: list[Path]) -> list[Page]:
    """All pages that can be read: one that is being worked on must not keep another from being begun."""
    pages: list[Page] = []
    for file in sorted({file.resolve() for folder in folders for file in folder.rglob("*.md")}):
        with contextlib.suppress(UsageError):
            pages += load_pages([file])
    return pages


def _own_folder() -> str:
    """The first folder of [lint] rules, else `rules`."""
    from lorachk.launchers.project import find_project
    from lorachk.launchers.project_file import read_project

    project = find_project()
    named = read_project(project).lint.rules if project else []
    return str(named[0]) if named else "rules"


def _checked(code: str, name: str, known: list[Page]) -> None:
    if not _CODE.fullmatch(code):
        near = code.upper()
        hint = (
            f"did you mean {near}?" if _CODE.fullmatch(near) else "one to three capital letters and three digits: X101"
        )
        raise UsageError(f"{code!r} is no rule code", where="CODE", hint=hint)
    if not _NAME.fullmatch(name):
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        hint = f"did you mean {near}?" if near else "small letters, digits and -: answer-too-short"
        raise UsageError(f"{name!r} is no rule name", where="NAME", hint=hint)
    codes = {page.code: page for page in known}
    if code in codes:
        raise UsageError(f"{code} is taken: {codes[code].path}", where="CODE", hint=f"free: {_free(code, set(codes))}")
    if same := next((page for page in known if page.name == name), None):
        raise UsageError(f"the name is taken by {same.code}: {same.path}", where="NAME")


def _free(code: str, codes: set[str]) -> str:
    """The next code of the area and hundred that nobody has."""
    area, number = code.rstrip("0123456789"), int(code[-3:])
    free = (f"{area}{n:03}" for n in [*range(number, 1000), *range(number)])
    return next((c for c in free if c not in codes), "another letter")


def _page(code: str, name: str) -> str:
    title = name.replace("-", " ").capitalize()
    if code[0] in _OF_A_RUN:
        return _HEAD.format(code=code, name=name, title=title, head="needs: [run.learning_rate]\n") + _RUN
    head = 'of: turn\nmessage: "{count} of {total} turns {have} an answer of less than three characters"\n'
    return _HEAD.format(code=code, name=name, title=title, head=head) + _DATA
