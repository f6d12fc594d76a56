"""The fact store: an in-process DuckDB that collectors fill and rules query, locked down before any rule runs."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lorachk.engine.duck import Deadline, driver
from lorachk.errors import UsageError
from lorachk.facts.collector import Batch, Row
from lorachk.facts.tables import LOCATION, Column, Table, tables

if TYPE_CHECKING:
    import duckdb

_CONTENT = "to_json(content)::VARCHAR"
# Rules may use these; `docs` in README. A version's key is its release padded to six numbers, then -1 for a dev, alpha,
# beta or release candidate, 0 for a release, 1 for a post release (PEP 440 order, local part ignored).
_MACROS = (
    r"""CREATE MACRO version_key(v) AS list_concat(
      list_resize(list_transform(
        string_split(regexp_extract(lower(v), '^\s*v?(\d+(\.\d+)*)', 1), '.'), lambda x: x::BIGINT), 6, 0),
      [CASE WHEN regexp_matches(lower(v), '\d\.?-?_?(a|b|rc|c|dev|alpha|beta|pre|preview)\.?\d*') THEN -1
            WHEN regexp_matches(lower(v), '\d\.?-?_?(post|rev|r)\d*') THEN 1 ELSE 0 END])""",
    "CREATE MACRO version_less(a, b) AS version_key(a) < version_key(b)",
    "CREATE MACRO gib(bytes) AS format('{:.1f} GiB', bytes / 1073741824.0)",
    # Places for such changes: one only if the value stands under this name (a field of the run can come from another
    # setting), the object around it, and the same file at another pointer.
    "CREATE MACRO only_as(place, name) AS CASE WHEN ends_with((place).pointer, '/' || name) THEN place END",
    "CREATE MACRO at_pointer(place, target) AS CASE WHEN (place).pointer IS NOT NULL THEN "
    "{'path': (place).path, 'line': (place).line, 'col': (place).col, 'pointer': target} END",
    "CREATE MACRO enclosing(place) AS at_pointer(place, regexp_replace((place).pointer, '/[^/]*$', ''))",
    # Changes of a setting's file, for a rule's column `fix`; `place` is where a value stands.
    *(
        f"CREATE MACRO {name} AS CASE WHEN (place).pointer IS NOT NULL{given} THEN "
        f"{{'operation': '{operation}', 'place': place, 'value': {value}, 'key': {key}}} END"
        for name, operation, value, key, given in (  # what is not known is not written
            ("replacing(place, content)", "replace", _CONTENT, "NULL::VARCHAR", " AND content IS NOT NULL"),
            ("removing(place)", "remove", "NULL::VARCHAR", "NULL::VARCHAR", ""),
            ("adding(place, name, content)", "add", _CONTENT, "name::VARCHAR", " AND content IS NOT NULL"),
            ("renaming(place, name)", "rename", "NULL::VARCHAR", "name::VARCHAR", " AND name IS NOT NULL"),
            ("moving(place, target)", "move", "NULL::VARCHAR", "target::VARCHAR", " AND target IS NOT NULL"),
        )
    ),
    "CREATE MACRO plural(n, word) AS format('{:d} {}{}', n::BIGINT, word, CASE WHEN n = 1 THEN '' ELSE 's' END)",
)
# Tables with a row for each record, turn or image: these grow with the data.
_OF_DATASET = frozenset({"dataset", "record", "field", "turn", "image", "box", "encoding"})
_FEW = 100  # rows that are looked through for columns without a value
_TOGETHER, _COMPRESSED = 24, 3  # batches that are committed at once; such commits after which all is compressed
_OF_LARGE = "500MB"  # memory for the facts of a large dataset; what is more goes to disk
_OF_RECORD = ("record", "pattern")  # columns of a batch with patterns that hold no lists
_BATCH = 20_000  # rows per load: 20 MB of JSON at most for ordinary records


class Limits(NamedTuple):
    """What one rule may take; memory and disk are for the whole store."""

    memory: str = "2GB"
    disk: str = "20GB"  # spilled intermediate results
    seconds: float = 30.0


class RuleTimeout(Exception):
    """A rule's query ran longer than its time limit and was stopped."""


class Result(NamedTuple):
    """Columns and rows of a query."""

    columns: list[str]
    rows: list[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        """Rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class Store:
    """Facts in DuckDB. Fill it with `add`, then `lock` it, then `query` it.

    Use as a context manager: it owns a temporary folder.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.collected: set[str] = set()
        self.locked = False
        self._own: set[str] = set()  # tables of the collectors' own
        self._counts: dict[tuple[str, str | None], int] = {}
        self._reading = False  # in a read-only transaction
        self._compressed = False
        self._large = False  # rules are worth several threads
        self._uncommitted = self._commits = 0  # appends since the last commit; commits
        self._folder = Path(tempfile.mkdtemp(prefix="lorachk-store-"))
        self._db: duckdb.DuckDBPyConnection = driver().connect(
            ":memory:",
            config={
                "memory_limit": self.limits.memory,
                "temp_directory": str(self._folder / "spill"),
                "max_temp_directory_size": self.limits.disk,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,  # a query must not see this program's variables
            },
        )
        self._deadline = Deadline(self._db.interrupt)
        try:
            self._db.execute("SET enable_progress_bar = false")
            # Loading needs two thirds of the time in one thread, and the others are wanted for the scan; rules on
            # small data spend more time on waking threads than those save.
            self._db.execute("SET threads = 1")
            for table in tables().values():
                self._db.execute(table.ddl)
            for macro in _MACROS:
                self._db.execute(macro)
        except BaseException:  # also Ctrl-C: nobody else can remove the folder
            self.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything."""
        self._deadline.close()
        self._db.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- filling

    def add(self, table: str, rows: Iterable[Row]) -> None:
        """Append rows to `table`; missing columns are NULL. Raises KeyError for a table or column nobody declared."""
        declared = tables()[table]
        names = {c.name for c in declared.columns}
        self.collected.add(table)
        remaining = iter(rows)
        while batch := list(islice(remaining, _BATCH)):
            for row in batch:
                if not row.keys() <= names:
                    raise KeyError(f"table {table} has no column {sorted(row.keys() - names)}")
            self._load(declared, batch)

    def append(self, batch: Batch) -> None:
        """Append rows that stand as columns in a file, and delete the file: five times as fast as row by row."""
        table = tables()[batch.table]
        types = {c.name: c.type for c in table.columns}
        self.collected.add(batch.table)
        taken = [*batch.names, *batch.constants]
        made = [_made(n, batch, types) for n in batch.names] + [f"?::{types[n]}" for n in batch.constants]
        parameters: list[Any] = list(batch.constants.values())
        if batch.numbered is not None:
            taken.append("pointer")
            made.append(f'? || ("record" + {batch.shifts.get("record", 0):d})')
            parameters.append(batch.numbered)
        kinds = {n: _list_of(n, batch, types) for n in batch.names}
        given = ", ".join(f"{_string(n)}: {_string(kind)}" for n, kind in kinds.items())
        unnested = ", ".join(f'unnest("{n}") AS "{n}"' for n in batch.names)
        source = (
            f"(SELECT {unnested} FROM read_json(?, format = 'unstructured', "  # noqa: S608
            f"maximum_object_size = {batch.bytes + 4096:d}, columns = {{{given}}}))"
        )
        parameters.append(str(batch.file))
        if batch.patterns is not None:
            taken = [*(n for n in taken if n != "pattern"), *batch.patterns]
            made = [m for m in made if m != '"pattern"'] + [f'unnest(p."{n}")' for n in batch.patterns]
            if "bytes" not in batch.names:
                taken.append("bytes")
                made.append('unnest("characters")')
            lists = ", ".join(f'unnest(?::{types[n]}[][]) AS "{n}"' for n in batch.patterns)
            count = len(next(iter(batch.patterns.values())))
            source += f" JOIN (SELECT unnest(range({count})) AS number, {lists}) AS p ON p.number = pattern"
            parameters += [list(several) for several in batch.patterns.values()]
        columns = ", ".join(f'"{n}"' for n in taken)
        if self._compressed:
            if self._uncommitted >= _TOGETHER:
                self._settle()
                if self._commits % _COMPRESSED == 0:
                    self._db.execute("CHECKPOINT compressed")
            if not self._uncommitted:
                self._db.execute("BEGIN TRANSACTION")
            self._uncommitted += 1
        self._db.execute(
            f'INSERT INTO "{table.name}" ({columns}) SELECT {", ".join(made)} FROM {source}',  # noqa: S608
            parameters,
        )
        batch.file.unlink()

    def _settle(self) -> None:
        """Commit what was appended. Committing, and compressing, each batch by itself would take twice as long."""
        if self._uncommitted:
            self._db.execute("COMMIT")
            self._uncommitted = 0
            self._commits += 1

    def name_paths(self, paths: Sequence[str], *, large: bool = False) -> None:
        """State the dataset files there will be, before any row of them: a path then takes one byte per row.

        With `large`, tables of the dataset are kept compressed in memory.
        """
        listed = f"ENUM({', '.join(_string(p) for p in dict.fromkeys(paths))})"
        self._large |= large
        if large and not self._compressed:
            try:
                self._db.execute("ATTACH ':memory:' AS compressed (COMPRESS)")
                self._db.execute(f"SET memory_limit = '{_OF_LARGE}'")
                # Else every commit of some megabytes compresses, too: what `_settle` does rarely costs half as much.
                self._db.execute("SET checkpoint_threshold = '1TB'")
                # For paths four times as slow as the next best, and no smaller (duckdb 2.0.1).
                self._db.execute("SET disabled_compression_methods = 'dict_fsst'")
                self._db.execute("SET search_path = 'memory.main,compressed.main'")
                self._compressed = True
            except driver().Error:  # before DuckDB 1.4
                large = False
        for table in tables().values():
            if any(c.name == "path" for c in table.columns) and table.name in _OF_DATASET:
                place = "compressed" if large else "memory"
                self._db.execute(f'DROP TABLE "{table.name}"')
                ddl = Table(table.name, table.row, tuple(_pathed(c, listed) for c in table.columns)).ddl
                self._db.execute(ddl.replace("CREATE TABLE ", f"CREATE TABLE {place}.main."))

    def stage(self, name: str, types: Mapping[str, str], rows: Iterable[Row]) -> None:
        """Append rows to a table of the collector's own, which exists from here on."""
        self._settle()
        table = Table(name, "", tuple(Column(n, t, "") for n, t in types.items()))
        self._own.add(name)
        self._db.execute(table.ddl.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
        remaining = iter(rows)
        while batch := list(islice(remaining, _BATCH)):
            self._load(table, batch)

    def derive(self, name: str, sql: str) -> None:
        """Make a table of the collector's own from a SELECT."""
        self._settle()
        self._own.add(name)
        self._db.execute(f'CREATE OR REPLACE TABLE "{name}" AS {sql}')

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """What a collector's query on the facts so far gives, streamed."""
        self._settle()
        cursor = self._db.cursor()
        try:
            if self._compressed:
                cursor.execute("SET search_path = 'memory.main,compressed.main'")
            cursor.execute(sql, parameters)
            while rows := cursor.fetchmany(_BATCH):
                yield from rows
        finally:
            cursor.close()

    def remake(self, table: str, sql: str) -> None:
        """Replace all rows of `table` by those of a SELECT that gives its columns, by name; others become NULL."""
        self._settle()
        place = "compressed.main" if self._compressed and table in _OF_DATASET else "memory.main"
        self._db.execute(f'CREATE TABLE {place}."remade" AS FROM "{table}" LIMIT 0')
        self._db.execute(f'INSERT INTO {place}."remade" BY NAME {sql}')
        self._db.execute(f'DROP TABLE {place}."{table}"')
        self._db.execute(f'ALTER TABLE {place}."remade" RENAME TO "{table}"')

    def unknown(self, fact: str, reason: str, count: int | None = None) -> None:
        """State that a table or column could not be collected, and why."""
        self.add("unknown", [{"fact": fact, "reason": reason, "count": count}])

    def forget(self, table: str) -> None:
        """Drop what was added to `table`; it counts as not collected."""
        self._db.execute(f'DELETE FROM "{table}"')  # noqa: S608
        self.collected.discard(table)

    def _load(self, table: Table, rows: Sequence[Row]) -> None:
        # Newline-delimited JSON is DuckDB's fastest way in without numpy or pyarrow: 200,000 rows of 8 columns take
        # 0.2 s, executemany 200 s (duckdb 2.0.0).
        import msgspec

        file = self._folder / "batch.ndjson"
        plain = _plain(table)
        encode = msgspec.json.Encoder().encode_lines
        prepared = [plain(row) for row in rows] if plain else list(rows)
        try:
            data = encode(prepared)
        except UnicodeEncodeError:  # lone surrogates from "\ud800" in someone's JSON
            data = encode([_without_surrogates(row) for row in prepared])
        file.write_bytes(data)
        # DuckDB's reader allocates twice this per thread, so it follows the longest row instead of a generous maximum.
        longest = max(4 * 2**20, 2 * max(map(len, data.splitlines()), default=0))
        columns = _given(table, rows)
        names = ", ".join(f'"{c.name}"' for c in columns)
        spec = ", ".join(f"{_string(c.name)}: {_string(c.type)}" for c in columns)
        self._db.execute(
            f"INSERT INTO \"{table.name}\" ({names}) SELECT {names} FROM read_json(?, format = 'newline_delimited',"  # noqa: S608
            f" columns = {{{spec}}}, maximum_object_size = {longest})",
            [str(file)],
        )
        file.unlink()

    # -- judging

    def lock(self) -> None:
        """From here on nothing but facts can be read, and no setting can be changed. Idempotent."""
        self._settle()
        if not self.locked:
            for name in self._own:
                self._db.execute(f'DROP TABLE IF EXISTS "{name}"')
            self._own.clear()
            if self._large:
                self._db.execute("RESET threads")
            self._db.execute("SET enable_external_access = false")
            self._db.execute("SET lock_configuration = true")
            self.locked = True

    def query(self, sql: str, parameters: Sequence[Any] = (), *, seconds: float | None = None) -> Result:
        """Run one query in a read-only transaction; `parameters` stand for its question marks.

        Raises RuleTimeout after `seconds` (default: the limit), and DuckDB's own errors.
        """
        seconds = self.limits.seconds if seconds is None else seconds
        if not self._reading:
            self._db.execute("BEGIN TRANSACTION READ ONLY")
            self._reading = True
        try:
            with self._deadline.within(seconds):
                return self.look(sql, parameters)
        except driver().InterruptException as error:
            if self._deadline.passed:
                raise RuleTimeout(f"stopped after {seconds:g} s") from error
            raise
        finally:
            if not self.locked:  # afterwards nothing is written: one transaction serves all rules
                self._end_reading()

    def look(self, sql: str, parameters: Sequence[Any] = ()) -> Result:
        """Run a small query of the engine's own, without a transaction and a time limit of its own."""
        try:
            cursor = self._db.execute(sql, parameters)
            columns = [d[0] for d in cursor.description or ()]
            return Result(columns, cursor.fetchall())
        except BaseException:
            self._end_reading()  # an error ends it for DuckDB, too
            raise

    def _end_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._db.execute("ROLLBACK")

    def table_names(self, sql: str) -> set[str]:
        """Tables that `sql` reads."""
        return set(self._db.get_table_names(sql))

    def statements(self, sql: str) -> list[str]:
        """Statement types in `sql`, in upper case."""
        return [str(s.type).rsplit(".", 1)[-1].upper() for s in self._db.extract_statements(sql)]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table as dictionaries."""
        return self.look(f'SELECT * FROM "{table}"').dicts()  # noqa: S608

    def count(self, table: str, column: str | None = None) -> int:
        """Rows in a table; those that have a value in `column`."""
        counted = (table, column)
        if counted not in self._counts or not self.locked:  # afterwards it stays the same
            what = f'"{column}"' if column else "*"
            self._counts[counted] = int(self.look(f'SELECT count({what}) FROM "{table}"').rows[0][0])  # noqa: S608
        return self._counts[counted]

    def count_all(self, columns: Iterable[str]) -> None:
        """Count the values of columns ("run.zero_stage") for later, in one query per table. Must come after `lock`."""
        wanted: dict[str, list[str]] = {}
        for column in dict.fromkeys(columns):
            table, _, name = column.partition(".")
            if (table, name) not in self._counts and table in self.collected:
                wanted.setdefault(table, []).append(name)
        for table, names in wanted.items():
            counted = ", ".join(f'count("{name}")' for name in names)
            (row,) = self.look(f'SELECT {counted} FROM "{table}"').rows  # noqa: S608
            self._counts.update({(table, name): int(count) for name, count in zip(names, row, strict=True)})

    # -- keeping

    def save(self, path: Path) -> None:
        """Write all facts to a DuckDB file, atomically. Must come before `lock`."""
        self._settle()
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db.execute(f"ATTACH {_literal(part)} AS saved")
        except Exception as error:
            raise UsageError(f"cannot write facts: {error}", where=str(path)) from error
        try:
            for name in sorted(tables()):
                # paths are an ENUM of this store's; text again for whoever opens the file
                text = ", ".join(f'"{c}"::VARCHAR AS "{c}"' for c in ("path",) if c in _names(name))
                replaced = f"* REPLACE ({text})" if text else "*"
                self._db.execute(f'CREATE TABLE saved."{name}" AS SELECT {replaced} FROM "{name}"')  # noqa: S608
            self._db.execute("CREATE TABLE saved.collected (name VARCHAR)")
            self._db.executemany("INSERT INTO saved.collected VALUES (?)", [[n] for n in sorted(self.collected)])
        finally:
            self._db.execute("DETACH saved")
        part.replace(path)

    def load(self, path: Path) -> None:
        """Take the facts of a file that `save` wrote.

        The file may come from anywhere: only real tables are read, after file access has been switched off, so that
        a view planted in it can read nothing. The store is locked afterwards. Raises UsageError for another file.
        """
        if not path.is_file():
            raise UsageError("no such facts file", where=str(path), hint="write one with --save FILE")
        try:
            self._db.execute(f"ATTACH {_literal(path)} AS given (READ_ONLY)")
        except driver().Error as error:
            raise UsageError(
                f"not a facts file: {str(error).splitlines()[0]}", where=str(path), hint="write one with --save FILE"
            ) from error
        self._large = True  # nobody knows how much is in it
        self.lock()
        there: dict[str, set[str]] = {}
        for name, column in self._db.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'given' AND table_name IN "
            "(SELECT table_name FROM duckdb_tables() WHERE database_name = 'given')"
        ).fetchall():
            there.setdefault(name, set()).add(column)
        if "collected" not in there:
            raise UsageError("a DuckDB file, but not one that lorachk wrote", where=str(path))
        for name, table in tables().items():
            # Columns of another lorachk version: those it lacks stay NULL, those unknown here are left behind.
            shared = [f'"{c.name}"' for c in table.columns if c.name in there.get(name, ())]
            if shared:
                columns = ", ".join(shared)
                self._db.execute(f'INSERT INTO memory."{name}" ({columns}) SELECT {columns} FROM given."{name}"')  # noqa: S608
        self.collected = {n for (n,) in self._db.execute("SELECT name FROM given.collected").fetchall()} & set(tables())


def _literal(path: Path) -> str:
    """The path as an SQL string: DuckDB 1 takes no parameter in ATTACH."""
    return _string(str(path))


def _string(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _names(table: str) -> set[str]:
    return {c.name for c in tables()[table].columns}


def _made(name: str, batch: Batch, types: Mapping[str, str]) -> str:
    """The SQL of one column of a batch."""
    if name in batch.words:
        cases = " ".join(
            f"WHEN {n} THEN {_string(w)}::{types[name]}" for n, w in enumerate(batch.words[name]) if w is not None
        )
        return f'CASE "{name}" {cases} END'
    if batch.patterns is not None and name not in _OF_RECORD:
        return f'unnest("{name}")'
    return f'"{name}" + {batch.shifts[name]:d}' if name in batch.shifts else f'"{name}"'


def _list_of(name: str, batch: Batch, types: Mapping[str, str]) -> str:
    """The type of a column in a batch's file."""
    if name in batch.words:
        return "SMALLINT[]"
    if name == "pattern":
        return "INTEGER[]"
    kind = "VARCHAR" if types[name].startswith("ENUM") else types[name]
    return f"{kind}[]" if batch.patterns is None or name in _OF_RECORD else f"{kind}[][]"


def _pathed(column: Column, listed: str) -> Column:
    return column._replace(type=listed) if column.name == "path" else column


def _given(table: Table, rows: Sequence[Row]) -> Sequence[Column]:
    """Columns that have a value in some row, as far as that is quick to tell: the table `run` has 128, mostly NULL."""
    if len(rows) > _FEW:
        return table.columns
    given = {name for row in rows for name, value in row.items() if value is not None}
    return [c for c in table.columns if c.name in given] or table.columns[:1]


def _plain(table: Table) -> Any:
    """Make rows of `table` fit for JSON, or None when nothing in it needs that."""
    places = [c.name for c in table.columns if c.type == LOCATION]
    reals = [c.name for c in table.columns if c.type == "DOUBLE"]
    if not places and not reals:
        return None

    def plain(row: Row) -> Row:
        changed = dict(row)
        for name in places:
            value = changed.get(name)
            if isinstance(value, tuple):
                changed[name] = dict(zip(("path", "line", "col", "pointer"), value, strict=False))
        for name in reals:
            value = changed.get(name)
            if isinstance(value, float) and not math.isfinite(value):
                changed[name] = str(value)  # JSON has no NaN; DuckDB reads the words
        return changed

    return plain


def _without_surrogates(row: Row) -> Row:
    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
        if isinstance(value, (list, tuple)):
            return [clean(v) for v in value]
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items()}
        return value

    return {k: clean(v) for k, v in row.items()}
