"""What a page reads decides which command it serves: told from its words, it must be what DuckDB says."""

from __future__ import annotations

import pytest

from lorachk.engine.front import brief
from lorachk.engine.reads import tables_read
from lorachk.engine.rules import builtin_rules, load_pages
from lorachk.engine.store import Store

_QUERIES = (
    "SELECT code, line FROM (VALUES (1, 2)) v(code, line)",
    "FROM record SELECT record, turn",
    "SELECT a.* FROM main.record a, turn b WHERE a.path IS DISTINCT FROM b.path",
    "WITH a(x) AS NOT MATERIALIZED (SELECT 1 FROM record), b AS (SELECT 2 FROM turn) SELECT * FROM a, b, image",
    "WITH image AS (SELECT 1 AS record FROM turn) SELECT record FROM image",
    "SELECT extract(year FROM DATE '2020-01-01') FROM run",
    "SELECT * FROM range(2) u(record), record",
    "SELECT * FROM (record r JOIN turn t ON r.path = t.path) WHERE r.path IN (SELECT path FROM image, field)",
    "SELECT 'from box', \"line\" FROM dataset -- from box\n, LATERAL (SELECT 1 AS x FROM encoding) /* JOIN gpu */ "
    'CROSS JOIN (SELECT 1 AS "line")',
    'SELECT * FROM "record" WHERE EXISTS (FROM turn)',
    "SELECT sum(record) OVER w FROM record WINDOW w AS (ORDER BY line), v AS (PARTITION BY path)",
    "SELECT path FROM record UNION ALL SELECT path FROM image ORDER BY path, 1",
    "SELECT substring('it''s from run', 1, 2), [path, path] FROM record, turn t",
)


@pytest.fixture(scope="module")
def store():
    with Store() as opened:
        yield opened


@pytest.mark.parametrize("sql", _QUERIES)
def test_the_tables_of_a_query_are_those_duckdb_names(store, sql: str):
    assert tables_read(sql) == store.table_names(sql)


def test_every_built_in_page_reads_what_duckdb_says(store):
    wrong = {}
    for page in load_pages([builtin_rules()]):
        told, real = tables_read(page.sql), store.table_names(page.sql)
        if told != real:  # the page would be judged by the wrong command, or without its facts
            wrong[page.code] = told ^ real
    assert wrong == {}


def test_what_judging_takes_of_a_built_in_page_is_what_yaml_reads():
    for page in load_pages([builtin_rules()]):
        head = page.head
        taken = brief(page.front)
        whole = (head.code, head.name, head.severity, head.of, head.message, tuple(head.needs), head.fix)
        assert taken == whole, page.path


@pytest.mark.parametrize(
    "front",
    [
        "code: X101\nname: bad\nseverity: error\nmessage: plain words\n",
        'code: X101\nname: bad\nseverity: error\nmessage: "two\n  lines"\n',
        "code: X101\nname: bad\nseverity: error\nneeds:\n  - run.fp16\n",
        "code: X101\nname: bad\nseverity: fatal\n",
        "code: X101\nname: bad\n",
        "code: X101\ncode: X102\nname: bad\nseverity: error\n",
        "code: 'X101'\nname: bad\nseverity: error\n",
    ],
)
def test_what_is_written_otherwise_is_left_to_yaml(front: str):
    assert brief(front) is None  # guessing would judge another rule than the one that was written
