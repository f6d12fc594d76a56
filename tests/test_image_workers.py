"""Worker processes: one bad image must cost its own verdict, not the scan, and no other image may be accused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from lorachk.facts import imagepool
from lorachk.facts.imagefile import ImageFacts
from lorachk.facts.imagepool import Pool, Task
from lorachk.facts.images import DECODED, inspect_all, sampled
from tests.image_traps import look

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def run(names: list[str], *, seconds: float = 20.0, size: int = 7, workers: int = 2) -> dict[str, ImageFacts | None]:
    tasks = [Task(name, False) for name in names]
    chunks = [tasks[i : i + size] for i in range(0, len(tasks), size)]
    with Pool(workers, look, seconds=seconds) as pool:
        found = [(str(task.source), facts) for task, facts in pool.run(iter(chunks))]
    assert sorted(n for n, _ in found) == sorted(names)
    return dict(found)


def test_an_image_that_kills_is_named_and_only_that() -> None:
    names = [f"{i}.jpg" for i in range(30)]
    names[11] = "die.jpg"
    found = run(names)
    assert found["die.jpg"] == ImageFacts(decodes=False, problem="kills the process that decodes it")
    assert all(facts == ImageFacts(bytes=len(name)) for name, facts in found.items() if name != "die.jpg")


def test_an_image_that_hangs_in_native_code_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagepool, "_GRACE", 0.2)
    names = [*(f"{i}.jpg" for i in range(5)), "hang.jpg", "7.jpg"]
    found = run(names, seconds=0.3, workers=1)
    assert found["hang.jpg"] == ImageFacts(decodes=False, problem="takes more than 0.3 s to decode")
    assert all(facts == ImageFacts(bytes=len(name)) for name, facts in found.items() if name != "hang.jpg")


def test_a_kill_from_outside_accuses_nobody() -> None:
    """The kernel ends processes when memory runs out; the image is not known to be bad."""
    found = run(["a.jpg", "memory.jpg", "b.jpg"])
    assert found["memory.jpg"] is None
    assert found["b.jpg"] == ImageFacts(bytes=5)


def test_a_single_death_may_be_chance(tmp_path: Path) -> None:
    once = tmp_path / "once.jpg"
    once.write_bytes(b"")
    assert run([str(once)])[str(once)] == ImageFacts(bytes=1)


def test_leaving_early_leaves_no_process() -> None:
    import multiprocessing

    tasks = ([Task(f"{i}.jpg", False)] for i in range(1000))
    with Pool(2, look) as pool:
        next(pool.run(tasks))
    assert not multiprocessing.active_children()


def folder_of(tmp_path: Path, count: int) -> list[str]:
    paths = []
    for number in range(count):
        path = tmp_path / f"{number}.png"
        Image.effect_noise((32, 24), 50).save(path)
        paths.append(str(path))
    return paths


def test_workers_and_this_process_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorachk.facts import images

    paths = folder_of(tmp_path, 60)
    Path(paths[3]).write_bytes(Path(paths[3]).read_bytes()[:60])
    alone = dict(inspect_all(paths, len(paths), workers=1))
    monkeypatch.setattr(images, "_ALONE", -1.0)
    told: list[tuple[int, int]] = []
    several = dict(inspect_all(iter(paths), len(paths), workers=2, progress=lambda d, t: told.append((d, t))))
    assert several == alone
    assert alone[paths[3]] is not None
    assert alone[paths[3]].decodes is False  # type: ignore[union-attr]
    assert told[-1] == (60, 60)


def test_the_sample_does_not_depend_on_the_order(tmp_path: Path) -> None:
    paths = folder_of(tmp_path, 40)
    total = 4 * DECODED  # as if these were forty of them
    one = dict(inspect_all(paths, total, workers=1))
    other = dict(inspect_all(reversed(paths), total, workers=1))
    assert one == other
    decoded = [p for p, facts in one.items() if facts and facts.decodes]
    assert decoded == [p for p in one if sampled(p, 0.25)]
    assert all(f and f.decodes for f in dict(inspect_all(paths, total, workers=1, deep=True)).values())
    share = sum(sampled(f"images/{i:09d}.jpg", 0.01) for i in range(50_000))
    assert 350 < share < 650


def test_paths_are_taken_little_ahead_of_the_results(tmp_path: Path) -> None:
    """A million paths at once would fill the memory."""
    path = folder_of(tmp_path, 1)[0]
    taken = 0

    def paths() -> Iterator[str]:
        nonlocal taken
        for _ in range(100_000):
            taken += 1
            yield path

    found = inspect_all(paths(), 100_000, workers=2)
    for _ in range(500):
        next(found)
    assert taken < 60_000
    found.close()  # type: ignore[attr-defined]


def test_an_image_that_may_hang_is_not_decoded_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A progressive JPEG with thousands of scans keeps libjpeg busy for minutes, where no signal reaches it."""
    from lorachk.facts import images

    file = tmp_path / "scans.jpg"
    Image.effect_noise((64, 64), 50).save(file, progressive=True)
    data = file.read_bytes()
    scan = data.rindex(b"\xff\xda")
    file.write_bytes(data[:scan] + data[scan:-2] * 200 + data[-2:])
    monkeypatch.setattr(images, "decode", lambda *_, **__: pytest.fail("decoded in this process"))
    facts = dict(inspect_all([str(file)], 1, workers=1))[str(file)]
    assert facts is not None
    assert facts.width == 64
