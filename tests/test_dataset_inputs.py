"""What the user names is what is read: files, folders, patterns, standard input, URLs, compressed files, Parquet."""

from __future__ import annotations

import errno
import gzip
import io
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard

from lorachk.errors import UsageError
from lorachk.facts.records import remote, spool, stream
from lorachk.facts.records.datafile import data_file
from lorachk.facts.records.inputs import STDIN, DataFile, expand
from lorachk.facts.records.parquet import read_parquet
from lorachk.facts.records.stream import Stream, place
from lorachk.run import Location

TEXT = b'[{"id": 1}]'
LINES = b"".join(b'{"id": %d, "text": "a line that is not so short"}\n' % n for n in range(20_000))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    spool.forget()


def make(*names: str, content: bytes = TEXT) -> None:
    for number, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content + b" " * number)


def shown(*names: str, **options: Any) -> list[str]:
    return [file.path for file in expand(names, "train", **options)]


def all_of(source: DataFile | Path | str, size: int = 1 << 20) -> tuple[bytes, Stream]:
    opened = Stream(source)
    parts = []
    while data := opened.read(size):
        parts.append(data)
    opened.close()
    return b"".join(parts), opened


# -- names


def test_a_folder_gives_its_data_in_order_and_says_what_it_leaves_out() -> None:
    """A run would otherwise be judged by a checkpoint's config.json, or by files in a random order."""
    make("d/b.jsonl", "d/a.json", "d/c.parquet", "d/e.ndjson.gz", "d/F.JSON.zst", "d/.hidden.json", "d/a.jpg")
    make("d/dataset_info.json", "d/ds_config.json", "d/trainer_state.json", "d/adapter_config.json", "d/sub/x.json")
    said: list[str] = []
    assert shown("d", say=said.append) == ["d/F.JSON.zst", "d/a.json", "d/b.jsonl", "d/c.parquet", "d/e.ndjson.gz"]
    assert "adapter_config.json, dataset_info.json, ds_config.json, trainer_state.json left out" in said[0]


def test_subfolders_are_read_only_when_the_folder_has_no_data_itself() -> None:
    make("d/two/b.json", "d/one/deep/a.jsonl", "d/.git/x.json", "d/config.json")
    assert shown("d") == ["d/one/deep/a.jsonl", "d/two/b.json"]


@pytest.mark.parametrize(
    ("files", "hint"),
    [((), "it is empty"), (("d/a.arrow", "d/b.arrow", "d/x.csv"), "2 .arrow, 1 .csv"), (("d/config.json",), "no data")],
)
def test_a_folder_without_data_is_an_error_that_says_what_it_holds(files: tuple[str, ...], hint: str) -> None:
    """Nothing read must never look like nothing wrong."""
    Path("d").mkdir()
    make(*files)
    with pytest.raises(UsageError, match="is a folder without a data file") as error:
        expand(["d"], "train")
    assert hint in str(error.value.hint)


def test_links_in_a_circle_end() -> None:
    make("d/one/a.json")
    for name in ("x", "y"):  # two of them: following links would take 2**40 steps
        Path("d/one", name).symlink_to("..")
    assert shown("d") == ["d/one/a.json"]
    assert shown("d/**/*.json") == ["d/one/a.json"]
    Path("loop.json").symlink_to("loop.json")
    with pytest.raises(UsageError, match=r"loop\.json cannot be read: .*symbolic links"):
        expand(["loop.json"], "train")


def test_a_link_to_nothing_in_a_folder_is_not_passed_over() -> None:
    """Half of a dataset on a disk that is not mounted would otherwise go unread without a word."""
    make("d/a.json")
    Path("d/b.json").symlink_to("/nowhere/b.json")
    with pytest.raises(UsageError, match=r"d/b\.json is a link"):
        expand(["d"], "train")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("d/*.json", ["d/a.json", "d/b.json"]),
        ("d/[b-z].json", ["d/b.json"]),
        ("d/**/*.json", ["d/a.json", "d/b.json", "d/s/c.json"]),
        ("d/**", ["d/a.json", "d/b.json", "d/s/c.json"]),
        ("?/s", ["d/s/c.json"]),
        ("d/.h*", ["d/.h.json"]),
    ],
)
def test_patterns_that_the_shell_did_not_expand(pattern: str, found: list[str]) -> None:
    make("d/a.json", "d/b.json", "d/s/c.json", "d/.h.json")
    assert shown(pattern) == found
    assert shown(str(Path.cwd() / pattern)) == [str(Path.cwd() / name) for name in found]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file() -> None:
    make("a[1].json", "a1.json")
    assert shown("a[1].json") == ["a[1].json"]


@pytest.mark.parametrize("pattern", ["*.jsonl", "no/*.json", "**a.json/**b"])
def test_a_pattern_without_a_match_is_an_error(pattern: str) -> None:
    make("a.json")
    with pytest.raises(UsageError, match=r"nothing matches|is no pattern"):
        expand([pattern], "train")


def test_the_same_file_counts_once() -> None:
    """Its records would be reported as duplicates of each other."""
    make("d/a.json", "d/b.json")
    Path("link.json").symlink_to("d/a.json")
    assert shown("d/a.json", "d/*.json", "d", str(Path.cwd() / "d/a.json"), "link.json") == ["d/a.json", "d/b.json"]


@pytest.mark.parametrize(
    ("there", "named", "hint"),
    [
        ("d/train.jsonl", "d/train.json", "did you mean 'd/train.jsonl'?"),
        ("d/Train.json", "d/train.json", "did you mean 'd/Train.json'?"),
        ("d/train.json.gz", "d/train.json", "did you mean 'd/train.json.gz'?"),
        ("d/trian.json", "d/train.json", "did you mean 'd/trian.json'?"),
        ("d/zebra.json", "d/train.json", "paths are relative to this folder"),
        ("d/a.json", "e/train.json", "there is no folder 'e'"),
    ],
)
def test_a_missing_file_and_what_was_probably_meant(there: str, named: str, hint: str) -> None:
    make(there)
    with pytest.raises(UsageError, match=f"no such data file: {named}") as error:
        expand([named], "train")
    assert hint in str(error.value.hint)


def test_an_error_names_the_setting_it_comes_from() -> None:
    with pytest.raises(UsageError) as error:
        expand(["x.json"], "train", at=Location("lorachk.toml", 3, 8))
    assert (error.value.where, error.value.hint) == ("lorachk.toml:3", "paths are relative to the file naming them")


def test_names_on_the_hub_are_unknown_for_trainers_that_load_from_it() -> None:
    names: list[str] = []
    assert expand(["org/name"], "train", trainer="trl", unread=names.append) == []
    assert names == ["org/name"]
    make("t.jsonl")
    assert shown("t.jsonl#500", trainer="ms-swift") == ["t.jsonl"]
    with pytest.raises(UsageError):
        expand(["t.jsonl#500"], "train", trainer="trl")


@pytest.mark.parametrize("name", ["", "a\0b.json", "x" * 5000 + ".json", "a.json/x", "~nobody-of-this-name/x.json"])
def test_names_that_no_file_can_have(name: str) -> None:
    make("a.json")
    with pytest.raises(UsageError):
        expand([name], "train")


def test_pipes_and_devices_are_refused_instead_of_read_for_ever() -> None:
    os.mkfifo("p.json")
    for name, kind in (("p.json", "a pipe"), ("/dev/zero", "a device"), ("*.json", "a pipe"), (".", "a pipe")):
        with pytest.raises(UsageError, match=f"is {kind}, not a data file"):
            expand([name], "train")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_an_error() -> None:
    make("d/a.json", "d/s/b.json")
    Path("d/a.json").chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        expand(["d"], "train")


def test_an_error_while_a_folder_is_read_is_not_taken_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, also for root: a folder that cannot be listed is not an empty one."""
    make("d/s/b.json")
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("s"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match="d/s cannot be read: Permission denied"):
        expand(["d"], "train")


def test_hostile_names_are_files_like_others() -> None:
    names = ["a\nb.json", "\x1b[31mred.json", "ü 'quoted' \".json", "-.json", "--help.json"]
    make(*names)
    assert shown(".") == sorted(f"./{name}" for name in names)


def test_a_folder_of_ten_thousand_files() -> None:
    Path("d").mkdir()
    for number in range(10_000):
        Path(f"d/{number:05}.json").touch()
    files = expand(["d"], "eval")
    assert [file.path for file in files] == [f"d/{number:05}.json" for number in range(10_000)]
    assert {(file.split, file.bytes) for file in files} == {("eval", 0)}


# -- standard input and URLs


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(content)
    monkeypatch.setattr(sys, "stdin", os.fdopen(reading))


def test_standard_input_is_read_and_its_copy_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, gzip.compress(TEXT))
    (file,) = expand(["-"], "train")
    assert (file.path, file.compression, file.spooled) == (STDIN, "gzip", True)
    assert all_of(file)[0] == all_of(file)[0] == TEXT
    spool.forget()
    assert not Path(file.local).parent.exists()


def test_the_copy_goes_with_the_process_also_on_interrupt(tmp_path: Path) -> None:
    """Gigabytes in /tmp after every Ctrl-C would fill the disk."""
    program = (
        "import signal, sys\nfrom lorachk import stopping\nfrom lorachk.facts.records.inputs import expand\n"
        "stopping.listen()\n"
        "def say(text): signal.raise_signal(signal.SIGTERM)\n"  # in the middle of the copy
        "try: expand(['-'], 'train', say=say)\n"
        "except KeyboardInterrupt: sys.exit(143)\n"
    )
    temporary = tmp_path / "t"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program], input=TEXT, env={**os.environ, "TMPDIR": str(temporary)}, timeout=60
    )
    assert done.returncode == 143
    assert list(temporary.iterdir()) == []


def test_a_forked_worker_does_not_remove_the_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, TEXT)
    (file,) = expand(["-"], "train")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    spool.forget()
    assert Path(file.local).exists()
    monkeypatch.undo()
    Path(file.local).unlink()
    Path(file.local).parent.rmdir()


def test_a_full_disk_is_said_before_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, TEXT)
    monkeypatch.setattr(spool, "_SPARE", 1 << 60)
    with pytest.raises(UsageError, match="<stdin> cannot be read: No space left") as error:
        expand(["-"], "train")
    assert "TMPDIR" in str(error.value.hint)


def test_standard_input_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    for device, what in (("/dev/zero", "a device"), (None, "closed")):
        with open(device or "x", "rb" if device else "wb") as file:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file) if device else None)
            with pytest.raises(UsageError, match=what):
                expand(["-"], "train")


def test_what_the_shell_makes_of_a_command() -> None:
    """`lorachk data <(zcat x.gz)`"""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(TEXT)
    (found,) = expand([f"/dev/fd/{reading}"], "train")
    os.close(reading)
    assert all_of(found)[0] == TEXT


def test_urls_of_files(tmp_path: Path) -> None:
    make("a b.json", "c%20d.json")
    assert shown(f"file://{tmp_path}/a%20b.json", f"file://localhost{tmp_path}/c%20d.json") == [
        f"{tmp_path}/a b.json",
        f"{tmp_path}/c%20d.json",
    ]
    with pytest.raises(UsageError, match="no such data file"):
        expand([f"file://{tmp_path}/x.json"], "train")


def test_what_fsspec_can_fetch_is_read_from_a_copy() -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    for name in ("/lorachk/d/a.json", "/lorachk/d/b.jsonl.gz", "/lorachk/d/config.json", "/lorachk/d/x.jpg"):
        files.pipe(name, gzip.compress(TEXT) if name.endswith("gz") else TEXT)
    try:
        for name in ("memory://lorachk/d", "memory://lorachk/d/[ab].*"):
            found = expand([name], "train")
            assert [f.path for f in found] == ["memory://lorachk/d/a.json", "memory://lorachk/d/b.jsonl.gz"]
            assert [all_of(f)[0] for f in found] == [TEXT, TEXT]
        for name in ("memory://lorachk/none.json", "memory://lorachk/*.csv", "memory://lorachk/d/*.csv"):
            with pytest.raises(UsageError, match="no such data file: memory://"):
                expand([name], "train")
    finally:
        files.rm("/lorachk", recursive=True)


def test_a_protocol_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match="s3:// needs s3fs") as error:
        expand(["s3://bucket/a.json"], "train")
    assert "pip install s3fs" in str(error.value.hint)
    with pytest.raises(UsageError, match="Protocol not known: nonsense"):
        expand(["nonsense://bucket/a.json"], "train")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError, match="needs the package fsspec") as error:
        expand(["gs://bucket/a.json"], "train")
    assert "pip install fsspec gcsfs" in str(error.value.hint)


def test_a_storage_that_fails_in_its_own_way_gives_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Files:
        def exists(self, path: str) -> bool:
            raise RuntimeError(f"Unable to locate credentials\nfor {path}")

    monkeypatch.setattr(remote, "_file_system", lambda url, scheme, where: (Files(), "b/a.json"))
    with pytest.raises(UsageError, match=r"s3://b/a\.json cannot be read: RuntimeError: Unable to locate") as error:
        expand(["s3://user:secret@b/a.json"], "train")
    assert "environment" in str(error.value.hint)
    assert "secret" not in str(error.value)


def test_secrets_in_a_url_are_not_shown() -> None:
    """Reports are attached to bug reports."""
    assert remote.shown("https://me:pw@host/a.json?X-Amz-Signature=abc") == "https://host/a.json?..."


# -- compression


def packed(kind: str, data: bytes) -> bytes:
    return gzip.compress(data, 1) if kind == "gzip" else zstandard.ZstdCompressor(write_checksum=True).compress(data)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_compressed_files_by_their_bytes_and_not_their_name(kind: str) -> None:
    make("a.json", content=packed(kind, LINES))
    file = data_file("a.json")
    assert (file.compression, file.seekable, file.bytes) == (kind, False, Path("a.json").stat().st_size)
    for size in (1, 1 << 10, 1 << 30):
        data, opened = all_of(file, size) if size > 1 else (LINES, Stream(file))
        assert (data, opened.fault, opened.head) == (LINES, None, LINES[:64])
    assert place(file, LINES.index(b"777")) == place(write("b.json", LINES), LINES.index(b"777"))


def write(name: str, data: bytes) -> str:
    Path(name).write_bytes(data)
    return name


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_several_members_one_after_the_other(kind: str) -> None:
    """`cat a.gz b.gz`, pigz, pzstd: only the first part would be read."""
    make("a", content=packed(kind, LINES) + packed(kind, b"") + packed(kind, TEXT))
    data, opened = all_of("a")
    assert (data, opened.fault) == (LINES + TEXT, None)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("missing", [1, 4, 9, 5_000])
def test_a_file_that_is_cut_off_gives_what_is_there_and_says_so(kind: str, missing: int) -> None:
    """Taken for whole it would hide that most of the dataset is missing; a traceback would hide the rest."""
    whole = packed(kind, LINES)
    make("a", content=whole[:-missing])
    data, opened = all_of("a")
    assert LINES.startswith(data)
    assert len(data) > 10_000
    assert opened.fault is not None
    assert f"the {kind} data is cut off" in opened.fault.text
    assert f"{len(whole) - missing:,} compressed bytes" in opened.fault.text
    assert opened.fault.offset == len(data)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_broken_and_foreign_bytes(kind: str) -> None:
    whole = packed(kind, LINES)
    half = len(whole) // 2
    make("flipped", content=whole[:half] + bytes(255 - byte for byte in whole[half : half + 50]) + whole[half + 50 :])
    make("trailing", content=whole + b"something else")
    make("only-a-head", content=whole[:11])
    for name in ("flipped", "trailing", "only-a-head"):
        data, opened = all_of(name)
        assert opened.fault is not None, name
        assert f"the {kind} data is" in opened.fault.text
        assert data == LINES if name == "trailing" else data[:100] == (LINES[:100] if name == "flipped" else b"")


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_does_not_fill_the_memory(kind: str) -> None:
    size = 256 << 20
    if kind == "gzip":
        with gzip.open("a", "wb", 3) as file:
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
    else:
        with zstandard.ZstdCompressor(19).stream_writer(Path("a").open("wb")) as writer:
            for _ in range(size >> 20):
                writer.write(bytes(1 << 20))
    assert Path("a").stat().st_size < 2 << 20
    tracemalloc.start()
    try:
        opened, length = Stream("a"), 0
        while data := opened.read():
            length += len(data)
        assert tracemalloc.get_traced_memory()[1] < 180 << 20
    finally:
        tracemalloc.stop()
    assert length == size


def test_a_zstd_window_that_is_too_large_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    make("a", content=compressor.compress(LINES) + compressor.flush())
    _, opened = all_of("a")
    assert opened.fault is not None
    assert "--long=31" in opened.fault.text


def test_zstd_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    make("a.zst", content=packed("zstd", TEXT))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UsageError, match="zstandard"):
        expand(["a.zst"], "train")


@pytest.mark.parametrize("kind", [None, "gzip", "zstd"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_encodings_inside_compressed_files_and_going_on_at_an_offset(kind: str | None, encoding: str) -> None:
    """The place of a finding is found by its byte offset in the UTF-8 text."""
    text = '[{"text": "grüße 🙂"},\n' * 3000
    data = text.encode(encoding)
    make("a", content=packed(kind, data) if kind else data)
    found, opened = all_of("a", 1000)
    assert (found.decode(), opened.encoding) == (text, encoding)
    for offset in (0, 1, 1000, 70_001, len(text.encode()) + 5):
        again = Stream("a")
        again.skip(offset)
        rest = b""
        while block := again.read(100):
            rest += block
        assert rest == text.encode()[offset:]
        again.close()


def test_a_disk_that_fails_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 2000:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(min(size or 0, 1000))

    make("a.json", content=LINES)
    monkeypatch.setattr(DataFile, "open", lambda _: Failing(LINES))
    data, opened = all_of("a.json")
    assert data == LINES[:2000]
    assert opened.fault == stream.Fault("the file cannot be read on: Input/output error", 2000, json=False)


# -- Parquet


def parquet(name: str, query: str, options: str = "") -> str:
    import duckdb

    with duckdb.connect(config={"threads": 1}) as database:
        Path("made.tmp").unlink(missing_ok=True)
        database.execute(f"COPY ({query}) TO 'made.tmp' (FORMAT parquet {options})")
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path("made.tmp").rename(name)
    return name


def rows(name: str) -> tuple[list[Any], list[str]]:
    faults: list[str] = []
    (file,) = expand([name], "train")
    assert file.container == "parquet"
    before = Path(file.local).read_bytes()
    read = list(read_parquet(file, lambda fault: faults.append(fault.text)))
    assert Path(name).read_bytes() == before, "the user's file was touched"
    assert [number for number, _ in read] == list(range(len(read)))
    return [value for _, value in read], faults


def test_parquet_gives_the_values_that_json_gives() -> None:
    query = """SELECT i AS id, [{'role': 'user', 'content': 'ü "q" \n' || i}, NULL] AS conversations,
        NULL::INTEGER AS n, 'nan'::DOUBLE AS x, 1.5::DOUBLE AS y, true AS b, [[1, 2], []] AS boxes,
        MAP {'k': 1} AS m, 'a/b' AS "we""ird/na me",
        TIMESTAMP '2020-01-02 03:04:05' AS t, 1.50::DECIMAL(9, 2) AS d,
        '12345678-1234-1234-1234-123456789012'::UUID AS u FROM range(2500) r(i)"""
    read, faults = rows(parquet("a.parquet", query))
    assert (len(read), faults) == (2500, [])
    last = read[-1]
    assert str(last.pop("x")) == "nan"
    assert last == {
        "id": 2499,
        "conversations": [{"role": "user", "content": 'ü "q" \n2499'}, None],
        "n": None,
        "y": 1.5,
        "b": True,
        "boxes": [[1, 2], []],
        "m": {"k": 1},
        'we"ird/na me': "a/b",
        "t": "2020-01-02 03:04:05",
        "d": 1.5,
        "u": "12345678-1234-1234-1234-123456789012",
    }


def test_embedded_images_keep_their_bytes() -> None:
    r"""HF's image columns; as text, `\xff` would become four letters and every image a broken one."""
    query = r"""SELECT 'x' AS first, {'bytes': '\xFF\xD8\x00'::BLOB, 'path': 'a.jpg'} AS image,
        [{'bytes': 'b'::BLOB, 'path': NULL::VARCHAR, 't': DATE '2020-01-01', 'n': 7}, NULL] AS images, 'c'::BLOB AS raw,
        ['d'::BLOB] AS list, MAP {'k': 'e'::BLOB} AS m, NULL::BLOB AS nothing, 1 AS last FROM range(100)"""
    read, faults = rows(parquet("a.parquet", query))
    assert (len(read), faults) == (100, [])
    assert list(read[0].items()) == [
        ("first", "x"),
        ("image", {"bytes": b"\xff\xd8\x00", "path": "a.jpg"}),
        ("images", [{"bytes": b"b", "path": None, "t": "2020-01-01", "n": 7}, None]),
        ("raw", b"c"),
        ("list", [b"d"]),
        ("m", {"k": b"e"}),
        ("nothing", None),
        ("last", 1),
    ]


@pytest.mark.parametrize(
    "name", ["a*.parquet", "[x].parquet", "it's.parquet", "a\nb.parquet", "split=train/a.parquet", "s3:/x.parquet"]
)
def test_a_parquet_file_of_any_name_is_read_alone(name: str) -> None:
    """DuckDB takes some names for patterns, URLs or partitions."""
    parquet("ab.parquet", "SELECT 'another' AS id")
    assert rows(parquet(name, "SELECT 1 AS id")) == ([{"id": 1}], [])


def test_compressed_and_empty_parquet() -> None:
    plain = Path(parquet("a.parquet", "SELECT 1 AS id")).read_bytes()
    make("a.parquet.gz", content=gzip.compress(plain))
    assert rows("a.parquet.gz") == ([{"id": 1}], [])
    assert rows(parquet("b.parquet", "SELECT 1 AS id WHERE false")) == ([], [])


def test_broken_parquet_is_a_fault_and_no_traceback() -> None:
    whole = Path(parquet("a.parquet", "SELECT i, md5(i::VARCHAR) AS m FROM range(100000) r(i)")).read_bytes()
    middle = len(whole) // 2
    make("cut.parquet", content=whole[:5000])
    assert rows("cut.parquet")[1][0].endswith("it is cut off (an incomplete download or copy?)")
    assert place("cut.parquet", 0) is None  # a line of binary data would be shown
    for content in (
        b"PAR1",
        b"PAR1" + bytes(1000) + b"PAR1",
        whole[:middle] + bytes(20_000) + whole[middle + 20_000 :],
        whole[:-200] + bytes(192) + whole[-8:],
    ):
        make("x.parquet", content=content)
        read, faults = rows("x.parquet")
        assert len(read) < 100_000
        assert len(faults) == 1
        assert faults[0].startswith("the Parquet file cannot be read")
        assert "x.parquet" not in faults[0]
        assert "\n" not in faults[0]


def test_encrypted_parquet_is_said_to_be_encrypted() -> None:
    import duckdb

    with duckdb.connect() as database:
        with suppress(duckdb.Error):  # the setting is new
            database.execute("SET force_mbedtls_unsafe = 'true'")
        database.execute("PRAGMA add_parquet_key('k', '0123456789112345')")
        database.execute("COPY (SELECT 1 AS a) TO 'a.parquet' (ENCRYPTION_CONFIG {footer_key: 'k'})")
    assert rows("a.parquet") == ([], ["the Parquet file is encrypted"])


def test_reading_parquet_can_be_given_up_half_way() -> None:
    """A report of the first error must not wait for the rest, nor leave the link to an odd name behind."""
    (file,) = expand([parquet("a*.parquet", "SELECT i FROM range(100000) r(i)")], "train")
    reading = read_parquet(file, lambda fault: None)
    assert next(reading) == (0, {"i": 0})
    reading.close()
    assert not [path for path in spool.folder().rglob("*") if path.is_symlink()]
