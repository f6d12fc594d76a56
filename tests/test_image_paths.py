"""Where references lead: a wrong "missing" stops people for nothing, a wrong "there" stops their run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lorachk.facts import imagefolders
from lorachk.facts.imagepaths import Resolver


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.mark.parametrize(
    ("reference", "there"),
    [
        ("images/a.png", "images/a.jpg"),
        ("images/A.JPG", "images/a.jpg"),
        ("Images/a.jpg", "images/a.jpg"),
        ("images\\a.jpg", "images/a.jpg"),
        ("images/my%20cat.jpg", "images/my cat.jpg"),
        ("images/a.jpg ", "images/a.jpg"),
        ("/images/a.jpg", "images/a.jpg"),
        ("$PICTURES/a.jpg", "images/a.jpg"),
        ("~/images/a.jpg", "images/a.jpg"),
        ("data/images/a.jpg", "images/a.jpg"),
        ("/home/somebody/data/images/a.jpg", "images/a.jpg"),
        ("file://{}/images/my%20cat.jpg", "images/my cat.jpg"),
    ],
)
def test_near_misses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, there: str) -> None:
    root = tmp_path / "data"
    made(root / there)
    monkeypatch.setenv("PICTURES", str(root / "images"))
    monkeypatch.setenv("HOME", str(root))
    for _ in range(2):  # the second time from what is remembered
        found = Resolver(str(root), [str(tmp_path)]).resolve(reference.format(root))
        assert (found.exists, found.near_miss) == (False, str(root / there))


def test_the_root_that_was_forgotten(tmp_path: Path) -> None:
    """The image root is wrong, but beside the dataset the file is there."""
    made(tmp_path / "images/a.jpg")
    found = Resolver(str(tmp_path / "elsewhere"), [str(tmp_path)]).resolve("images/a.jpg")
    assert (found.exists, found.near_miss) == (False, str(tmp_path / "images/a.jpg"))


def test_nothing_near_is_nothing_near(tmp_path: Path) -> None:
    made(tmp_path / "images/a.txt")
    made(tmp_path / "images/ab.jpg")
    for reference in ("images/a.jpg", "images/", "images", "..", "", "/", "a\0b", "images/\ud800.jpg", "~"):
        found = Resolver(None, [str(tmp_path)]).resolve(reference)
        assert (found.exists, found.near_miss) == (False, None), reference


def test_a_listing_answers_as_the_file_system(tmp_path: Path) -> None:
    """From the 33rd file of a folder on, answers come from its listing."""
    target = made(tmp_path / "elsewhere/real.jpg")
    folder = tmp_path / "images"
    for number in range(60):
        made(folder / f"{number}.jpg")
    (folder / "link.jpg").symlink_to(target)
    (folder / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    made(folder / "grün.jpg")
    resolver = Resolver(None, [str(tmp_path)])
    for number in range(60):
        assert resolver.resolve(f"images/{number}.jpg").exists
    for name in ("link", "dangling", "loop", "folder", "pipe", "grün", "60", "59"):
        path = folder / f"{name}.jpg"
        assert resolver.resolve(f"images/{name}.jpg").exists == path.is_file(), name


def test_a_folder_that_may_not_be_listed_is_asked_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permission to enter a folder without permission to list it is common on shared disks."""

    def refused(_: str) -> None:
        raise PermissionError

    for number in range(60):
        made(tmp_path / f"images/{number}.jpg")
    monkeypatch.setattr(os, "scandir", refused)
    resolver = Resolver(None, [str(tmp_path)])
    assert resolver.resolve("images/b.jpg").exists is False
    assert all(resolver.resolve(f"images/{number}.jpg").exists for number in range(60))


def test_a_folder_too_large_to_list_is_asked_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagefolders, "_LARGEST", 10)
    for number in range(60):
        made(tmp_path / f"images/{number}.jpg")
    resolver = Resolver(None, [str(tmp_path)])
    assert all(resolver.resolve(f"images/{number}.jpg").exists for number in range(60))
    assert resolver.resolve("images/60.jpg").exists is False


def test_forgetting_folders_changes_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagefolders, "_AT_ONCE", 50)
    for number in range(400):
        made(tmp_path / f"{number % 4}/{number}.jpg")
    resolver = Resolver(None, [str(tmp_path)])
    for number in range(400):
        assert resolver.resolve(f"{number % 4}/{number}.jpg").exists
        assert resolver.resolve(f"{number % 4}/{number}.png").near_miss == str(tmp_path / f"{number % 4}/{number}.jpg")
        assert resolver.resolve(f"x{number}/y{number}.gif").near_miss is None


def test_a_missing_folder_costs_no_call_per_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six hundred thousand references into a folder that is not there must not be asked for one by one."""
    calls = 0
    real = os.path.isfile

    def counted(path: str) -> bool:
        nonlocal calls
        calls += 1
        return real(path)

    monkeypatch.setattr(os.path, "isfile", counted)
    resolver = Resolver(None, [str(tmp_path), "."])
    assert not any(resolver.resolve(f"coco/train/{number}.jpg").exists for number in range(1000))
    assert calls < 20


def test_urls_lead_somewhere_only_when_asked() -> None:
    plain, asked = Resolver(None, []), Resolver(None, [], urls=True)
    for url in ("https://x.org/a.png", "HTTP://x.org/b/a.png?x=1", "https://x.org"):
        assert plain.resolve(url) == ("url", None, None, None)
        assert asked.resolve(url) == ("url", url, None, None)
    assert asked.resolve("s3://bucket/a.png") == ("url", None, None, None)
    assert asked.resolve("data:image/png;base64,AAAA/BBB").kind == "data"
