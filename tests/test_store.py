"""The fact store: what collectors add comes back unchanged, and a hostile rule gets nowhere."""

from __future__ import annotations

import itertools
import math
import os
import time
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from lorachk.engine.store import Limits, RuleTimeout, Store
from lorachk.errors import UsageError
from lorachk.facts.tables import tables
from lorachk.run import Location


def test_rows_come_back_as_they_were_added():
    with Store() as store:
        store.add("step", [{"rank": 0, "step": 1, "loss": math.nan, "grad_norm": math.inf}])
        store.add("setting", [{"name": "a\x00b", "value": "\ud800", "place": Location("ds.json", 3, 4, "/a")}])
        step, setting = store.rows("step")[0], store.rows("setting")[0]
    assert math.isnan(step["loss"])
    assert step["grad_norm"] == math.inf
    assert setting["name"] == "a\x00b"
    assert setting["value"] == "\\ud800", "a lone surrogate of someone's dataset must not end the scan"
    assert setting["place"] == {"path": "ds.json", "line": 3, "col": 4, "pointer": "/a"}


def test_a_column_nobody_declared_is_refused():
    with Store() as store, pytest.raises(KeyError, match="lost"):
        store.add("step", [{"lost": 1}])


def test_every_table_says_what_its_rows_and_columns_are():
    for table in tables().values():
        assert table.row
        undocumented = [c.name for c in table.columns if not c.doc]
        assert not undocumented, f"{table.name}: {undocumented}"


_HOSTILE = {
    "reads a file": "SELECT * FROM read_csv('/etc/passwd')",
    "reads a file by name": "SELECT * FROM '/etc/passwd'",
    "reads a file as text": "SELECT * FROM read_text('/etc/passwd')",
    "lists a folder": "SELECT * FROM glob('/etc/*')",
    "attaches": "ATTACH '/tmp/lorachk-hostile.db'",
    "copies out": "COPY step TO '/tmp/lorachk-hostile.csv'",
    "drops": "DROP TABLE step",
    "inserts": "INSERT INTO step (rank) VALUES (1)",
    "inserts in a CTE": "WITH q AS (INSERT INTO step (rank) VALUES (1) RETURNING rank) SELECT * FROM q",
    "unlocks": "SET enable_external_access = true",
    "raises its memory": "SET memory_limit = '100GB'",
    "loads an extension": "LOAD httpfs",
    "sees the program's variables": "SELECT * FROM hostage",
}


@pytest.mark.parametrize("sql", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_a_hostile_query_is_refused(sql: str):
    hostage = [1, 2, 3]  # noqa: F841 - a replacement scan would find it
    with Store() as store:
        store.add("step", [{"rank": 7}])
        store.lock()
        with pytest.raises(duckdb.Error):
            store.query(sql)
        assert store.count("step") == 1, "the facts are as they were"
    assert not Path("/tmp/lorachk-hostile.csv").exists()
    assert not Path("/tmp/lorachk-hostile.db").exists()


def test_a_query_that_never_ends_is_stopped_and_the_next_rule_runs():
    endless = "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r) SELECT count(*) FROM r"
    with Store(Limits(seconds=0.5)) as store:
        store.lock()
        started = time.monotonic()
        with pytest.raises(RuleTimeout):
            store.query(endless)
        assert time.monotonic() - started < 20
        assert store.query("SELECT 1").rows == [(1,)]


def test_a_query_that_eats_memory_is_stopped():
    greedy = "SELECT list(a.range) FROM range(1000000) a, range(1000000) b"
    with Store(Limits(memory="100MB", disk="10MB", seconds=60)) as store:
        store.lock()
        with pytest.raises((duckdb.Error, RuleTimeout)):
            store.query(greedy)
        assert store.query("SELECT 1").rows == [(1,)]


def test_saved_facts_are_judged_elsewhere(tmp_path: Path):
    file = tmp_path / "facts.duckdb"
    with Store() as store:
        store.add("gpu", [{"index": 0, "name": "RTX 4090", "memory_total": 24 * 2**30}])
        store.unknown("parameter", "no model was given")
        store.save(file)
    assert os.listdir(tmp_path) == ["facts.duckdb"], "no partial file is left"
    with Store() as store:
        store.load(file)
        assert store.rows("gpu")[0]["name"] == "RTX 4090"
        assert store.rows("unknown")[0]["reason"] == "no model was given"
        assert "gpu" in store.collected
        assert "parameter" not in store.collected


def test_a_facts_file_with_a_planted_view_reads_no_file(tmp_path: Path):
    secret, file = tmp_path / "secret.csv", tmp_path / "facts.duckdb"
    secret.write_text("name\nhidden\n")
    with duckdb.connect(str(file)) as db:
        db.execute("CREATE TABLE collected (name VARCHAR)")
        db.execute("INSERT INTO collected VALUES ('package')")
        db.execute(f"CREATE VIEW package AS SELECT * FROM read_csv('{secret}')")
    with Store() as store:
        store.load(file)
        assert store.rows("package") == []


@pytest.mark.parametrize("content", [b"", b"not a database", None])
def test_a_file_that_holds_no_facts_is_named(tmp_path: Path, content: bytes | None):
    file = tmp_path / "facts.duckdb"
    if content is not None:
        file.write_bytes(content)
    with Store() as store, pytest.raises(UsageError, match="facts"):
        store.load(file)


_numbers = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda n: ".".join(map(str, n)))
_suffix = st.sampled_from(["", "rc1", "a2", ".dev0", ".post1", "+cpu", "+cu128", "rc1+cpu"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(_numbers, _suffix), min_size=2, max_size=8))
def test_versions_compare_as_in_pep_440(parts: list[tuple[str, str]]):
    versions = ["".join(p) for p in parts]
    with Store() as store:
        for a, b in itertools.pairwise(versions):
            ours = store.query(f"SELECT version_less('{a}', '{b}')").rows[0][0]
            left, right = Version(Version(a).public), Version(Version(b).public)
            same_kind = left.release == right.release and left.is_prerelease and right.is_prerelease
            if not same_kind:  # two pre-releases of one release count as equal
                assert ours == (left < right), f"{a} < {b}"
