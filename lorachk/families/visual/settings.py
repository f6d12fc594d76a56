"""Where the arithmetic's values come from: the model's own files, what the run overrides, the family's defaults.

A family's values are a frozen dataclass. Each field names the places it is read from, as `file/key/key` with the files
image (preprocessor_config.json, or what processor_config.json nests as image_processor), processor
(processor_config.json) and config (config.json); the first place that holds a value of the right type wins.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lorachk.families.visual.result import Refused, Size, Visual

Json = Mapping[str, Any]
_NAMES = {"config": "config.json", "image": "preprocessor_config.json", "processor": "processor_config.json"}
DEFAULT, OVERRIDE = "default", "override"


class Values:
    """Base of the families' values."""

    def refine(self, _files: Files, _origins: dict[str, str], /) -> Values:
        """The values after what depends on several of them; may move a field's origin in `origins`."""
        return self

    def count(self, width: int, height: int, number: int, /) -> Visual:
        """The image's block; `number` is the image's number in its record, from 0. Raises Refused."""
        raise NotImplementedError

    def write(self, width: int, height: int, number: int, /) -> str:
        """The block as text: what stands in the image's place when the text is tokenised. Raises Refused."""
        raise NotImplementedError


class Files(NamedTuple):
    """The three JSON files of a model folder; None for one that is not there."""

    config: Json | None = None
    image: Json | None = None
    processor: Json | None = None

    def at(self, place: str) -> Any:
        """The value at a place, None when there is none."""
        name, *keys = place.split("/")
        value: Any = getattr(self, name)
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


@dataclasses.dataclass(frozen=True)
class Settings:
    """The values of one run. `origins`: field -> where from (`file:/pointer`, default, override), sorted by field."""

    family: str
    values: Values
    origins: tuple[tuple[str, str], ...]

    def count(self, width: int, height: int, *, number: int = 0) -> Visual:
        """See `lorachk.families.visual.count`."""
        return self.values.count(*_seen(width, height), number)

    def write(self, width: int, height: int, *, number: int = 0) -> str:
        """See `lorachk.families.visual.write`."""
        return self.values.write(*_seen(width, height), number)

    def override(self, changes: Mapping[str, Any], origin: str = OVERRIDE) -> Settings:
        """The settings with fields changed, and from where; what the values derived from other fields stays."""
        values = dataclasses.replace(self.values, **changes)  # type: ignore[type-var]
        origins = dict(self.origins) | dict.fromkeys(changes, origin)
        return Settings(self.family, values, tuple(sorted(origins.items())))

    def given(self, field: str) -> bool:
        """Whether the field was stated by a file or the run, rather than assumed."""
        return not dict(self.origins)[field].startswith(DEFAULT)


def _seen(width: int, height: int) -> Size:
    if width < 1 or height < 1:
        raise Refused(f"an image of {width} x {height} pixels has no pixels")
    return width, height


def field(default: Any, *places: str, absent: Any = None, least: int = 1, most: int = 1 << 40) -> Any:
    """A field of a Values class.

    `default`: as the official checkpoints have it. `absent`: what transformers' class assumes when the model's image
    processor file is there and does not say. `least`, `most`: the numbers allowed.
    """
    return dataclasses.field(default=default, metadata={"places": places, "absent": absent, "range": (least, most)})


def read(
    family: str, start: Values, files: Files, overrides: Mapping[str, Any], absent: Mapping[str, Any] | None = None
) -> Settings:
    """Settings of `family` from its default values, the files and the overrides (field name -> value).

    `absent` replaces the fields' own `absent` for this family. Raises Refused for a value no processor can work with.
    """
    fields = {f.name: f for f in dataclasses.fields(start)}  # type: ignore[arg-type]
    for name in overrides:
        if name not in fields:
            raise Refused(f"{family} has no setting {name}; it has {', '.join(sorted(fields))}")
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, declared in fields.items():
        default = getattr(start, name)
        value, origin = _first(files, declared.metadata.get("places", ()), default)
        if value is None and files.image is not None:
            value = (absent or {}).get(name, declared.metadata.get("absent"))
            origin = f"{DEFAULT} of the processor's class"
        if name in overrides and overrides[name] is not None:
            value, origin = overrides[name], OVERRIDE
        if value is None:
            value, origin = default, DEFAULT
        _check(value, declared.metadata["range"], f"{name} ({origin})")
        found[name], origins[name] = value, origin
    values = dataclasses.replace(start, **found).refine(files, origins)  # type: ignore[type-var]
    return Settings(family, values, tuple(sorted(origins.items())))


def load(folder: str | Path) -> Files:
    """The JSON files of a model folder. What is missing, unreadable or no object counts as not there."""
    config, image, processor = (_json(Path(folder) / _NAMES[n]) for n in ("config", "image", "processor"))
    return nested(config, image, processor)


def nested(config: Json | None, image: Json | None, processor: Json | None) -> Files:
    """Files, with the image processor that transformers would load: the nested one replaces the file of its own."""
    inner = processor.get("image_processor") if processor else None
    return Files(config, inner if isinstance(inner, Mapping) else image, processor)


def _json(path: Path) -> Json | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _first(files: Files, places: tuple[str, ...], default: Any) -> tuple[Any, str]:
    for place in places:
        value = files.at(place)
        fitting = _fitting(value, default)
        if fitting is not None:
            name, _, keys = place.partition("/")
            return fitting, f"{_NAMES[name]}:/{keys}"
    return None, DEFAULT


def _fitting(value: Any, default: Any) -> Any:
    """The value when it has the default's type, else None: a foreign or broken file does not stop the count."""
    if isinstance(default, bool):
        return value if isinstance(value, bool) else None
    if isinstance(default, int):
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(default, float):
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if isinstance(default, tuple):  # grid pinpoints: pairs of numbers
        return pairs(value)
    return value if isinstance(value, str) else None


def pairs(value: Any) -> tuple[Size, ...] | None:
    """Pairs of positive integers, or None for anything else."""
    if not isinstance(value, (list, tuple)) or not value:
        return None
    found = []
    for pair in value:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            return None
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in pair):
            return None
        found.append((pair[0], pair[1]))
    return tuple(found)


def _check(value: Any, allowed: tuple[int, int], what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    least, most = allowed
    if not math.isfinite(value) or not least <= value <= most:
        raise Refused(f"{what} is {value}; it must be between {least} and {most}")
