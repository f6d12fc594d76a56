"""Record the keys that several DeepSpeed versions read: `python record_deepspeed_keys.py FOLDER=VERSION ...`.

FOLDER is the folder `deepspeed` of an unpacked source distribution (`pip download --no-deps deepspeed==VERSION`).
Nothing of it is imported. Writes lorachk/deepspeed/recorded.json, which stands in where DeepSpeed is not installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lorachk.deepspeed.keys import read_keys

TARGET = Path(__file__).parents[2] / "lorachk/deepspeed/recorded.json"


def record(folders: dict[str, Path]) -> dict[str, Any]:
    """Blocks, keys and removed keys, each with a 0 or 1 for every version."""
    read = {version: read_keys(folder) for version, folder in folders.items()}
    blocks: dict[str, Any] = {}
    removed: dict[str, Any] = {}
    for block in sorted({block for keys in read.values() for block in keys.blocks}):
        strict = "".join(str(int(block in keys.strict)) for keys in read.values())
        known: dict[str, Any] = {}
        for name in sorted({name for keys in read.values() for name in keys.blocks.get(block, {})}):
            entries = [keys.blocks.get(block, {}).get(name) for keys in read.values()]
            given = [entry for entry in entries if entry is not None]
            kind = next((e.type for e in reversed(given) if e.type), None)
            replaced = next((e.replaced for e in reversed(given) if e.replaced), None)
            known[name] = [kind, replaced, "".join(str(int(e is not None)) for e in entries)]
        blocks[block] = {"strict": strict, "keys": known}
    for place in sorted({place for keys in read.values() for place in keys.removed}):
        text = next(keys.removed[place] for keys in reversed(read.values()) if place in keys.removed)
        has = "".join(str(int(place in keys.removed)) for keys in read.values())
        removed["/".join(place)] = [text, has]
    return {"versions": list(read), "blocks": blocks, "removed": removed}


if __name__ == "__main__":
    given = {version: Path(folder) for folder, _, version in (word.rpartition("=") for word in sys.argv[1:])}
    TARGET.write_text(json.dumps(record(given), indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
