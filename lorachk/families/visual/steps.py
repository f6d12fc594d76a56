"""Options of a trainer, and the resizing that several trainers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lorachk.families.visual.result import Refused, Size
from lorachk.families.visual.settings import DEFAULT, Settings

Resize = Callable[[Size], Size]
_YES, _NO = ("1", "true", "yes", "on", "y", "t"), ("0", "false", "no", "off", "n", "f", "")


class Options(NamedTuple):
    """What a run states by the trainer's own names; texts are read as the trainer reads them."""

    values: Mapping[str, Any]
    trainer: str

    def given(self, name: str) -> Any:
        """The value as stated, None when it is not."""
        return self.values.get(name)

    def number(self, name: str, default: int) -> int:
        """An integer. Raises Refused for what is none."""
        return int(self.real(name, default))

    def real(self, name: str, default: float) -> float:
        """A number. Raises Refused for what is none."""
        value = self.values.get(name)
        if value is None:
            return default
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise Refused(f"{self.trainer}'s {name} is {value!r}, not a number")
        return number

    def text(self, name: str, default: str) -> str:
        """A text."""
        value = self.values.get(name)
        return default if value is None else str(value)

    def flag(self, name: str, default: bool) -> bool:
        """Yes or no. Raises Refused for what is neither."""
        value = self.values.get(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        if str(value).lower() not in (*_YES, *_NO):
            raise Refused(f"{self.trainer}'s {name} is {value!r}, neither true nor false")
        return str(value).lower() in _YES

    def into(self, settings: Settings, defaults: Mapping[str, Any], **names: str) -> Settings:
        """Settings with fields from options: field=option; `defaults` of the trainer where the run states none."""
        for field, option in names.items():
            default = defaults[field]
            read = self.flag if isinstance(default, bool) else self.text if isinstance(default, str) else self.number
            stated = self.values.get(option) is not None
            origin = f"{self.trainer}: {option}" if stated else f"{DEFAULT} of {self.trainer}"
            settings = settings.override({field: read(option, default)}, origin)
        return settings


def unchanged(size: Size) -> Size:
    """The image as it is."""
    return size


def drawable(size: Size) -> Size:
    """The size, when Pillow can resize to it. Raises Refused for a side of no pixels."""
    if min(size) < 1:
        raise Refused(f"the trainer resizes the image to {size[0]} x {size[1]} pixels, which Pillow refuses")
    return size


def utils_resize(size: Size, *, factor: int, least: int, most: int, fixed: Size | None = None) -> Size:
    """`fetch_image` of qwen_vl_utils 0.0.14 (QwenLM/Qwen3-VL 9658872): like the processor's smart_resize, but not.

    No side is rounded below `factor` pixels, and a side scaled down may vanish. `fixed`: the size to bring it to
    instead, within the package's own budget of 4 to 16384 tokens.
    """
    width, height = size
    if fixed:
        (width, height), least, most = fixed, 4 * factor**2, 16384 * factor**2
    if most < least:
        raise Refused("the max_pixels of image must be greater than or equal to min_pixels")
    ratio = max(width, height) / min(width, height)
    if ratio > 200:
        raise Refused(f"absolute aspect ratio must be smaller than 200, got {ratio:.6g}")
    wide, high = (max(factor, round(side / factor) * factor) for side in (width, height))
    if wide * high > most:
        scale = math.sqrt(width * height / most)
        wide, high = (math.floor(side / scale / factor) * factor for side in (width, height))
    elif wide * high < least:
        scale = math.sqrt(least / (width * height))
        wide, high = (math.ceil(side * scale / factor) * factor for side in (width, height))
    return drawable((wide, high))
