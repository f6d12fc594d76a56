"""What a trainer does to an image before the model's processor sees it, and which settings of its own it brings.

    prepared = prepare("llamafactory", settings, {"image_max_pixels": 262144})
    prepared.count(1920, 1080).tokens

Options are named as the trainer names them: its arguments, and environment variables in capitals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lorachk.families.visual import llamafactory, swift
from lorachk.families.visual.llava import OneVision, Patches
from lorachk.families.visual.minicpmv import Resampled
from lorachk.families.visual.resized import Glm, SmartResize
from lorachk.families.visual.result import Refused, Size, Visual, behind
from lorachk.families.visual.settings import DEFAULT, Settings
from lorachk.families.visual.steps import Options, Resize, unchanged, utils_resize
from lorachk.families.visual.tiled import Dynamic

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """A trainer's way with images: `resize` first, then the processor with `settings`, then the text `behind`."""

    settings: Settings
    resize: Resize = unchanged
    behind: str = ""
    per_record: Callable[[Settings, int], Settings] | None = None

    def count(self, width: int, height: int, *, number: int = 0, images: int = 1) -> Visual:
        """What an image of `width` x `height` pixels becomes; `number` of the record's `images`. Raises Refused."""
        found = self._used(images).count(*self.resize((width, height)), number=number)
        return behind(found, self.behind) if self.behind else found

    def write(self, width: int, height: int, *, number: int = 0, images: int = 1) -> str:
        """The same as text, see `visual.write`."""
        return self._used(images).write(*self.resize((width, height)), number=number) + self.behind

    def _used(self, images: int) -> Settings:
        return self.settings if self.per_record is None else self.per_record(self.settings, images)


def prepare(trainer: str | None, settings: Settings, options: Mapping[str, Any] | None = None) -> Prepared | None:
    """How `trainer` treats images of the model that `settings` describe; None where that is not known.

    Without a trainer: as the processor treats them. Raises Refused for an option it cannot work with.
    """
    if trainer is None:
        return Prepared(settings)
    known = _TRAINERS.get(trainer)
    return known(settings, Options(options or {}, trainer)) if known else None


def _llamafactory(settings: Settings, options: Options) -> Prepared | None:
    found = llamafactory.prepare(settings, options)
    return found and Prepared(*found)


def _swift(settings: Settings, options: Options) -> Prepared | None:
    found = swift.prepare(settings, options)
    return found and Prepared(*found)


def _minicpmv(settings: Settings, options: Options) -> Prepared | None:
    """OpenBMB/MiniCPM-V finetune.py: --max_slice_nums and --llm_type."""
    if not settings.family.startswith("minicpm"):
        return None
    settings = options.into(settings, {"max_slice_nums": 9}, max_slice_nums="max_slice_nums")
    if isinstance(settings.values, Resampled):
        settings = options.into(settings, {"llm_type": "minicpm"}, llm_type="llm_type")
        settings = settings.override({"writer": "script"}, DEFAULT)
    return Prepared(settings)


def _llava(settings: Settings, options: Options) -> Prepared | None:
    """LLaVA's train.py: --image_aspect_ratio pad makes a square first, --mm_use_im_start_end adds two markers."""
    if not isinstance(settings.values, Patches):
        return None
    shape = options.text("image_aspect_ratio", "square")
    if shape.startswith("anyres"):
        raise Refused("LLaVA's own any-resolution tiles are not counted; convert the model to llava_next")
    settings = options.into(settings, {"mm_use_im_start_end": False}, mm_use_im_start_end="mm_use_im_start_end")
    return Prepared(settings, _squared if shape == "pad" else unchanged)


def _squared(size: Size) -> Size:
    return max(size), max(size)


def _qwen(settings: Settings, options: Options) -> Prepared | None:
    """QwenLM's qwen-vl-finetune: --min_pixels and --max_pixels, 16 and 576 tokens of 28 pixels when not given."""
    if not isinstance(settings.values, SmartResize):
        return None
    return _budget(settings, options, 28 * 28 * 16, 28 * 28 * 576)


def _vlm_r1(settings: Settings, options: Options) -> Prepared | None:
    """VLM-R1 sets both budgets of Qwen's and GLM's processors; InternVL it leaves alone."""
    if isinstance(settings.values, (SmartResize, Glm)):
        return _budget(settings, options, 3136, 12845056)
    return Prepared(settings) if isinstance(settings.values, Dynamic) else None


def _budget(settings: Settings, options: Options, least: int, most: int) -> Prepared:
    defaults = {"min_pixels": least, "max_pixels": most}
    return Prepared(options.into(settings, defaults, min_pixels="min_pixels", max_pixels="max_pixels"))


def _qwen_series(settings: Settings, options: Options) -> Prepared | None:
    """2U1/Qwen-VL-Series-Finetune: qwen_vl_utils resizes, or brings to a fixed size, and the processor does not."""
    if not isinstance(settings.values, SmartResize) or settings.family not in ("qwen2_vl", "qwen2_5_vl"):
        return None
    least, most = options.number("image_min_pixels", 3136), options.number("image_max_pixels", 12845056)
    wide, high = options.number("image_resized_width", 0), options.number("image_resized_height", 0)
    fixed = (wide, high) if wide and high else None
    resize = partial(utils_resize, factor=28, least=least, most=most, fixed=fixed)
    return Prepared(settings.override({"do_resize": False}, "default of qwen-vl-series"), resize)


def _internvl(settings: Settings, options: Options) -> Prepared | None:
    """OpenGVLab/InternVL's trainer: no tiles and no thumbnail unless asked for; a record's images share the tiles."""
    if not isinstance(settings.values, Dynamic):
        return None
    edge, ratio = options.number("force_image_size", 448), options.real("down_sample_ratio", 0.5)
    changes = {
        "writer": "internvl",
        "tile_size": edge,
        "image_seq_length": int((edge // settings.values.patch_size) ** 2 * ratio**2),
    }
    settings = settings.override(changes, "default of internvl")
    defaults = {"cut": False, "use_thumbnail": False, "min_tiles": 1, "max_tiles": 12}
    settings = options.into(
        settings,
        defaults,
        cut="dynamic_image_size",
        use_thumbnail="use_thumbnail",
        min_tiles="min_dynamic_patch",
        max_tiles="max_dynamic_patch",
    )
    return Prepared(settings, per_record=_shared)


def _shared(settings: Settings, images: int) -> Settings:
    assert isinstance(settings.values, Dynamic)
    if images <= 1:
        return settings
    return settings.override({"max_tiles": max(1, settings.values.max_tiles // images)})


def _axolotl(settings: Settings, options: Options) -> Prepared | None:
    """axolotl: every image of an images column becomes image_size, padded to a square when that is one number.

    image_size is the option, else config.json's vision_config.image_size (state it as the option); nothing is known
    without. A record's further images are not used.
    """
    edge = options.given("image_size")
    if edge is None:
        return None
    wide, high = edge if isinstance(edge, (list, tuple)) and len(edge) == 2 else (edge, edge)
    return Prepared(settings, partial(_always, to=(int(wide), int(high))))


def _always(_size: Size, *, to: Size) -> Size:
    return to


def _processor(settings: Settings, _options: Options) -> Prepared:
    """TRL and plain scripts call the processor; TRL gives it each record's images as a list of their own."""
    if isinstance(settings.values, Resampled):
        settings = settings.override({"writer": "processor"}, DEFAULT)
    return Prepared(settings, per_record=_nested if isinstance(settings.values, OneVision) else None)


def _nested(settings: Settings, images: int) -> Settings:
    return settings.override({"nested": True}) if images > 1 else settings


_TRAINERS: dict[str, Callable[[Settings, Options], Prepared | None]] = {
    "llamafactory": _llamafactory,
    "ms-swift": _swift,
    "minicpmv": _minicpmv,
    "llava": _llava,
    "qwen-vl": _qwen,
    "qwen-vl-series": _qwen_series,
    "vlm-r1": _vlm_r1,
    "internvl": _internvl,
    "axolotl": _axolotl,
    "trl": _processor,
    "hf": _processor,
}
