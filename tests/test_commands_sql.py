"""sql, env and rules new as a user meets them: answers, helpful errors, and nothing that a query could reach."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from functools import partial

import pytest

from lorachk.facts.tables import tables

RECORD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
HOSTILE = {"messages": [{"role": "\x1b[2J::error::x\n##[group]", "content": "a"}, {"role": 'user,"q"', "content": "b"}]}


@pytest.fixture
def lorachk(run_in, tmp_path):
    (tmp_path / "train.json").write_text(json.dumps([RECORD, RECORD, HOSTILE]))

    return partial(run_in, tmp_path)


def test_a_question_about_a_dataset_is_answered(lorachk):
    code, out, err = lorachk(
        "sql", "SELECT role, count(*) AS n FROM turn GROUP BY role ORDER BY n DESC, role LIMIT 1", "train.json"
    )
    assert (code, err) == (0, "")
    assert out.splitlines() == ["role       n", "---------  -", "assistant  2", "(1 row)"]
    code, out, _ = lorachk("sql", "SELECT count(*) AS n, NULL AS x FROM record;", "train.json", "--format", "json")
    assert (code, json.loads(out)) == (0, [{"n": 3, "x": None}])


def test_saved_facts_can_be_asked_elsewhere(lorachk, tmp_path):
    assert lorachk("sql", "FROM record", "train.json", "--save", "facts.duckdb")[0] == 0
    (tmp_path / "train.json").unlink()
    code, out, err = lorachk("sql", "SELECT count(*) AS n FROM record", "--facts", "facts.duckdb", "--format", "csv")
    assert (code, out, err) == (0, "n\n3\n", "")
    code, _, err = lorachk("sql", "SELECT index FROM gpu", "--facts", "facts.duckdb")
    assert "not known: gpu" in err


def test_only_what_the_query_reads_is_looked_at(lorachk, tmp_path):
    script = (
        "import sys\nfrom lorachk.cli import main\n"
        "main(['sql', 'SELECT count(*) FROM package', '--isolated'])\n"
        "print(*sorted(m for m in sys.modules if m.startswith(('lorachk.facts', 'PIL', 'torch'))), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "lorachk.facts.packages" in done.stderr
    assert "lorachk.facts.dataset" not in done.stderr
    assert not {"torch", "PIL"} & set(done.stderr.split())


@pytest.mark.parametrize("kind", ["table", "markdown", "csv", "json"])
def test_what_stands_in_a_dataset_cannot_leave_its_cell(lorachk, kind):
    code, out, _ = lorachk(
        "sql", "SELECT role FROM turn WHERE record = 2 ORDER BY turn", "train.json", "--format", kind
    )
    assert code == 0
    assert "\x1b" not in out
    assert "##[" not in out
    assert not any(line.startswith("::") for line in out.splitlines())
    if kind == "csv":
        rows = list(csv.reader(io.StringIO(out)))
        assert rows[2] == ['user,"q"']
        assert len(rows) == 3
    if kind == "json":
        assert json.loads(out)[0]["role"] == HOSTILE["messages"][0]["role"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT rolle FROM turn", "did you mean role?"),
        ("SELECT * FROM recrod", "did you mean record"),
        ("SELECT lorem FROM turn", "lorachk sql --tables"),
        ("SELECT line FROM turn", "tables with a column line"),
        ("SELEC 1", "sql:1:1: Parser Error: syntax error"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("", "one SELECT"),
        ("DROP TABLE record", "one SELECT"),
        ("COPY record TO 'x.csv'", "one SELECT"),
        ("ATTACH 'x.duckdb'", "one SELECT"),
        ("SET memory_limit = '1TB'", "one SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "facts only, no files"),
        ("SELECT * FROM '/etc/passwd'", "facts only, no files"),
        ("SELECT 1 / 'x'::INTEGER FROM record", "Conversion Error"),
        ("train.json", "the query comes first"),
    ],
)
def test_a_query_that_cannot_run_says_why(lorachk, tmp_path, query, says):
    code, out, err = lorachk("sql", query, "train.json")
    assert code == 2
    assert out == ""
    assert says in err
    assert len(err.splitlines()) <= 4
    assert [p.name for p in tmp_path.iterdir()] == ["train.json"]


def test_a_query_without_data_or_with_a_wrong_file_says_so(lorachk):
    code, _, err = lorachk("sql", "FROM record")
    assert code == 2
    assert "no dataset is named" in err
    assert "trian" in lorachk("sql", "FROM record", "trian.json")[2]
    assert "facts.duckdb" in lorachk("sql", "FROM record", "--facts", "facts.duckdb")[2]
    assert "instead of a dataset" in lorachk("sql", "FROM record", "train.json", "--facts", "f.duckdb")[2]


def test_what_is_not_known_is_said_beside_the_answer(lorachk):
    code, _, err = lorachk("sql", "SELECT verdict FROM record", "train.json")
    assert code == 0
    assert "not known: record.verdict" in err
    assert "not known" not in lorachk("sql", "SELECT dialect FROM record", "train.json")[2]
    assert lorachk("sql", "SELECT verdict FROM record", "train.json", "--no-skips")[0] == 3


def test_the_tables_explain_themselves(lorachk):
    _, out, _ = lorachk("sql")
    for table in tables().values():
        assert f"{table.name}: {table.row}" in out
    _, out, _ = lorachk("sql", "--tables", "turn")
    assert "speaker" in out
    assert "user, assistant, system, tool" in out
    assert "or turn?" in lorachk("sql", "--tables", "trun")[2]
    assert {r["column"] for r in json.loads(lorachk("sql", "--tables", "host", "--format", "json")[1])} >= {"driver"}


def test_rows_are_limited_with_a_word(lorachk):
    code, out, err = lorachk("sql", "FROM turn", "train.json", "--limit", "2", "--format", "json")
    assert (code, len(json.loads(out))) == (0, 2)
    assert "2 of 6 rows are shown" in err


def test_the_answer_goes_to_a_file(lorachk, tmp_path):
    assert lorachk("sql", "SELECT 1 AS a", "--output", "a.csv", "--format", "csv") == (0, "", "")
    assert (tmp_path / "a.csv").read_text() == "a\n1\n"
    assert "nowhere" in lorachk("sql", "SELECT 1 AS a", "--output", "nowhere/a.csv")[2]


def test_the_machine_report_holds_what_a_bug_report_needs(lorachk, tmp_path):
    code, out, err = lorachk("env", "--format", "json")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert report["host"]["memory_total"] > 0
    assert report["host"]["cpu_count"] > 0
    assert {"duckdb", "pillow", "msgspec"} <= set(report["packages"])
    assert report["gpus"] or "gpu" in report["unknown"]
    code, out, _ = lorachk("env")
    assert code == 0
    assert report["python"] in out
    script = (
        "import sys\nfrom lorachk.cli import main\nmain(['env'])\nprint({'torch', 'duckdb', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("code", ["X101", "Z950"])
def test_a_new_rule_runs_out_of_the_box(lorachk, tmp_path, code):
    assert lorachk("rules", "new", code, "my-own-problem", "--folder", "own")[0] == 0
    assert (tmp_path / "own" / f"{code}-my-own-problem.md").is_file()
    ended, out, _ = lorachk("rules", "test", "own")
    assert (ended, out) == (0, "1 rule, 2 examples: 2 as promised, 0 not\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["D101", "my-own"], "free: D"),
        (["X102", "bad-roles"], "taken by D105"),
        (["x102", "my-own"], "did you mean X102?"),
        (["X1", "my-own"], "three digits"),
        (["X102", "My Own"], "did you mean my-own?"),
        (["X101", "my-own"], "X101 is taken"),
        (["X102", "there-already"], "taken by X101"),
    ],
)
def test_a_rule_that_cannot_be_begun_says_why_and_writes_nothing(lorachk, tmp_path, words, says):
    assert lorachk("rules", "new", "X101", "there-already")[0] == 0
    before = {p: p.read_text() for p in (tmp_path / "rules").iterdir()}
    code, _, err = lorachk("rules", "new", *words)
    assert code == 2
    assert says in err
    assert {p: p.read_text() for p in (tmp_path / "rules").iterdir()} == before
