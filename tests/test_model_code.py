"""The code of a model folder read as text: what rules about remote code rest on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorachk.facts.collector import Context
from lorachk.facts.model_code import collect
from lorachk.run import Run

BASE = "from transformers import PreTrainedModel, LlamaPreTrainedModel, LlamaForCausalLM\n"


class Sink:
    """Rows and unknown facts, as they come."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.problems: list[str] = []

    def add(self, _table: str, rows: Any) -> None:
        self.rows += rows

    def unknown(self, _fact: str, reason: str, _count: int | None = None) -> None:
        self.problems.append(reason)


def read(folder: Path, code: str | None, *, reference: str = "modeling_x.X") -> Sink:
    """The table of a folder with this code in modeling_x.py."""
    config = {"model_type": "x", "auto_map": {"AutoModelForCausalLM": reference, "AutoTokenizer": ["a.B", None]}}
    (folder / "config.json").write_text(json.dumps(config))
    if code is not None:
        (folder / "modeling_x.py").write_text(code)
    sink = Sink()
    collect(Context(Run(model=str(folder)), sink))
    return sink


def calls(sink: Sink) -> dict[tuple[str, str], bool]:
    return {(row["owner"], row["name"]): row["initial"] for row in sink.rows if row["kind"] == "call"}


def test_nothing_is_run(tmp_path: Path) -> None:
    """Remote code is only to be read: it may be anybody's."""
    read(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert not (tmp_path / "ran").exists()


def test_what_runs_when_the_model_is_made(tmp_path: Path) -> None:
    """Weights loaded on demand would be called a failure, and those loaded by a helper of __init__ would pass."""
    code = (
        "class X:\n"
        "  def __init__(self):\n    self.apply(self._init)\n    helper(self)\n"
        "  def _init(self, m):\n    trunc_normal_(m.weight)\n"
        "  def later(self):\n    self.v.load_state_dict(d)\n"
        "def helper(x):\n  deeper(x)\n"
        "def deeper(x):\n  x.w.erfinv_()\n"
        "def nobody(x):\n  x.w.erfinv_()\n"
    )
    assert calls(read(tmp_path, code)) == {
        ("X._init", "trunc_normal_"): True,
        ("X.later", "load_state_dict"): False,
        ("deeper", "erfinv_"): True,
        ("nobody", "erfinv_"): False,
    }


def test_a_name_of_its_own_is_told_from_a_function_of_the_module(tmp_path: Path) -> None:
    """transformers replaces torch.nn.init.x while it loads, and not a name imported from it: only one fails."""
    code = (
        "from torch import nn\nfrom torch.nn.init import trunc_normal_ as t\n"
        "class X:\n  def __init__(self):\n    nn.init.trunc_normal_(a)\n    t(b)\n"
    )
    found = [(row["subject"], row["plain"]) for row in read(tmp_path, code).rows if row["kind"] == "call"]
    assert found == [("torch.nn.init.trunc_normal_", False), ("torch.nn.init.trunc_normal_", True)]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("class X(PreTrainedModel):\n  def __init__(self): self.llm = 1", False),
        ("class X(LlamaPreTrainedModel):\n  def __init__(self): self.llm = 1", False),
        ("class X(LlamaPreTrainedModel):\n  def __init__(self): self.model = 1", None),
        ("class X(PreTrainedModel):\n  base_model_prefix = 'llm'\n  def __init__(self): self.llm = 1", None),
        ("class B(PreTrainedModel): pass\nclass X(B):\n  def get_input_embeddings(self): pass", True),
        ("class B(PreTrainedModel):\n  def get_input_embeddings(self): pass\nclass X(B): pass", True),
        ("class B(PreTrainedModel): pass\nclass X(B): pass", False),
        ("class X(PreTrainedModel, Mixin): pass", None),
        ("class X(LlamaForCausalLM): pass", None),
        ("class X(X): pass", None),
        ("class X: pass", None),
    ],
)
def test_whether_the_embedding_is_found(tmp_path: Path, code: str, found: bool | None) -> None:
    """A wrapper without get_input_embeddings stops the run; one that inherits it from elsewhere does not."""
    (row,) = [row for row in read(tmp_path, BASE + code).rows if row["kind"] == "class"]
    assert (row["name"], row["embeddings"]) == ("X", found)


@pytest.mark.parametrize(
    ("code", "reference", "reason"),
    [
        (None, "modeling_x.X", "modeling_x.py, which auto_map names, is not in"),
        ("", "someone/code--modeling_x.X", "the model's code is in another repository, someone/code"),
        ("class X(:", "modeling_x.X", "is not Python"),
        ("\0", "modeling_x.X", "is not Python"),
    ],
)
def test_code_that_cannot_be_read_is_not_passed(tmp_path: Path, code: str | None, reference: str, reason: str) -> None:
    """A rule on code that nobody has looked at would say that all is well."""
    assert reason in read(tmp_path, code, reference=reference).problems[0]


def test_links_of_the_hub_cache_are_followed(tmp_path: Path) -> None:
    """A downloaded model is a folder of links into blobs: all its modules would be left out."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    (blobs / "1").write_text("from .part import P\n")
    (blobs / "2").write_text("class P:\n  def __init__(self): self.p.load_state_dict(d)\n")
    (snapshot / "modeling_x.py").symlink_to(blobs / "1")
    (snapshot / "part.py").symlink_to(blobs / "2")
    assert calls(read(snapshot, None)) == {("P.__init__", "load_state_dict"): True}


def test_a_model_without_code(tmp_path: Path) -> None:
    """Most models have none; rules about it pass."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    sink = Sink()
    collect(Context(Run(model=str(tmp_path)), sink))
    assert (sink.rows, sink.problems) == ([], [])
