"""Table tool: torch's build, and what DeepSpeed compiles its operators with. Nothing of it is imported."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from lorachk.facts.collector import Context, Row

_ASSIGNED = re.compile(r"^(\w+)(?:\s*:[^=]*)?\s*=\s*(.+)$", re.MULTILINE)
_OPS = ("cpu_adam", "fused_adam")
_NO_LITERAL = object()
_PATIENCE = 20  # seconds for a compiler to say its version


def collect(context: Context) -> None:
    """One row per tool; `version` is NULL and `problem` tells why where it cannot be used."""
    stated = context.run.environment.get("torch")
    build = torch_build(stated)
    context.sink.add("tool", [*build, nvcc(), ninja(), compiler(), headers(), *operators(stated)])
    if not any(row["name"] == "torch-cuda" for row in build):
        reason = (
            f"torch {stated} is built for several versions of CUDA: write +cu124 behind it"
            if stated
            else build[0]["problem"]
        )
        context.sink.unknown("tool.version", reason or "torch/version.py does not tell its CUDA", 1)


def _row(name: str, path: Path | str | None, version: str | None, problem: str | None = None) -> Row:
    return {"name": name, "path": str(path) if path else None, "version": version, "problem": problem}


def package_folder(name: str) -> Path | None:
    """The folder of an installed package, without importing it."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def assigned(file: Path) -> dict[str, object]:
    """`name = literal` lines of a Python file, read as text; what is no literal is left out."""
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return {}
    literals = {name: _literal(value.strip()) for name, value in _ASSIGNED.findall(text)}
    return {name: value for name, value in literals.items() if value is not _NO_LITERAL}


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return _NO_LITERAL


def torch_build(stated: str | None = None) -> list[Row]:
    """Rows torch, torch-cuda and torch-hip. `stated` is a version of [environment], whose build only "+cu124" tells."""
    if stated:
        local = stated.partition("+")[2]
        rows = [_row("torch", None, stated)]
        if cuda := re.fullmatch(r"cu(\d+)(\d)", local):
            rows.append(_row("torch-cuda", None, f"{cuda[1]}.{cuda[2]}"))
        elif local == "cpu":
            rows.append(_row("torch-cuda", None, None, f"torch {stated} is built without CUDA"))
        return rows
    folder = package_folder("torch")
    if folder is None:
        return [_row("torch", None, None, "torch is not installed here")]
    values = assigned(folder / "version.py")
    version, cuda_version, hip = (values.get(name) for name in ("__version__", "cuda", "hip"))
    if not isinstance(version, str):
        return [_row("torch", folder, None, "torch/version.py does not tell its version")]
    rows = [_row("torch", folder, version)]
    if isinstance(cuda_version, str):
        rows.append(_row("torch-cuda", folder / "version.py", cuda_version))
    elif "cuda" in values:
        rows.append(_row("torch-cuda", folder / "version.py", None, f"torch {version} is built without CUDA"))
    if isinstance(hip, str):
        rows.append(_row("torch-hip", folder / "version.py", hip))
    return rows


def cuda_home(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The CUDA toolkit as torch.utils.cpp_extension looks for it."""
    named = environ.get("CUDA_HOME") or environ.get("CUDA_PATH")
    if named:
        return Path(named)
    if found := _which("nvcc", environ):
        return Path(found).parent.parent
    usual = Path("/usr/local/cuda")
    return usual if usual.exists() else None


def nvcc(environ: Mapping[str, str] = os.environ) -> Row:
    """The CUDA compiler of the toolkit that torch would use."""
    home = cuda_home(environ)
    if home is None:
        return _row("nvcc", None, None, "no CUDA toolkit: neither CUDA_HOME nor nvcc nor /usr/local/cuda is there")
    program = home / "bin/nvcc"
    if not program.is_file():
        return _row("nvcc", program, None, f"no nvcc in the CUDA toolkit {home}")
    said = _says([str(program), "-V"])
    release = re.search(r"release (\d+\.\d+)", said or "")
    return _row("nvcc", program, release[1] if release else None, None if release else f"{program} does not run")


def ninja(environ: Mapping[str, str] = os.environ) -> Row:
    """ninja as torch starts it."""
    program = _which("ninja", environ)
    said = _says([program, "--version"]) if program else None
    problem = None if said else "ninja does not run" if program else "ninja is not on the PATH"
    return _row("ninja", program, said.strip() if said else None, problem)


def compiler(environ: Mapping[str, str] = os.environ) -> Row:
    """The C++ compiler that torch uses: $CXX, else c++."""
    name = environ.get("CXX") or "c++"
    program = _which(name, environ)
    said = _says([program, "-dumpfullversion", "-dumpversion"]) if program else None
    problem = None if said else f"{program} does not run" if program else f"no C++ compiler: {name} is not on the PATH"
    return _row("c++", program, said.strip() if said else None, problem)


def headers() -> Row:
    """Python.h of this Python."""
    file = Path(sysconfig.get_path("include"), "Python.h")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if file.is_file():
        return _row("Python.h", file, version)
    return _row("Python.h", file, None, f"no {file}: the headers of Python {version} are not installed")


def operators(stated_torch: str | None = None) -> list[Row]:
    """DeepSpeed's operators that came compiled with it (DS_BUILD_OPS=1); others are compiled when first used."""
    folder = package_folder("deepspeed")
    if folder is None or stated_torch:
        return []
    values = assigned(folder / "git_version_info_installed.py")
    ops = values.get("installed_ops")
    rows = []
    for name in _OPS:
        built = isinstance(ops, dict) and ops.get(name) and values.get("accelerator_name") == "cuda"
        files = sorted((folder / "ops/adam").glob(f"{name}_op*.so")) if built else []
        problem = None if files else "not compiled ahead"
        rows.append(_row(name, files[0] if files else None, str(values.get("version")) if files else None, problem))
    return rows


def _which(name: str, environ: Mapping[str, str]) -> str | None:
    """A program on the PATH, or beside this Python: its environment need not be activated while lorachk runs."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(name, path=os.pathsep.join(filter(None, (environ.get("PATH"), beside))))


def _says(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout
