"""--requirements: whatever file people keep versions in, and what it makes the run use."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.errors import UsageError
from lorachk.launchers.requirements import Requirements, read_requirements
from lorachk.launchers.resolve import ResolveOptions, resolve
from lorachk.launchers.versions import installed, used


def read(folder: Path, text: str, name: str = "requirements.txt") -> Requirements:
    """Write a file and read it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return read_requirements(str(path))


FORMATS = {
    "requirements.txt": """\
# what we train with
--index-url https://example.org/simple
transformers==4.51.3  # pinned
peft[extra] == 0.15.0 ; python_version >= "3.8"
deepspeed==0.16.9 \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb
accelerate==1.0.1; sys_platform == "win32"
torch @ https://download.pytorch.org/whl/cu118/torch-2.1.2%2Bcu118-cp310-cp310-linux_x86_64.whl
https://example.org/flash_attn-2.5.8-cp310-cp310-linux_x86_64.whl
-e git+https://github.com/huggingface/trl.git@main#egg=trl
""",
    "uv.lock": """\
version = 1
requires-python = ">=3.10"

[[package]]
name = "transformers"
version = "4.51.3"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "peft"
version = "0.15.0"

[[package]]
name = "deepspeed"
version = "0.16.9"

[[package]]
name = "torch"
version = "2.1.2+cu118"

[[package]]
name = "flash-attn"
version = "2.5.8"
""",
    "pylock.toml": """\
lock-version = "1.0"
[[packages]]
name = "transformers"
version = "4.51.3"
[[packages]]
name = "peft"
version = "0.15.0"
[[packages]]
name = "deepspeed"
version = "0.16.9"
[[packages]]
name = "torch"
version = "2.1.2+cu118"
[[packages]]
name = "flash_attn"
version = "2.5.8"
[[packages]]
name = "accelerate"
version = "1.0.1"
marker = "sys_platform == 'win32'"
""",
    "pyproject.toml": """\
[project]
name = "mine"
dependencies = ["transformers==4.51.3", "peft==0.15.0", "torch==2.1.2+cu118"]
[project.optional-dependencies]
train = ["deepspeed==0.16.9"]
[dependency-groups]
dev = ["flash-attn==2.5.8", {include-group = "x"}]
""",
    "environment.yml": """\
name: mine
channels: [pytorch]
dependencies:
  - python=3.10
  - pytorch::pytorch=2.1.2=py3.10_cuda11.8
  - pip
  - pip:
      - transformers==4.51.3
      - peft==0.15.0
      - deepspeed==0.16.9
      - flash_attn==2.5.8
""",
    "Pipfile.lock": """\
{"default": {"transformers": {"version": "==4.51.3"}, "peft": {"version": "==0.15.0"},
 "deepspeed": {"version": "==0.16.9"}, "torch": {"version": "==2.1.2+cu118"}, "flash-attn": {"version": "==2.5.8"}}}
""",
    "poetry/pyproject.toml": """\
[tool.poetry.dependencies]
python = "^3.10"
transformers = "4.51.3"
peft = "==0.15.0"
deepspeed = {version = "0.16.9", extras = ["x"]}
torch = "2.1.2+cu118"
flash-attn = "2.5.8"
""",
}


@pytest.mark.parametrize("name", FORMATS)
def test_pins_of_every_format(tmp_path: Path, name: str) -> None:
    """A pin that is not seen leaves the run judged by whatever happens to be installed here."""
    found = read(tmp_path, FORMATS[name], name).environment
    expected = {"transformers": "4.51.3", "peft": "0.15.0", "deepspeed": "0.16.9", "flash-attn": "2.5.8"}
    assert {k: found.get(k) for k in expected} == expected
    assert found["torch"].startswith("2.1.2")
    assert "accelerate" not in found  # for Windows only
    if "trl" in found:
        assert used("trl", found) is None


def test_places(tmp_path: Path) -> None:
    """A finding about a version must point at the line to change, also behind a continued line."""
    lines = {s.pointer: s.at.line for s in read(tmp_path, FORMATS["requirements.txt"]).settings}
    assert (lines["/transformers"], lines["/deepspeed"], lines["/torch"]) == (3, 5, 9)
    lines = {s.pointer: s.at.line for s in read(tmp_path, FORMATS["uv.lock"], "uv.lock").settings}
    assert lines["/peft"] == 9
    lines = {s.pointer: s.at.line for s in read(tmp_path, FORMATS["environment.yml"], "environment.yml").settings}
    assert (lines["/torch"], lines["/deepspeed"]) == (5, 10)


def test_included_files_and_constraints(tmp_path: Path) -> None:
    """-r is relative to the file it stands in; a constraint pins what a requirement leaves open."""
    read(tmp_path, "torch==2.6.0\n", "more.txt")
    read(tmp_path, "peft==0.15.0\n-r ../more.txt\n", "sub/base.txt")
    read(tmp_path, "transformers==4.45.0\npeft==0.1.0\n", "constraints.txt")
    found = read(tmp_path, "-rsub/base.txt\n-c constraints.txt\ntransformers>=4.40\n")
    assert found.environment == {"peft": "0.15.0", "torch": "2.6.0", "transformers": "4.45.0"}
    assert [Path(s.path).name for s in found.sources] == ["requirements.txt", "base.txt", "more.txt", "constraints.txt"]


def test_a_cycle_of_includes(tmp_path: Path) -> None:
    """pip stops at its recursion limit; here it is one sentence with the way round."""
    (tmp_path / "b.txt").write_text("-r a.txt\n")
    with pytest.raises(UsageError) as stopped:
        read(tmp_path, "peft\n-r b.txt\n", "a.txt")
    assert stopped.value.where == f"{tmp_path}/b.txt:1:1"
    assert "includes itself" in str(stopped.value)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("transformers=4.51.3", "did you mean 'transformers==4.51.3'?"),
        ("transformers 4.51.3", "this looks like `pip list`; write the file with `pip freeze`"),
        ("transformers==", None),
        ("==4.51.3", None),
        ("peft==1 ; python_version >", None),
        ("\x00", None),
    ],
)
def test_a_line_that_is_none(tmp_path: Path, line: str, hint: str | None) -> None:
    """One message with the place, instead of a traceback or a version that is silently not read."""
    with pytest.raises(UsageError) as stopped:
        read(tmp_path, f"# first\n{line}\n")
    assert stopped.value.where == f"{tmp_path}/requirements.txt:2:1"
    assert stopped.value.hint == hint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.lock", "[[package]]\nname = \n"),
        ("environment.yml", "dependencies:\n\t- x\n"),
        ("environment.yml", "name: x\n"),
        ("Pipfile.lock", '{"default": 1}'),
        ("Pipfile.lock", "{"),
        ("pyproject.toml", "[tool.ruff]\nline-length = 1\n"),
        ("missing/../x.txt", "-r nowhere.txt\n"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, text: str) -> None:
    """Bad input is told in one message."""
    with pytest.raises(UsageError):
        read(tmp_path, text, name)


def test_powershell_writes_utf16(tmp_path: Path) -> None:
    """`pip freeze > requirements.txt` on Windows; pip reads it."""
    path = tmp_path / "requirements.txt"
    path.write_text("transformers==4.51.3\n", encoding="utf-16")
    assert read_requirements(str(path)).environment == {"transformers": "4.51.3"}


def test_a_range_with_the_installed_version_in_it(tmp_path: Path) -> None:
    """`peft>=0.1` is no version: the installed one is in it and is used; out of it, nothing is guessed."""
    here = installed("packaging")
    assert here is not None
    assert read(tmp_path, "packaging>=1\n").environment == {}
    open_ = read(tmp_path, "packaging<1\n").environment
    assert open_ == {"packaging": "<1"}
    assert used("packaging", open_) is None


def test_two_versions_in_one_lock(tmp_path: Path) -> None:
    """uv locks a distribution once per platform; which one the run gets cannot be told."""
    names = (("nowhere-to-be-found", "1"), ("nowhere_to_be.found", "2"))
    text = "".join(f'[[package]]\nname = "{name}"\nversion = "{version}"\n' for name, version in names)
    environment = read(tmp_path, text, "uv.lock").environment
    assert used("nowhere-to-be-found", environment) is None


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [("^4.40", ">=4.40,<5"), ("^0.15.1", ">=0.15.1,<0.16"), ("~4.40", "~=4.40"), (">=1, <2", ">=1,<2"), ("*", None)],
)
def test_poetry_ranges(tmp_path: Path, wanted: str, allowed: str | None) -> None:
    """Poetry's own signs mean what Poetry says they do."""
    text = f'[tool.poetry.dependencies]\nnowhere-to-be-found = "{wanted}"\n'
    assert read(tmp_path, text, "pyproject.toml").environment.get("nowhere-to-be-found") == allowed


@pytest.mark.parametrize(
    ("entry", "expected"),
    [("pytorch=2.1", "==2.1.*"), ("pytorch=2.1.2", "2.1.2"), ("pytorch==2.1", "2.1"), ("pytorch >=99", ">=99")],
)
def test_conda_versions(tmp_path: Path, entry: str, expected: str) -> None:
    """In conda one = is a prefix."""
    found = read(tmp_path, f"dependencies:\n  - {entry}\n", "environment.yml").environment
    assert found["torch"] == expected


def test_what_beats_what(tmp_path: Path) -> None:
    """Options, then [environment], then the requirements, then what is installed."""
    (tmp_path / "requirements.txt").write_text("torch==2.2.0\npeft==0.10.0\ntransformers==4.40.0\n")
    toml = tmp_path / "lorachk.toml"
    toml.write_text(
        '[run]\nrequirements = "requirements.txt"\n[environment]\npeft = "0.11.0"\ntransformers = "4.41.0"\n'
    )
    run = resolve(ResolveOptions(toml=str(toml), environment={"transformers": "4.42.0"})).run
    assert run.environment == {"torch": "2.2.0", "peft": "0.11.0", "transformers": "4.42.0"}
    other = tmp_path / "other.txt"
    other.write_text("torch==2.3.0\n")
    run = resolve(ResolveOptions(toml=str(toml), requirements=str(other))).run
    assert run.environment["torch"] == "2.3.0"


def test_defaults_follow_the_requirements(tmp_path: Path) -> None:
    """The reentrant default is True before transformers 5 and False from there on; the pinned version decides."""
    (tmp_path / "run.sh").write_text(
        "torchrun train.py --output_dir o --per_device_train_batch_size 1 --gradient_checkpointing\n"
    )
    for version, reentrant in (("4.51.3", True), ("5.1.0", False), (">=99", None)):
        path = tmp_path / "requirements.txt"
        path.write_text(f"transformers{'' if version[0] == '>' else '=='}{version}\n")
        options = ResolveOptions(isolated=True, launch=str(tmp_path / "run.sh"), requirements=str(path))
        assert resolve(options).run.use_reentrant is reentrant


def test_a_missing_file_named_in_lorachk_toml(tmp_path: Path) -> None:
    """The message says where the name stands."""
    toml = tmp_path / "lorachk.toml"
    toml.write_text('[run]\nrequirements = "nowhere.txt"\n')
    with pytest.raises(UsageError) as stopped:
        resolve(ResolveOptions(toml=str(toml)))
    assert stopped.value.where == f"{toml}:2:16"


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but a UsageError may come out of a file, whatever is in it."""
    from lorachk.launchers import requirements_txt

    with contextlib.suppress(UsageError):
        requirements_txt.read(text, "requirements.txt", [])
