"""data --plot: a file that opens, holds no foreign markup, and appears whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from lorachk.errors import UsageError
from lorachk.facts.encoding.drawing import Drawing, drawing
from lorachk.report.plot import ready, save
from lorachk.report.plot.figure import picture
from tests.length_samples import Rows, bounded, exact, facts, mixed, select
from tests.length_samples import picture as image

pytest.importorskip("matplotlib")


def _drawing(encodings: Rows, images: Rows = ()) -> Drawing:
    with facts(encodings, images) as store:
        return drawing(select(store))


_CASES = {
    "mixed": lambda: _drawing(*mixed()),
    "one": lambda: _drawing([exact(0, 66, 30, 12)], [image(0, 0, 448, 448, 1, 66)]),
    "bounds": lambda: _drawing([bounded(n, 66 * n, 4, 300, 66 * n > 2044 or None) for n in range(1, 40)]),
    "all-longer": lambda: _drawing([exact(n, 0, 3000 + 9 * n, 40) for n in range(30)]),
    "limit-far-above": lambda: _drawing([exact(n, 0, 3 + n % 4, 2, 131_072) for n in range(30)]),
    "limit-far-below": lambda: _drawing([exact(n, 0, 5000 + n, 2, 1) for n in range(30)]),
    "no-limit": lambda: _drawing([exact(n, 9, 30 + 8 * n, 10, None) for n in range(30)]),
    "nothing-supervised": lambda: _drawing([exact(n, 0, n, 0) for n in range(9)]),
    "sizes-only": lambda: _drawing([], [image(n, 0, 64 + n, 64, None, None) for n in range(9)]),
    "one-huge": lambda: _drawing([exact(0, 0, 5_000_000, 9), *(exact(n, 0, 9 + n, 1) for n in range(1, 99))]),
}


@pytest.mark.parametrize("case", _CASES)
def test_all_there_is_can_be_drawn(case: str, tmp_path: Path) -> None:
    assert save(_CASES[case](), tmp_path / "lengths.png")
    with Image.open(tmp_path / "lengths.png") as opened:
        opened.load()
        assert opened.width >= 1600
        assert len(opened.convert("L").getcolors() or ()) > 5


@pytest.mark.parametrize(("ending", "starts"), [("svg", b"<?xml"), ("pdf", b"%PDF-"), ("PNG", b"\x89PNG")])
def test_other_endings(ending: str, starts: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"lengths.{ending}"
    ready(path)
    assert save(_CASES["one"](), path)
    assert path.read_bytes().startswith(starts)


def test_the_same_numbers_make_the_same_file() -> None:
    # SVG has clip ids, and PDF streams that matplotlib orders by chance.
    one = _CASES["one"]()
    assert picture(one, "png") == picture(one, "png")


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>.json", "$\\frac{1}$ $.json", "a\x1b[2J\x00b\ud800.json", "漢字\u202e.json", "&]]>"],
)
def test_a_hostile_file_name_stays_text(name: str) -> None:
    made = _CASES["one"]()._replace(files=(name, name), missing=name)
    text = picture(made, "svg").decode()
    root = ET.fromstring(text)
    assert not [e for e in root.iter() if e.tag.rpartition("}")[2] in ("script", "foreignObject", "a", "image")]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert picture(made, "png")


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    import matplotlib as mpl

    mpl.rcParams["font.size"] = 7.5
    try:
        before = dict(mpl.rcParams)
        picture(_CASES["one"](), "png")
        assert dict(mpl.rcParams) == before
    finally:
        mpl.rcdefaults()


def test_pyplot_takes_no_part(tmp_path: Path) -> None:
    """It keeps every figure, and may want a screen."""
    script = (
        "import sys\nfrom tests.test_plot import _CASES\nfrom lorachk.report.plot.figure import picture\n"
        "[picture(_CASES['mixed'](), kind) for kind in ('png', 'svg', 'pdf')]\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_to_draw_writes_nothing_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "lengths.png"
    assert not save(_drawing([])._replace(missing="no token limit"), target)
    assert not save(None, target)
    assert not list(tmp_path.iterdir())
    assert "was not written: no token limit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "says"),
    [("a.jpg", ".png, .svg, .pdf"), ("a", "no ending"), ("missing/a.png", "no such folder"), ("folder.png", "folder")],
)
def test_what_cannot_be_written_is_said_at_once(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match=says):
        ready(tmp_path / name)


def test_without_matplotlib_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lorachk.report.plot.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'lorachk\[plot\]'"):
        ready(tmp_path / "a.png")


def test_a_full_disk_leaves_the_old_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def full(self: Path, other: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UsageError, match="cannot write the picture: No space left"):
        save(_CASES["one"](), target)
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.fixture
def lorachk(run_in, tmp_path: Path):
    turns = [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A chart."}]
    records = [{"id": str(n), "image": "a.png", "conversations": turns} for n in range(5)]
    (tmp_path / "train.json").write_text(json.dumps(records))
    Image.new("RGB", (640, 480)).save(tmp_path / "a.png")
    options = ("--model", "openbmb/MiniCPM-V-2_6", "--trainer", "minicpmv", "--max-length", "512")
    return partial(run_in, tmp_path, "data", "train.json", *options)


def test_the_command_draws_and_lists(lorachk, tmp_path: Path) -> None:
    code, out, err = lorachk("--plot", "lengths.svg", "--worst", "2", "--select", "D101")
    assert (code, err) == (0, "")
    assert "Tokens per record: 5 records" in out
    assert "limit 512" in out
    assert "The 2 heaviest records" in out
    assert b"<svg" in (tmp_path / "lengths.svg").read_bytes()
    code, out, _ = lorachk("--worst", "3", "--format", "json")
    assert [row["record"] for row in json.loads(out)["worst"]] == [0, 1, 2]


def test_saved_facts_can_be_drawn_elsewhere(lorachk, run_in, tmp_path: Path) -> None:
    lorachk("--save", "facts.duckdb")
    (tmp_path / "train.json").unlink()
    _, out, err = run_in(tmp_path, "data", "--facts", "facts.duckdb", "--isolated", "--plot", "a.png", "--worst", "1")
    assert "The heaviest record" in out
    assert err == ""
    assert (tmp_path / "a.png").exists()


def test_a_dataset_without_tokens_has_no_picture(run_in, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps([{"messages": [{"role": "user", "content": "Hi"}]}]))
    _, out, err = run_in(tmp_path, "data", "t.json", "--isolated", "--plot", "a.png", "--worst", "3")
    assert "a.png was not written" in err
    assert "--worst: " in out
    assert not (tmp_path / "a.png").exists()
    assert "Tokens per record" not in out


@pytest.mark.parametrize("more", [("--diff", "--plot", "a.png"), ("--diff", "--worst", "3")])
def test_what_does_not_go_with_fixing(lorachk, more: tuple[str, ...]) -> None:
    code, _, err = lorachk(*more)
    assert code == 2
    assert more[1] in err


def test_matplotlib_is_imported_only_to_draw(lorachk, tmp_path: Path) -> None:
    lorachk("--save", "facts.duckdb")
    script = (
        "import sys\nfrom lorachk.cli import main\n"
        "main(['data', '--facts', 'facts.duckdb', '--isolated', '--worst', '2'])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "lorachk.report.terminal_lengths" in loaded
    assert not {"matplotlib", "numpy", "rich.table", "lorachk.report.plot"} & loaded
