"""sql: the user's own question to the facts. The query is locked down as a rule's is."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from pathlib import Path

from lorachk.commands.options import facts_file, looking, resolve_options
from lorachk.commands.progress import watching
from lorachk.engine.finding import Report
from lorachk.engine.gather import gather
from lorachk.engine.select import DATA, RUN
from lorachk.engine.store import Result, Store
from lorachk.errors import UsageError
from lorachk.facts.collector import Context
from lorachk.facts.tables import tables
from lorachk.launchers.resolve import resolve
from lorachk.report.escape import sentence

_SECONDS = 24 * 3600.0  # a person who waits can press Ctrl-C
_SHOWN = 100  # rows on a terminal
_STAR = re.compile(r"(?:\bselect(?:\s+distinct)?|,)\s*(?:\w+\.)?\*|^\s*(?:from|describe|summarize)\b", re.IGNORECASE)
_NO_FILES = "a query reads facts only, no files"
_FACTS_OF = 'lorachk sql "..." train.json makes facts of a file'


def run(arguments: argparse.Namespace) -> int:
    """Answer the query, or show the tables. Raises UsageError for a query that cannot run."""
    from lorachk.commands import table

    if arguments.query is None or arguments.tables is not None:
        return table.show_tables(arguments)
    query = _text(arguments.query)
    read = _bound(query)
    with Store() as store:
        crashed = _fill(arguments, store, read)
        result, left_out = _asked(store, query, _limit(arguments))
        unknown = _unknown(store, query, read)
    table.show(result, arguments.format, Path(arguments.output) if arguments.output else None)
    if left_out:
        total = len(result.rows) + left_out
        _say(f"{len(result.rows):,} of {total:,} rows are shown: --limit N, LIMIT in the query, or --output FILE")
    for fact, reason in unknown:
        _say(f"not known: {fact}: {reason}")
    if crashed:
        return 2
    return 3 if unknown and arguments.no_skips else 0


def _say(text: str) -> None:
    print(f"lorachk: {sentence(text)}", file=sys.stderr)


def _text(query: str) -> str:
    if query == "-":
        query = sys.stdin.read()
    if not re.search(r"\s", query.strip()) and (Path(query).is_file() or query.lower().endswith((".json", ".jsonl"))):
        raise UsageError("the query comes first", where=query, hint=f'lorachk sql "FROM record LIMIT 5" {query}')
    return query.strip().rstrip(";")


def _limit(arguments: argparse.Namespace) -> int | None:
    if arguments.limit:
        return int(arguments.limit)
    return _SHOWN if sys.stdout.isatty() and not arguments.output else None


def _bound(query: str) -> frozenset[str]:
    """Tables the query reads; it is bound to the schema before anything is gathered. Raises UsageError."""
    import duckdb

    with Store() as store:
        store.lock()  # binding a query already opens the files it names
        try:
            kinds = store.statements(query)
            if kinds not in (["SELECT"], ["EXPLAIN"]):
                what = f"found {', '.join(kinds)}" if kinds else "it is empty"
                raise UsageError(f"a query is one SELECT: {what}", where="sql", hint="facts can be asked, not changed")
            names = store.table_names(query)
            store.query(query if kinds == ["EXPLAIN"] else f"DESCRIBE {query}")
        except duckdb.Error as error:
            raise _explained(str(error)) from None
    return frozenset(names & set(tables()))


def _explained(text: str) -> UsageError:
    """DuckDB's first line, the place in the query, and the name that was probably meant."""
    first = text.splitlines()[0]
    place = re.search(r"LINE (\d+): (.*)\n( *)\^", text)
    where = "sql"
    if place and len(place[3]) >= len(f"LINE {place[1]}: "):
        where = f"sql:{place[1]}:{len(place[3]) - len(f'LINE {place[1]}: ') + 1}"
    hint = "tables and columns: lorachk sql --tables [NAME]"
    if wrong := re.search(r"Table with name (\S+) does not exist", text):
        near = difflib.get_close_matches(wrong[1].strip('"').lower(), tables(), 2, 0.5)
        first = f"no fact table named {wrong[1]}"
        if "/" in wrong[1] or "." in wrong[1]:
            return UsageError(_NO_FILES, where=where, hint=_FACTS_OF)
        hint = f"did you mean {' or '.join(near)}? all: lorachk sql --tables" if near else hint
    elif wrong := re.search(r'(?:Referenced column|does not have a column named) "([^"]+)"', text):
        bindings = re.search(r"Candidate bindings: :?(.*)", text)
        known = re.findall(r'"([^"]+)"', bindings[1]) if bindings else []
        owners = [t.name for t in tables().values() if wrong[1] in {c.name for c in t.columns}]
        near = difflib.get_close_matches(wrong[1], known, 2, 0.6)
        if near:
            hint = f"did you mean {' or '.join(near)}?"
        elif owners:
            hint = f"tables with a column {wrong[1]}: {', '.join(owners)}"
    elif "file system operations are disabled" in text.lower() or "external access" in text.lower():
        first, hint = _NO_FILES, _FACTS_OF
    return UsageError(first, where=where, hint=hint)


def _fill(arguments: argparse.Namespace, store: Store, read: frozenset[str]) -> bool:
    """Gather the facts the query reads, or load them; whether a collector crashed."""
    if facts := facts_file(arguments):
        store.load(facts)
        return False
    resolved = resolve(resolve_options(arguments))
    wanted = DATA | RUN if read == {"unknown"} else read
    if wanted & DATA and not (resolved.run.data or resolved.run.eval_data):
        hint = 'lorachk sql "SELECT ..." train.json, --facts FILE, or a lorachk.toml in this folder'
        raise UsageError("no dataset is named, and the query reads one", where="sql", hint=hint)
    report = Report("sql")
    with watching() as watched:
        options = looking(arguments, watched)
        gather(Context(resolved.run, store, [*resolved.settings], [*resolved.sources], options), store, wanted, report)
    if arguments.save:
        store.save(Path(arguments.save))
    return bool(report.internal_errors)


def _asked(store: Store, query: str, limit: int | None) -> tuple[Result, int]:
    """The answer, and how many rows of it were left out."""
    import duckdb

    store.lock()
    explain = query[:7].upper() == "EXPLAIN"
    try:
        if limit is None or explain:
            return store.query(query, seconds=_SECONDS), 0
        result = store.query(f"SELECT * FROM ({query}\n) LIMIT {limit + 1}", seconds=_SECONDS)  # noqa: S608
        if len(result.rows) <= limit:
            return result, 0
        total = store.query(f"SELECT count(*) FROM ({query}\n)", seconds=_SECONDS).rows[0][0]  # noqa: S608
        return Result(result.columns, result.rows[:limit]), int(total) - limit
    except duckdb.Error as error:
        raise _explained(str(error)) from None


def _unknown(store: Store, query: str, read: frozenset[str]) -> list[tuple[str, str]]:
    """Facts that the query reads and that are not, or only partly, known."""
    words, whole = set(re.findall(r"\w+", query)), bool(_STAR.search(query))
    found = []
    for row in store.rows("unknown"):
        table, _, column = row["fact"].partition(".")
        if table in read and (not column or column in words or whole):
            found.append((row["fact"], row["reason"]))
    stated = {fact for fact, _ in found}
    missing = sorted(read - store.collected - stated - {"unknown"})
    return found + [(table, "it was not looked at") for table in missing]
