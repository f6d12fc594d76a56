"""The versions a run is judged with: what stands in the environment, however it was installed."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

import pytest

from lorachk.launchers import versions


@pytest.fixture(autouse=True)
def _forgets():
    yield
    versions.installed.cache_clear()
    versions._folders.cache_clear()


def _looked_up(name: str) -> str | None:
    versions.installed.cache_clear()
    versions._folders.cache_clear()
    return versions.installed(name)


def _of_python(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def test_all_that_is_installed_here_has_the_version_that_python_says():
    names = {d.metadata["Name"] for d in distributions()}
    assert len(names) > 10
    wrong = {n: (versions.installed(n), version(n)) for n in names if versions.installed(n) != version(n)}
    assert wrong == {}  # a rule on versions would judge a library that is not the one in use


@pytest.mark.parametrize(
    "files",
    [
        {"Flash_Attn-2.8.3+cu12.dist-info/METADATA": "Name: flash-attn\nVersion: 2.8.3+cu12\n\n"},
        {"flash_attn.egg-info/PKG-INFO": "Metadata-Version: 2.1\nName: flash-attn\nVersion: 2.0\n\n"},
        {"flash_attn-1.0-py3.11.egg/EGG-INFO/PKG-INFO": "Metadata-Version: 2.1\nName: flash-attn\nVersion: 1.0\n\n"},
        {
            "flash_attn-1.0.dist-info/METADATA": "Name: flash-attn\nVersion: 1.0\n\n",
            "flash_attn-2.0.dist-info/METADATA": "Name: flash-attn\nVersion: 2.0\n\n",
        },
        {"flash_attn-1.0.dist-info/RECORD": ""},
        {"flash_attn-1.0.dist-info/METADATA": "Name: flash-attn\n\nVersion: 3.0\n"},
        {},
    ],
    ids=["wheel", "setuptools", "egg", "two of it", "without metadata", "version in the text", "none"],
)
def test_every_way_to_be_installed_is_told_as_python_tells_it(tmp_path: Path, monkeypatch, files):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/nowhere/python311.zip", *sys.path])
    assert _looked_up("flash-attn") == _of_python("flash-attn")
    assert _looked_up("flash.attn") == _of_python("flash.attn")
