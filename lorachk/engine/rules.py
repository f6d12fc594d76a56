"""Loading rules: pages are found, parsed and bound to the schema before any fact is collected."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from lorachk.engine.duck import driver
from lorachk.engine.finding import spelled
from lorachk.engine.page import Page, PageError, outline, parse
from lorachk.engine.reads import tables_read
from lorachk.engine.store import Store
from lorachk.errors import UsageError
from lorachk.facts.tables import tables


def builtin_rules() -> Path:
    """The folder with the rules: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "_rules"
    return inside if inside.is_dir() else package.parent / "rules"


def load_pages(folders: Sequence[Path], read: Callable[[Path, str], Page] = parse) -> list[Page]:
    """Parse all pages below `folders`, by code. Raises PageError for a bad page or a code that stands twice."""
    pages: dict[str, Page] = {}
    for folder in folders:
        if not folder.exists():
            raise UsageError("no such folder or page", where=str(folder), hint="--rules wants a folder of rule pages")
        files = [folder] if folder.is_file() else sorted(folder.rglob("*.md"))
        for file in files:
            if file.name == "README.md":
                continue
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise PageError(file, 1, f"cannot be read: {error}") from None
            page = read(file, text)
            if page.code in pages:
                raise PageError(file, 2, f"code {page.code} stands already in {pages[page.code].path}")
            pages[page.code] = page
    return [pages[code] for code in sorted(pages)]


def _failure(page: Page, message: str, line: int | None = None) -> PageError:
    return PageError(page.path, line or page.sql_line, f"{page.code}: {message}")


def _sql_failure(page: Page, error: Exception) -> PageError:
    text = str(error)
    at = re.search(r"LINE (\d+):", text)
    line = page.sql_line + int(at.group(1)) - 1 if at else page.sql_line
    return _failure(page, text.splitlines()[0], line)


def reading(page: Page, store: Store) -> Page:
    """Find out which tables the page's query reads. Raises PageError when it is not one SELECT on fact tables."""
    try:
        kinds = store.statements(page.sql)
        if kinds != ["SELECT"]:
            raise _failure(page, f"the query must be one SELECT, found {', '.join(kinds) or 'nothing'}")
        names = store.table_names(page.sql)
    except driver().Error as error:
        raise _sql_failure(page, error) from None
    if strange := sorted(names - set(tables())):
        raise _failure(page, f"no fact table named {strange[0]}")
    return page.reading(frozenset(names))


def bound(page: Page, store: Store) -> Page:
    """Bind the page's query to the schema and check its columns. Raises PageError."""
    try:
        described = store.query(f"DESCRIBE {page.sql}", seconds=5.0)
    except driver().Error as error:
        raise _sql_failure(page, error) from None
    columns = [str(row[0]) for row in described.rows]
    if "message" not in columns:
        raise _failure(page, "the query must return a column 'message'")
    if ("fix" in columns) != (page.head.fix is not None):
        raise _failure(page, "a query with a column 'fix' says 'fix: safe' or 'fix: unsafe' in the front matter")
    for column in page.head.needs:
        if column.partition(".")[0] not in page.reads:
            raise _failure(page, f"needs {column}, but the query does not read that table")
    if page.head.message:
        words = spelled(0, 0)
        for field in re.findall(r"{(\w+)", page.head.message):
            if field not in columns and field not in words:
                raise _failure(page, f"the message uses {{{field}}}: no result column, and none of {', '.join(words)}")
    return page


class Rules(NamedTuple):
    """Rules ready to judge, and built-in ones that could not be bound with this DuckDB."""

    pages: list[Page]
    broken: list[tuple[Page, str]]


def load_rules(folders: Sequence[Path], chosen: Callable[[Page], bool] | None = None) -> Rules:
    """Parse all pages of `folders` and bind their queries.

    A page of the user's that is not whole ends the command (PageError). A built-in page can only fail on a DuckDB that
    our tests did not run: it is broken, and the others go on. With `chosen`, built-in pages are taken as the tests
    left them: nothing is bound and no YAML is read; that is a third of a small run. What is broken then shows when
    it is judged.
    """
    builtin = builtin_rules()

    def taken(path: Path) -> bool:
        return chosen is not None and path.is_relative_to(builtin)

    rules = Rules([], [])
    pages = load_pages(folders, lambda file, text: (outline if taken(file) else parse)(file, text))
    with nullcontext() if all(taken(page.path) for page in pages) else Store() as store:
        if store:
            store.lock()  # binding a query already opens the files it names
        for page in pages:
            try:
                rules.pages.append(_taken(page, chosen) if chosen and taken(page.path) else _bound(page, store))
            except PageError as error:  # noqa: PERF203
                if not page.path.is_relative_to(builtin):
                    raise
                rules.broken.append((page, error.message))
    return rules


def _bound(page: Page, store: Store | None) -> Page:
    assert store
    return bound(reading(page, store), store)


def _taken(page: Page, chosen: Callable[[Page], bool]) -> Page:
    page = page.reading(tables_read(page.sql))
    if chosen(page):
        _ = page.brief  # what is broken in it shows now, not in the midst of a report
    return page
