"""Whatever is done to a dataset of any dialect: no traceback, no hang, and a report that parses."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lorachk import cli

CLEAN = Path(__file__).resolve().parent.parent / "fixtures" / "clean"
_OTHER = {"demo-fixed", "minicpmv-official", "recipes"}
FILES = sorted(
    file
    for folder in CLEAN.iterdir()
    if folder.name not in _OTHER
    for file in folder.iterdir()
    if file.suffix in (".json", ".jsonl", ".gz", ".parquet") and file.name != "dataset_info.json"
)
ODD: list[Any] = [
    None,
    True,
    -1,
    1e400,
    0.5,
    "",
    " ",
    "<image>",
    "\ud800",
    "\x1b[31m",
    "a" * 5000,
    [],
    {},
    [[]],
    [None],
    {"a": 1},
]
# A failing example is shown as it was drawn: making it smaller takes minutes, as each try is a whole run.
_quiet = settings(
    max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.reuse, Phase.generate)
)


def _values(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value: its container and key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _values(inner)


def _mutated(draw: Any, data: bytes) -> bytes:
    """The file with a few changes: to its bytes, or to the values in it."""
    if draw(st.booleans()):
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(data)))
            size = draw(st.integers(0, 40))
            new = draw(
                st.binary(max_size=8)
                | st.sampled_from([b'"', b"{", b"}", b"[", b"]", b",", b"\n", b"\\", b"'", b"NaN"])
            )
            data = data[:at] + new + data[at + size :]
        return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data
    text = data.decode()
    lines = not text.lstrip().startswith("[")
    value = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_values(value))
        if not places:
            break
        container, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.integers(0, 3)):
            case 0:
                container[key] = deepcopy(draw(st.sampled_from(ODD)))
            case 1 if isinstance(container, dict):
                container[draw(st.sampled_from(["image", "images", "from", "role", "x", "messages", "value"]))] = (
                    container.pop(key)
                )
            case 2:
                del container[key]
            case _:
                container[key] = [container[key], container[key]]
    encode = json.JSONEncoder(ensure_ascii=draw(st.booleans())).encode
    written = "\n".join(map(encode, value)) if lines else encode(value)
    return written.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}")
@_quiet
@given(st.data())
def test_mutated_datasets(file: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        shutil.copytree(file.parent, folder, dirs_exist_ok=True)
        content = file.read_bytes()
        if file.suffix == ".gz":
            changed = gzip.compress(_mutated(data.draw, gzip.decompress(content)))
        elif file.suffix == ".parquet":
            at = data.draw(st.integers(0, len(content) - 1))
            changed = content[:at] + data.draw(st.binary(max_size=4)) + content[at + data.draw(st.integers(0, 4)) :]
        else:
            changed = _mutated(data.draw, content)
        (folder / file.name).write_bytes(changed)
        toml = (folder / "lorachk.toml").read_text().replace("../../models", str(CLEAN.parent / "models"))
        (folder / "lorachk.toml").write_text(toml)
        _look(folder, "lorachk.toml")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _look(folder: Path, toml: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(folder):
        code = cli.main(["data", "--config", toml, "--format", "json"])
    text = out.getvalue() + err.getvalue()
    assert "Traceback" not in text
    assert "internal error" not in text, text
    assert code in (0, 1), text  # 2 would say that lorachk could not look, or that a rule broke
    report = json.loads(out.getvalue())
    assert report["version"] == 1
    assert report["broken"] == []
    assert "\x1b" not in out.getvalue()
