"""Looking at many JPEG files: lorachk's inspect_all against Pillow in a loop, in one run on the same files.

    python benchmarks/images/run.py [--images 100000] [--workers 2] [--write]

The files are real 640x480 JPEGs (some with EXIF, some progressive); of PICTURES different ones there are as many hard
links as it takes. `open`: Image.open and verify() of each, one process, which finds no truncated JPEG. `load`: the same
with load(), which does; measured on a part. `ours`: headers and end check of all, decode of the sample.
`--write` records the result in result.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import PIL
from PIL import Image, ImageFilter

from lorachk.facts.images import DECODED, inspect_all

HERE = Path(__file__).parent
PICTURES = 2000
LOADED = 2000  # files of the load() loop


def generate(folder: Path, count: int) -> list[str]:
    """Write the files and return their paths."""
    rng = random.Random(0)
    noise = Image.effect_noise((1280, 960), 90).filter(ImageFilter.GaussianBlur(2))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "lorachk"
    paths: list[str] = []
    for number in range(count):
        shard = folder / f"{number // 10_000:03d}"
        if number % 10_000 == 0:
            shard.mkdir(parents=True)
        path = shard / f"{number:08d}.jpg"
        if number < PICTURES:
            left, upper = rng.randrange(640), rng.randrange(480)
            bands = [noise.crop((left + d, upper, left + d + 640, upper + 480)) for d in (0, 3, 7)]
            picture = Image.merge("RGB", [b.resize((640, 480)) for b in bands])
            options = {"exif": exif} if number % 4 == 0 else {}
            picture.save(path, quality=90, progressive=number % 10 == 0, **options)
        else:
            os.link(paths[number % PICTURES], path)
        paths.append(str(path))
    return paths


def timed(work: Iterator[object]) -> dict[str, float]:
    """Seconds to exhaust `work`, by the clock and of CPUs (this process and its children)."""
    start, before = time.perf_counter(), sum(os.times()[:4])
    for _ in work:
        pass
    return {"clock": round(time.perf_counter() - start, 2), "cpu": round(sum(os.times()[:4]) - before, 2)}


def opened(paths: list[str], load: bool) -> Iterator[None]:
    """The loop that people write."""
    for path in paths:
        with Image.open(path) as image:
            image.load() if load else image.verify()
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--write", action="store_true", help="record the result in result.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = generate(Path(folder), options.images)
        size = sum(Path(p).stat().st_size for p in paths[:PICTURES]) / min(PICTURES, len(paths))
        ours = timed(inspect_all(iter(paths), len(paths), workers=options.workers))
        opening = timed(opened(paths, load=False))
        loading = timed(opened(paths[:LOADED], load=True))
        again = timed(inspect_all(iter(paths), len(paths), workers=options.workers))
        broken = sum(f is None or f.problem is not None for _, f in inspect_all(paths[:3000], 3000, workers=2))
    result = {
        "images": len(paths),
        "kib_each": round(size / 1024, 1),
        "decoded_in_full": min(DECODED, len(paths)),
        "ours_seconds": ours,
        "ours_again_seconds": again,
        "open_and_verify_seconds": opening,
        f"open_and_load_of_{len(paths[:LOADED])}_seconds": loading,
        "false_alarms": broken,
        "load_average": os.getloadavg()[0],
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
        f"Pillow {PIL.__version__}",
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.write:
        (HERE / "result.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
