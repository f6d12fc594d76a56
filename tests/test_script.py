"""The training program read as text: what rules about a user's own Trainer and saving rest on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.facts.collector import Context
from lorachk.facts.script import collect
from lorachk.launchers.command import Launch
from lorachk.launchers.program import program_file
from lorachk.run import Run


class Sink:
    """Rows and unknown facts, as they come."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.problems: list[str] = []

    def add(self, _table: str, rows: Any) -> None:
        self.rows += rows

    def unknown(self, _fact: str, reason: str, _count: int | None = None) -> None:
        self.problems.append(reason)


def read(program: Path | None) -> Sink:
    """The table script of a program."""
    sink = Sink()
    collect(Context(Run(program=None if program is None else str(program)), sink))
    return sink


def of(sink: Sink, kind: str) -> list[dict[str, Any]]:
    return [row for row in sink.rows if row["kind"] == kind]


def test_nothing_is_run(tmp_path: Path) -> None:
    """A launch file from the internet could do anything while it is checked."""
    (tmp_path / "train.py").write_text("import evil\nopen('here', 'w')\n")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    sink = read(tmp_path / "train.py")
    assert [Path(row["file"]).name for row in of(sink, "program") + of(sink, "module")] == ["train.py", "evil.py"]
    assert not (tmp_path / "ran").exists()


def test_modules_beside_it_are_followed_and_no_others(tmp_path: Path) -> None:
    """A Trainer in trainer.py would not be judged; a library's own would be judged as if it were the user's."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/sub").mkdir()
    (tmp_path / "outside.py").write_text("")
    (tmp_path / "run/train.py").write_text(
        "from trainer import A\nfrom sub import deep\nfrom .. import outside\nimport json"
    )
    (tmp_path / "run/trainer.py").write_text("import train\n")  # back again: read once
    (tmp_path / "run/sub/deep.py").write_text("")
    sink = read(tmp_path / "run/train.py")
    assert sorted(Path(row["file"]).name for row in of(sink, "module")) == ["deep.py", "trainer.py"]
    assert sink.problems == []


def test_a_package_path_is_followed_inside_the_own_folder(tmp_path: Path) -> None:
    """LLaVA's train.py imports llava.train.llava_trainer, which lies beside it."""
    folder = tmp_path / "llava/train"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text("from llava.train.llava_trainer import LLaVATrainer\nLLaVATrainer()\n")
    (folder / "llava_trainer.py").write_text("from transformers import Trainer\nclass LLaVATrainer(Trainer): pass\n")
    (row,) = of(read(folder / "train.py"), "class")
    assert (row["name"], row["subject"], row["used"]) == ("LLaVATrainer", "transformers.Trainer", True)


def test_names_are_told_through_imports(tmp_path: Path) -> None:
    """`import ... as` and star imports would hide a Trainer, PEFT or torch's checkpoint."""
    (tmp_path / "a.py").write_text(
        "import deepspeed as ds\nfrom torch.utils import checkpoint as cp\nfrom transformers.trainer import *\n"
        "class T(Trainer): pass\nds.initialize(model=m)\ncp.checkpoint(f, x)\nself.accelerator.prepare(m)\n"
        "something.prepare(m)\n"
    )
    sink = read(tmp_path / "a.py")
    assert [row["subject"] for row in of(sink, "class")] == ["transformers.Trainer"]
    assert [row["subject"] for row in of(sink, "checkpoint")] == ["torch.utils.checkpoint.checkpoint"]
    assert [row["subject"] for row in of(sink, "loop")] == ["deepspeed.initialize", "self.accelerator.prepare"]


def test_literals_are_told_and_what_only_running_tells_is_not(tmp_path: Path) -> None:
    """A guessed value would be judged as if it stood there."""
    (tmp_path / "a.py").write_text(
        "args.gradient_checkpointing_kwargs = {'use_reentrant': False}\n"
        "f(device_map='auto', init_tts=False, use_cache=flag, padding_side=None)\n"
        "model.config.use_cache = x if y else False\n"
    )
    sink = read(tmp_path / "a.py")
    found = {(row["kind"], row["name"]): row["value"] for row in sink.rows if row["kind"] in ("argument", "assignment")}
    assert found == {
        ("assignment", "gradient_checkpointing_kwargs"): '{"use_reentrant": false}',
        ("argument", "device_map"): "auto",
        ("argument", "init_tts"): "false",
        ("argument", "use_cache"): None,
        ("argument", "padding_side"): "null",
        ("assignment", "use_cache"): None,
    }


@pytest.mark.parametrize(
    ("call", "bypasses"),
    [
        ("self.model(x)", True),
        ("self.model.base_model(data=x)", True),
        ("self.model.forward(x)", True),
        ("model(x)", False),
        ("self.model_wrapped(x)", False),
        ("self.model.config.get(x)", False),
        ("self.model._enable_peft_forward_hooks(x)", False),
        ("super().compute_loss(model, x)", False),
    ],
)
def test_a_forward_around_the_wrapped_model(tmp_path: Path, call: str, bypasses: bool) -> None:
    """The error "every GPU trains on its own" would be told of healthy code, or not of MiniCPM-V's."""
    (tmp_path / "a.py").write_text(
        f"class OwnTrainer(Trainer):\n    def compute_loss(self, model, x):\n        return {call}\n"
        f"    def other(self, x):\n        return self.model(x)\n"
    )
    assert [row["line"] for row in _lines(of(read(tmp_path / "a.py"), "bypass"))] == ([3] if bypasses else [])


def _lines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"line": row["place"]["line"]} for row in rows]


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        ("except:\n            return self.__getitem__(0)", True),
        ("except Exception as e:\n            print(e)\n            return self[i + 1]", True),
        ("except OSError:\n            return self.__getitem__(0)", False),
        ("except Exception:\n            raise ValueError(i)", False),
    ],
)
def test_a_loader_that_takes_another_record(tmp_path: Path, handler: str, found: bool) -> None:
    """Records that are swallowed would go unseen; a loader that raises would be called one that swallows."""
    body = f"class D:\n    def __getitem__(self, i):\n        try:\n            return 1\n        {handler}\n"
    (tmp_path / "a.py").write_text(body)
    assert bool(of(read(tmp_path / "a.py"), "redraw")) is found


def test_what_is_no_python_is_unknown_with_its_line(tmp_path: Path) -> None:
    """A program that could not be read must not pass for one without faults."""
    (tmp_path / "a.py").write_text("x = 1\nprint 'two'\n")
    sink = read(tmp_path / "a.py")
    assert sink.rows == [{"kind": "program"}]
    assert sink.problems[0].startswith(f"{tmp_path / 'a.py'}:2 is not Python")
    (tmp_path / "b.py").write_text("import a\n")
    sink = read(tmp_path / "b.py")
    assert (len(of(sink, "program")), len(sink.problems)) == (1, 1)


@pytest.mark.parametrize("content", [b"\0", b"(" * 5000, b"-" * 50000 + b"1", b"+".join([b"1"] * 20000), b"\xff\xfe"])
def test_hostile_files_end_in_a_reason(tmp_path: Path, content: bytes) -> None:
    """A file made to exhaust the parser would take the whole check down."""
    (tmp_path / "a.py").write_bytes(content)
    sink = read(tmp_path / "a.py")
    assert sink.rows
    assert sink.problems or of(sink, "program")[0].get("file")


def test_a_missing_program_and_none_at_all_are_unknown(tmp_path: Path) -> None:
    """Rules on the program would pass although nobody read it."""
    assert "is not here" in read(tmp_path / "gone.py").problems[0]
    assert "no launch file" in read(None).problems[0]


def test_large_files_and_many_files_are_left_out_and_said(tmp_path: Path) -> None:
    """A generated file would hold the check up for minutes, or be passed over without a word."""
    (tmp_path / "a.py").write_text("\n".join(f"import m{i}" for i in range(50)))
    for i in range(50):
        (tmp_path / f"m{i}.py").write_text("")
    sink = read(tmp_path / "a.py")
    assert len(of(sink, "module")) == 31
    assert "more than 32 files" in sink.problems[0]
    (tmp_path / "big.py").write_text("#" * (2**20 + 1))
    assert "more than 1 MiB" in read(tmp_path / "big.py").problems[0]


def test_the_program_of_a_launch(tmp_path: Path) -> None:
    """The wrong file would be read, or a library's command taken for a file."""
    (tmp_path / "llava").mkdir()
    (tmp_path / "llava/train.py").write_text("")
    folder = str(tmp_path)
    assert program_file(Launch("torchrun", "src/train.py"), folder) == f"{folder}/src/train.py"
    assert program_file(Launch("torchrun", "llava.train"), folder) == f"{folder}/llava/train.py"
    assert program_file(Launch("llamafactory", "train"), folder) is None
    assert program_file(Launch("accelerate", None), folder) is None


@given(st.text(max_size=200))
def test_any_text_gives_rows_or_a_reason(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """No content of a program may end in a traceback."""
    file = tmp_path_factory.mktemp("any") / "a.py"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    sink = read(file)
    assert of(sink, "program")
    assert bool(sink.problems) == (of(sink, "program")[0].get("file") is None)


def test_what_a_trainer_is_given(tmp_path: Path) -> None:
    """A wrapper's tied weights cannot be saved; the model itself would be taken for one."""
    (tmp_path / "a.py").write_text(
        "from torch import nn\nfrom transformers import AutoModel\nclass W(nn.Module): pass\n"
        "model = W(AutoModel.from_pretrained('m'))\nTrainer(model=model)\nTrainer(W())\n"
        "model = AutoModel.from_pretrained('m')\nTrainer(model)\nmodel = other\nTrainer(model)\n"
    )
    sink = read(tmp_path / "a.py")
    assert [row["name"] for row in of(sink, "torch-module")] == ["W"]
    made = [row["value"] for row in of(sink, "trainer")]
    assert made == ["W", "W", "transformers.AutoModel.from_pretrained", None]
