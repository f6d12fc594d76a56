"""What a collector is: a function that looks at one thing and adds rows to its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lorachk.run import Run, Setting, Source

Row = Mapping[str, Any]


class Batch(NamedTuple):
    """Rows of one table as columns in a file: one JSON object of equally long arrays, by column name.

    `constants` are values that all rows share. `shifts` are added to columns that count from the start of a part.
    Where `words` has a column, the file has numbers from 0 that stand for these texts (or NULL).
    With `patterns`, each row stands for several: the file's columns but `record` and `pattern` hold a list, as have the
    columns of `patterns` for each pattern, and all are unnested side by side; without `bytes`, it equals `characters`.
    `numbered`: the column `pointer` is this and the record's number.
    """

    table: str
    file: Path
    bytes: int
    names: Sequence[str]
    constants: Mapping[str, Any]
    shifts: Mapping[str, int]
    words: Mapping[str, Sequence[Any]]
    numbered: str | None = None
    patterns: Mapping[str, Sequence[Sequence[Any]]] | None = None


class Sink(Protocol):
    """Where rows go. The engine's store is one; tests use a plain dictionary."""

    def add(self, table: str, rows: Iterable[Row]) -> None:
        """Append rows; keys are column names, missing columns are NULL. Unknown columns are an error."""

    def unknown(self, fact: str, reason: str, count: int | None = None) -> None:
        """State that a table ("gpu") or a column ("image.exists") could not be collected, and why.

        Rules that need it are then skipped with this reason instead of passed.
        """


class ColumnSink(Sink, Protocol):
    """What a collector of millions of rows needs besides."""

    def append(self, batch: Batch) -> None:
        """Append rows that stand as columns in a file, and delete the file."""

    def name_paths(self, paths: Sequence[str], *, large: bool = False) -> None:
        """State the dataset files there will be, before any row of them: a path then takes one byte per row.

        With `large`, rows of the dataset are kept compressed.
        """

    def stage(self, name: str, types: Mapping[str, str], rows: Iterable[Row]) -> None:
        """Append rows to a table of the collector's own, for its `select` and `remake`; columns and DuckDB types."""

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """What a query on the facts so far gives, row by row."""

    def derive(self, name: str, sql: str) -> None:
        """Make a table of the collector's own from a SELECT."""

    def remake(self, table: str, sql: str) -> None:
        """Replace all rows of `table` by those of a SELECT that gives its columns, by name; others become NULL."""


class NotCollected(Exception):
    """Raised by a collector that cannot look at all; its tables become unknown with this reason."""


@dataclass(frozen=True)
class Options:
    """How thorough to look; what is run stands in `Run`."""

    deep: bool = False  # decode every image instead of a sample
    fetch_urls: bool = False  # download images that are http(s) URLs
    workers: int | None = None  # processes for images; None: one per CPU
    trust_remote_code: bool = False
    rehearsal_steps: int = 3
    rehearsal_ranks: int = 2
    rehearsal_timeout: float = 600.0  # seconds
    real_weights: bool = False  # smoke-train the user's own weights on the GPU instead of a miniature
    trace: bool = True  # trace activations on fake tensors (needs torch); else closed formulas
    progress: Callable[[str], None] | None = None  # one line of what is going on, for people
    bar: Callable[[int, int | None, str], None] | None = None  # done, total when known, of what


@dataclass
class Context:
    """What collectors see: the run, the files it was resolved from, and each other's by-products."""

    run: Run
    sink: Sink
    settings: list[Setting] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    options: Options = field(default_factory=Options)
    shared: dict[str, Any] = field(default_factory=dict)  # built once, used by later collectors (e.g. the meta model)

    def say(self, text: str) -> None:
        """Tell the person who waits what is going on."""
        if self.options.progress:
            self.options.progress(text)

    def progress(self, done: int, total: int | None, what: str) -> None:
        """Tell how far a long look has come: `done` of `total` (None: not known) `what` ("MB of train.json")."""
        if self.options.bar:
            self.options.bar(done, total, what)


class Collector(NamedTuple):
    """A collector's entry in the registry; `function` is imported only when one of its tables is needed."""

    tables: tuple[str, ...]
    function: str  # "module:function"
    after: tuple[str, ...] = ()  # tables that must be collected first

    def run(self, context: Context) -> None:
        """Import and call the collector."""
        module, name = self.function.split(":")
        getattr(import_module(module), name)(context)


# In the order in which they run: cheap first, the rehearsal last.
COLLECTORS: tuple[Collector, ...] = (
    Collector(("run", "setting", "source", "argument", "resolved"), "lorachk.facts.settings:collect"),
    Collector(("known_argument", "given_argument"), "lorachk.facts.arguments:collect"),
    Collector(("registry",), "lorachk.facts.registry:collect"),
    Collector(("script",), "lorachk.facts.script:collect"),
    Collector(("model_code",), "lorachk.facts.model_code:collect"),
    Collector(("checkpoint",), "lorachk.facts.checkpoint:collect"),
    Collector(("ds_key",), "lorachk.facts.deepspeed_keys:collect"),
    Collector(("ds_value",), "lorachk.facts.ds_values:collect"),
    Collector(("package",), "lorachk.facts.packages:collect"),
    Collector(("host",), "lorachk.facts.machine:collect_host"),
    Collector(("gpu",), "lorachk.facts.machine:collect_gpus"),
    Collector(("gpu_pair",), "lorachk.facts.machine:collect_pairs"),
    Collector(("tool",), "lorachk.facts.toolchain:collect"),
    Collector(("environment",), "lorachk.facts.environ:collect"),
    Collector(
        ("dataset", "record", "field", "turn", "image", "box", "encoding", "tokenizer", "remedy", "worst"),
        "lorachk.facts.dataset:collect",
    ),
    Collector(("weight",), "lorachk.facts.weights:collect"),
    Collector(("module", "target", "hit", "parameter"), "lorachk.facts.model:collect"),
    Collector(("memory", "fit"), "lorachk.facts.memory:collect", after=("parameter", "gpu")),
    Collector(("rehearsal", "step", "gradient", "update", "saved", "hazard"), "lorachk.facts.rehearsal:collect"),
)
