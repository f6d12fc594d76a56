"""Virtual environments that hold a few versions and borrow everything else from the running one; kept between runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path


def folder() -> Path:
    """Where they are kept: LORACHK_VERSIONS, or in the user's cache."""
    return Path(os.environ.get("LORACHK_VERSIONS") or Path.home() / ".cache" / "lorachk-versions")


def python_with(versions: tuple[str, ...]) -> Path:
    """A Python with these versions (requirements of pip) and otherwise the packages of the running one.

    Raises CalledProcessError, with what pip said in stderr, where they cannot be installed.
    """
    if not versions:
        return Path(sys.executable)
    mine = next(path for path in sys.path if path.endswith("site-packages"))
    digest = hashlib.sha256("\n".join((sys.version, mine, *versions)).encode()).hexdigest()[:8]
    place = folder() / f"{versions[0].replace('==', '-')}-{digest}"
    python, done = place / "bin" / "python", place / "installed"
    if done.is_file():
        return python
    shutil.rmtree(place, ignore_errors=True)  # one that was cut off
    venv.create(place, with_pip=False)
    site = next((place / "lib").glob("python*/site-packages"))
    (site / "borrowed.pth").write_text(mine + "\n", encoding="utf-8")
    # borrowed packages count as installed for pip, which is not to touch them
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--ignore-installed"]
    wanted: list[tuple[str, ...]] = [("--no-deps", "--no-build-isolation", *versions)]
    if any(v.startswith("deepspeed") for v in versions):  # which is built, and takes torch for it from here
        wanted.insert(0, ("setuptools<80", "wheel"))
    for options in wanted:
        env = os.environ | {"DS_BUILD_OPS": "0"}
        subprocess.run([*install, *options], check=True, stderr=subprocess.PIPE, text=True, env=env)
    done.write_text("\n".join(versions) + "\n", encoding="utf-8")
    return python
