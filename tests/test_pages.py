"""Rule pages: a page that is not whole does not load, and says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorachk.engine.page import PageError, parse
from lorachk.engine.rules import load_pages, load_rules

_SQL = "SELECT 'too many' AS message FROM step"


def _prepared(path: Path):
    (page,) = load_rules([path]).pages
    return page


def test_a_whole_page_loads(page_file):
    page = _prepared(page_file(_SQL))
    assert (page.code, page.name, page.title) == ("X101", "too-many", "Too many things")
    assert page.reads == {"step"}
    assert page.fix == "Have fewer."
    assert page.bad[0].title == "one"


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("DROP TABLE step", "one SELECT"),
        ("SELECT 1 AS message; SELECT 2 AS message", "one SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
        ("SELECT 'x' AS message FROM stepp", "stepp"),
        ("SELECT 'x' AS message, lost FROM step", "lost"),
        ("SELECT 'x' AS text FROM step", "column 'message'"),
        ("SELEC 1", "syntax error"),
        ("ATTACH 'x.db'", "one SELECT"),
    ],
)
def test_a_bad_query_is_refused_with_file_and_line(page_file, sql: str, says: str):
    path = page_file(sql)
    with pytest.raises(PageError, match=says) as error:
        _prepared(path)
    line = int((error.value.where or "").rpartition(":")[2])
    assert path.read_text().splitlines()[line - 1].strip() in (sql, "```sql")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("code: X101", "code: x1", 2, "code"),
        ("severity: error", "severity: bad", 4, "severity"),
        ("name: too-many", "name: too-many\ncolour: red", 4, "colour"),
        ("# Too many things", "Too many things", None, "title"),
        ("## Fix", "## Cure", None, "unknown section 'Cure'"),
        ("## Good", "## Bad", None, "example '## Good'"),
        ("name: too-many", "name: too-many\nof: record", 2, "'message'"),
        ("name: too-many", "name: too-many\nneeds: [run.lost]", 2, "run.lost"),
        ("name: too-many", "name: [too", None, "front matter"),
    ],
)
def test_a_page_that_is_not_whole_says_what_it_lacks(page_file, old, new, line, says):
    path = page_file(_SQL)
    text = path.read_text().replace(old, new, 1)
    with pytest.raises(PageError) as error:
        parse(path, text)
    assert says in error.value.message
    if line:
        assert error.value.where == f"{path}:{line}"


@pytest.mark.parametrize("text", ["", "# only prose", "---\ncode: X101", "---\n- a\n---\n"])
def test_what_is_no_page_is_refused(tmp_path: Path, text: str):
    with pytest.raises(PageError):
        parse(tmp_path / "x.md", text)


def test_two_pages_with_one_code_are_refused(page_file):
    path = page_file(_SQL)
    (path.parent / "X101-again.md").write_text(path.read_text())
    with pytest.raises(PageError, match="stands already in"):
        load_pages([path.parent])


def test_a_message_with_an_unknown_field_is_refused(page_file):
    head = 'of: record\nmessage: "{count} of {totl}"\n'
    path = page_file("SELECT 'x' AS message, path, record FROM record", head=head)
    with pytest.raises(PageError, match="totl"):
        _prepared(path)
