"""LLaMA-Factory's dataset_info.json is read as LLaMA-Factory reads it, and what is wrong with it has a place."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.cli import main
from lorachk.errors import UsageError
from lorachk.facts.records.datasetinfo import (
    Mapping_,
    entry_for,
    is_registry,
    mapping_for,
    mapping_of,
    read,
    registered,
)
from lorachk.facts.records.inputs import expand
from lorachk.facts.registry import leaves

COLUMNS = (
    *("prompt", "query", "response", "history", "messages", "system", "tools"),
    *("images", "videos", "audios", "chosen", "rejected", "kto_tag"),
)
TAGS = ("role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag")


def registry(folder: Path, entries: Any, **files: str) -> str:
    """Write a registry and its files; the registry's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    path = folder / "dataset_info.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries, indent=1))
    return str(path)


def test_columns_replace_all_defaults() -> None:
    """The trap: one column named, and the question, the answer and the history of every record are gone."""
    plain = mapping_of("x", {})
    assert (plain.prompt, plain.query, plain.response, plain.messages) == (
        *("instruction", "input", "output", "conversations"),
    )
    named = mapping_of("x", {"columns": {"prompt": "q"}})
    assert {c: getattr(named, c) for c in COLUMNS} == {**dict.fromkeys(COLUMNS), "prompt": "q"}
    assert (named.role_tag, named.user_tag) == ("from", "human")
    tagged = mapping_of("x", {"tags": {"role_tag": "role"}})
    assert {t: getattr(tagged, t) for t in TAGS} == {**dict.fromkeys(TAGS), "role_tag": "role"}
    assert tagged.messages == "conversations"


def test_defaults_are_those_of_its_source() -> None:
    """Read from data/parser.py ff6d4d1; a changed default would send every column astray."""
    source = """
    formatting = "alpaca"; ranking = False; split = "train"; num_samples = None; system = None; tools = None
    images = None; videos = None; audios = None; chosen = None; rejected = None; kto_tag = None
    prompt = "instruction"; query = "input"; response = "output"; history = None; messages = "conversations"
    role_tag = "from"; content_tag = "value"; user_tag = "human"; assistant_tag = "gpt"
    observation_tag = "observation"; function_tag = "function_call"; system_tag = "system"
    """
    tree = ast.parse("\n".join(line.strip() for line in source.strip().splitlines()))
    expected = {a.targets[0].id: ast.literal_eval(a.value) for a in tree.body if isinstance(a, ast.Assign)}  # type: ignore[attr-defined]
    assert Mapping_()._asdict() == {"name": "", **expected}


def test_every_local_dataset_with_its_map(tmp_path: Path) -> None:
    """`lorachk data dataset_info.json` looks at all that is here, and says why the rest is not."""
    (tmp_path / "parts").mkdir()
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / "parts" / name).write_text("{}")
    entries = {
        "docs": {"file_name": "docs.json", "formatting": "sharegpt", "columns": {"messages": "messages"}},
        "folder": {"file_name": "parts"},
        "hub": {"hf_hub_url": "llamafactory/alpaca_en", "file_name": "docs.json"},
        "made": {"script_url": "belle"},
    }
    path = registry(tmp_path, entries, docs__json="[]")
    assert is_registry(path)
    found = [(name, Path(file).name, mapping.formatting) for name, file, mapping in registered(path)]
    assert found == [
        ("docs", "docs.json", "sharegpt"),
        ("folder", "a.jsonl", "alpaca"),
        ("folder", "b.jsonl", "alpaca"),
    ]
    result = read(path)
    assert result.faults == ()
    elsewhere = {entry.name: entry.elsewhere for entry in result.entries if entry.elsewhere}
    assert set(elsewhere) == {"hub", "made"}
    assert "Hugging Face hub" in str(elsewhere["hub"])


def test_the_entry_that_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lorachk data data/mydocs.json --trainer llamafactory` has to know the file's columns."""
    entries = {"mine": {"file_name": "mydocs.json", "formatting": "sharegpt"}, "parts": {"file_name": "parts"}}
    registry(tmp_path / "data", entries, mydocs__json="[]", other__json="[]")
    (tmp_path / "data/parts").mkdir()
    (tmp_path / "data/parts/1.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    for name in ("data/mydocs.json", str(tmp_path / "data/mydocs.json"), "data/../data/mydocs.json"):
        mapping = mapping_for(name)
        assert mapping is not None
        assert (mapping.name, mapping.formatting) == ("mine", "sharegpt")
    inside = mapping_for("data/parts/1.json")
    assert inside is not None
    assert inside.name == "parts"
    assert mapping_for("data/other.json") is None
    assert mapping_for("elsewhere/mydocs.json") is None
    assert entry_for("data/other.json") is None


WRONG: dict[str, tuple[dict[str, Any], str, str, bool]] = {
    "missing file": ({"file_name": "gone.json"}, "gone.json not found", "/x/file_name", True),
    "no file": ({"formatting": "alpaca"}, "file_name is missing", "/x", True),
    "ending": ({"file_name": "docs.xml"}, "docs.xml is of a type that is not read", "/x/file_name", True),
    "formatting": ({"file_name": "docs.json", "formatting": "chatml"}, "chatml not found", "/x/formatting", True),
    "key": ({"file_name": "docs.json", "format": "alpaca"}, "'format' is no key", "/x/format", False),
    "column": (
        {"file_name": "docs.json", "columns": {"prompt": "q", "image": "images"}},
        *("'image' is none of the columns", "/x/columns/image", False),
    ),
    "type": ({"file_name": "docs.json", "columns": {"prompt": 3}}, "name of a column", "/x/columns/prompt", True),
    "null": ({"file_name": "docs.json", "columns": None}, "columns is null", "/x/columns", True),
    "no object": ({"file_name": "docs.json", "tags": ["role"]}, "has to be an object", "/x/tags", True),
    "messages": (
        {"file_name": "docs.json", "formatting": "sharegpt", "columns": {"images": "images"}},
        *("do not name messages", "/x/columns", True),
    ),
    "tags": (
        {"file_name": "docs.json", "formatting": "sharegpt", "tags": {"role_tag": "role", "content_tag": "content"}},
        *("user_tag, assistant_tag", "/x/tags", True),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_has_a_place(tmp_path: Path, name: str) -> None:
    """LLaMA-Factory says such things when the run starts, or as a KeyError 'None' from a worker, or never."""
    entry, text, pointer, fatal = WRONG[name]
    path = registry(tmp_path, {"x": entry}, docs__json="[]", docs__xml="<a/>")
    faults = read(path).faults
    assert any(text in f.text and (f.at.pointer, f.fatal) == (pointer, fatal) for f in faults), faults
    for fault in faults:
        line = Path(path).read_text().splitlines()[(fault.at.line or 0) - 1]
        assert line.strip()
        assert fault.at.col is not None
        assert fault.name == "x"


def test_folder_of_several_types(tmp_path: Path) -> None:
    """`File types should be identical.` without saying which."""
    (tmp_path / "parts").mkdir()
    for name in ("a.json", "b.parquet"):
        (tmp_path / "parts" / name).write_text("")
    (fault,) = read(registry(tmp_path, {"x": {"file_name": "parts"}})).faults
    assert "json, parquet" in fault.text


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"x": {"file_name": "a.json",}}', ":1:31"),
        ('{\n  "x": {\'file_name\': "a.json"}\n}', ":2:9"),
        ("[]", ""),
        ("", ":1:1"),
    ],
)
def test_a_registry_that_is_no_json(tmp_path: Path, text: str, where: str) -> None:
    """One comma, and no dataset of the folder can be trained."""
    path = registry(tmp_path, text)
    with pytest.raises(UsageError) as error:
        read(path)
    assert (error.value.where or "").startswith(path + where.rpartition(":")[0])
    assert mapping_for(str(tmp_path / "a.json")) is None  # nobody asked for it


@pytest.mark.parametrize(
    "value", [None, 3, "a.json", [], {"columns": {"messages": {}}, "file_name": 7, "ranking": "yes"}]
)
def test_odd_entries_never_raise(tmp_path: Path, value: Any) -> None:
    """Bad input gives a finding, not a traceback."""
    path = registry(tmp_path, {"x": value, "": {}, "a/b~c": {"file_name": "a.json", "columns": {"a/b": "c"}}})
    assert {f.name for f in read(path).faults} == {"x", "", "a/b~c"}
    assert registered(path) == []


def test_leaves_have_places(tmp_path: Path) -> None:
    """Rules judge the registry by these rows, and the report points at its lines."""
    entries = {
        "mine": {"file_name": "docs.json", "columns": {"images": "imgs", "messages": "turns"}},
        "other": {"file_name": "x.json"},
    }
    path = registry(tmp_path, entries, docs__json="[]")
    docs = str(tmp_path / "docs.json")
    whole = [
        (leaf.file, leaf.key, leaf.value, leaf.looked_up, leaf.place.line) for leaf in leaves([path], beside=False)
    ]
    assert whole == [
        (docs, "file_name", "docs.json", False, 3),
        (docs, "columns/images", "imgs", True, 5),
        (docs, "columns/messages", "turns", False, 6),  # alpaca reads no messages
        (None, "file_name", "x.json", False, 10),
        (None, "columns", None, False, 4),
        (None, "file_name", None, False, 10),
    ]
    problems = {leaf.name: leaf.problem for leaf in leaves([path], beside=False) if leaf.problem}
    assert "not found" in str(problems["other"])
    assert "prompt" in str(problems["mine"])
    assert {leaf.name for leaf in leaves([docs], beside=True)} == {"mine"}
    assert leaves([docs], beside=False) == []


def test_files_of_types_that_are_not_read_here(tmp_path: Path) -> None:
    """A text file's lines are no records; calling it broken JSON would be a false alarm."""
    path = registry(tmp_path, {"wiki": {"file_name": "wiki.txt"}}, wiki__txt="Once upon a time")
    (entry,) = read(path).entries
    assert (entry.files, entry.elsewhere) == ((), "wiki.txt holds text, which is not read here")
    assert read(path).faults == ()


def test_a_registry_stands_for_its_datasets(tmp_path: Path) -> None:
    """`lorachk data dataset_info.json` reads each dataset under its own columns; a missing one ends nothing."""
    entries = {
        "mine": {"file_name": "docs.json", "formatting": "sharegpt"},
        "gone": {"file_name": "gone.json"},
        "hub": {"hf_hub_url": "llamafactory/alpaca_en"},
    }
    path = registry(tmp_path, entries, docs__json="[]")
    said: list[str] = []
    (file,) = expand([path], "train", say=said.append)
    assert (Path(file.path).name, file.mapping and file.mapping.formatting) == ("docs.json", "sharegpt")
    assert ["hub" in line for line in said] == [True]
    docs = str(tmp_path / "docs.json")
    assert [f.mapping and f.mapping.name for f in expand([docs], "train", trainer="llamafactory")] == ["mine"]
    assert [f.mapping for f in expand([docs], "train", trainer="trl")] == [None]
    nothing = registry(tmp_path / "other", {"gone": {"file_name": "gone.json"}})
    with pytest.raises(UsageError, match="registers no dataset") as error:
        expand([nothing], "train")
    assert "gone.json not found" in str(error.value.hint)


def test_a_turn_of_a_mapped_record_is_found_in_the_file(tmp_path: Path) -> None:
    """Under a map, turns are counted as the trainer counts them; the line has to be that of the turn all the same."""
    entry = {
        "file_name": "docs.json",
        "formatting": "sharegpt",
        "columns": {"messages": "dialog", "system": "rules"},
        "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "guest", "assistant_tag": "host"},
    }
    record = {"rules": "Be kind.", "dialog": [{"who": "guest", "says": "Hi"}, {"who": "stranger", "says": "Hello"}]}
    path = registry(tmp_path, {"mine": entry}, docs__json=json.dumps([record], indent=1))
    report = tmp_path / "report.json"
    for options in (["--trainer", "llamafactory", str(tmp_path / "docs.json")], [path]):
        main(["data", *options, "--select", "D105,D116", "--format", "json", "--output", str(report)])
        (finding,) = [f for f in json.loads(report.read_text())["findings"] if f["rule"] == "D105"]
        (place,) = finding["locations"]
        assert (place["pointer"], place["line"]) == ("/0/dialog/1", 9)
