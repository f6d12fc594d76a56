"""What trainers do to images first. The trainers are not installed; their published functions are restated here."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lorachk.families.visual import FAMILIES, Refused, Settings, Visual, resolve
from lorachk.families.visual.before import Prepared, prepare
from tests.visual_oracle import SIZES, many

WIDE = st.one_of(
    SIZES,
    st.tuples(st.integers(5000, 30000), st.integers(1, 60)),
    st.tuples(st.integers(1, 60), st.integers(5000, 30000)),
)
Files = Sequence[dict[str, Any] | None]


def _settings(family: str, *files: dict[str, Any] | None) -> Settings:
    found = resolve(family, *files)
    assert found is not None
    return found


def _prepared(
    trainer: str | None, family: str, files: list[dict[str, Any] | None] | None = None, **options: Any
) -> Prepared:
    found = prepare(trainer, _settings(family, *(files or [])), options)
    assert found is not None
    return found


def _count(trainer: str | None, family: str, size: tuple[int, int], **options: Any) -> Visual:
    return _prepared(trainer, family, **options).count(*size)


class _Pixels:
    """A size that resizes as PIL does: not to nothing."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.width, self.height = size

    def resize(self, size: tuple[int, int]) -> _Pixels:
        if min(size) < 1:
            raise ValueError("height and width must be > 0")
        return _Pixels(size)


def _llamafactory(image: _Pixels, most: int, least: int, *, qwen: bool) -> _Pixels:
    """MMPluginMixin._preprocess_image and Qwen2VLPlugin's, as of ff6d4d1."""
    if image.width * image.height > most:
        factor = math.sqrt(most / (image.width * image.height))
        image = image.resize((int(image.width * factor), int(image.height * factor)))
    if image.width * image.height < least:
        factor = math.sqrt(least / (image.width * image.height))
        image = image.resize((int(image.width * factor), int(image.height * factor)))
    if qwen:
        if min(image.width, image.height) < 28:
            image = image.resize((max(image.width, 28), max(image.height, 28)))
        if image.width / image.height > 200:
            image = image.resize((image.height * 180, image.height))
        if image.height / image.width > 200:
            image = image.resize((image.width, image.width * 180))
    return image


@pytest.mark.parametrize("family", ["qwen2_vl", "llava_next"])
def test_llamafactory_resizes_first(family: str) -> None:
    @many(500)
    @given(WIDE, st.sampled_from([None, 1024, 65536, 1000000]), st.sampled_from([None, 1, 784, 1000]))
    def check(size: tuple[int, int], most: int | None, least: int | None) -> None:
        options = {"image_max_pixels": most, "image_min_pixels": least}
        used = _prepared("llamafactory", family, **options)
        try:
            image = _llamafactory(_Pixels(size), most or 768 * 768, least or 32 * 32, qwen=family == "qwen2_vl")
        except ValueError:
            with pytest.raises(Refused, match="Pillow refuses"):
                used.resize(size)
        else:
            assert used.resize(size) == (image.width, image.height)

    check()


def test_pillow_refuses_a_side_of_no_pixels() -> None:
    with pytest.raises(ValueError):
        Image.new("RGB", (1, 9)).resize((0, 9))


def test_llamafactory_leaves_at_most_four_slices_of_26_and_all_of_46() -> None:
    size = (4032, 3024)
    assert _count(None, "minicpmv26", size).pieces == 10
    assert _count("llamafactory", "minicpmv26", size).pieces == 5
    assert _count("llamafactory", "minicpmv46", size).pieces == 10


def test_llamafactory_s_downsample_mode_changes_only_the_count() -> None:
    assert _count("llamafactory", "minicpmv46", (640, 480), DOWNSAMPLE_MODE="4x").tokens == 821
    assert _count("ms-swift", "minicpmv46", (640, 480), DOWNSAMPLE_MODE="4x").tokens == 781 + 1


def test_llamafactory_s_internvl_has_one_tile_unless_asked() -> None:
    native = [{"model_type": "internvl"}]
    assert _prepared("llamafactory", "internvl", native).count(1920, 1080).pieces == 1
    assert _prepared("llamafactory", "internvl", native, crop_to_patches=True).count(1920, 1080).pieces == 3


def test_llamafactory_s_gemma3_scans_when_asked() -> None:
    assert _count("llamafactory", "gemma3", (768, 300)).pieces == 1
    assert _count("llamafactory", "gemma3", (768, 300), image_do_pan_and_scan="true").pieces == 4


def test_llamafactory_refuses_a_budget_upside_down() -> None:
    with pytest.raises(Refused, match="cannot be smaller"):
        _prepared("llamafactory", "llava", image_max_pixels=10)


def _fetch_image(size: tuple[int, int], factor: int, least: int, most: int) -> tuple[int, int]:
    """qwen_vl_utils 0.0.14: smart_resize, with the size as (height, width) turned here."""
    width, height = size
    if max(height, width) / min(height, width) > 200:
        raise ValueError("absolute aspect ratio must be smaller than 200")
    high = max(factor, round(height / factor) * factor)
    wide = max(factor, round(width / factor) * factor)
    if high * wide > most:
        beta = math.sqrt((height * width) / most)
        high = math.floor(height / beta / factor) * factor
        wide = math.floor(width / beta / factor) * factor
    elif high * wide < least:
        beta = math.sqrt(least / (height * width))
        high = math.ceil(height * beta / factor) * factor
        wide = math.ceil(width * beta / factor) * factor
    if min(high, wide) < 1:
        raise ValueError("height and width must be > 0")
    return wide, high


def _rescale_image(size: tuple[int, int], most: int) -> tuple[int, int]:
    """swift/template/vision_utils.py at 3602360."""
    if size[0] * size[1] <= most:
        return size
    ratio = size[0] / size[1]
    high = math.sqrt(most / ratio)
    if min(int(high * ratio), int(high)) < 1:
        raise ValueError("height and width must be > 0")
    return int(high * ratio), int(high)


def test_swift_resizes_qwen_with_qwen_vl_utils() -> None:
    @many(500)
    @given(SIZES, st.sampled_from([None, 4096, 401408, 1003520]), st.sampled_from([None, 100000]), st.booleans())
    def check(size: tuple[int, int], most: int | None, own: int | None, three: bool) -> None:
        family, factor = ("qwen3_vl", 32) if three else ("qwen2_5_vl", 28)
        used = _prepared("ms-swift", family, MAX_PIXELS=None if most is None else str(most), max_pixels=own)
        tokens = 16384 if most is None else most // factor**2
        try:
            image = size if own is None else _rescale_image(size, own)
            expected = _fetch_image(image, factor, 4 * factor**2, tokens * factor**2)
        except ValueError:
            with pytest.raises(Refused):
                used.count(*size)
        else:
            found = used.count(*size)
            assert found.size == expected
            assert found.features == expected[0] * expected[1] // factor**2

    check()


def test_swift_s_tokens_win_over_pixels_and_the_model_s_file_has_no_say() -> None:
    file = [None, {"max_pixels": 784 * 10, "min_pixels": 784}]
    assert _prepared("ms-swift", "qwen2_vl", file).count(2800, 2800).features == 10000
    assert _prepared("ms-swift", "qwen2_vl", file, MAX_PIXELS="784000").count(2800, 2800).features == 961
    both = _prepared("ms-swift", "qwen2_vl", file, MAX_PIXELS="784000", IMAGE_MAX_TOKEN_NUM="100")
    assert both.count(2800, 2800).features == 100


def test_swift_with_the_older_qwen_vl_utils() -> None:
    used = _prepared("ms-swift", "qwen2_vl", MAX_PIXELS="80000", qwen_vl_utils="0.0.11")
    newer = _prepared("ms-swift", "qwen2_vl", MAX_PIXELS="80000")
    assert used.resize((2800, 2800)) == newer.resize((2800, 2800)) == (280, 280)
    # A factor that the patches do not divide: the processor, which does not resize, cannot make patches.
    with pytest.raises(Refused, match="does not divide"):
        _prepared("ms-swift", "qwen2_vl", IMAGE_FACTOR="12", qwen_vl_utils="0.0.8").count(600, 600)
    with pytest.raises(Refused, match=r"0\.0\.14"):
        _prepared("ms-swift", "qwen3_vl", qwen_vl_utils="0.0.10")


def test_swift_s_variables_for_minicpmv_and_internvl() -> None:
    assert _count("ms-swift", "minicpmv26", (4032, 3024)).tokens == 665 + 1
    assert _count("ms-swift", "minicpmv26", (4032, 3024), MAX_SLICE_NUMS="1").tokens == 66 + 3 + 1
    assert _count("ms-swift", "minicpmv46", (4032, 3024), MAX_SLICE_NUMS="36").tokens == 2382 + 1
    assert _count("ms-swift", "internvl", (1920, 1080)).tokens == 9 * 256 + 3
    assert _count("ms-swift", "internvl", (1920, 1080), MAX_NUM="1").tokens == 256 + 3
    assert _count("ms-swift", "internvl", (1920, 1080), MAX_NUM="1", INPUT_SIZE="224").tokens == 64 + 3


def test_swift_s_newline_is_part_of_the_text() -> None:
    used = _prepared("ms-swift", "minicpmv26", MAX_SLICE_NUMS="1")
    assert used.write(640, 480, number=7) == f"<image_id>7</image_id><image>{'<unk>' * 64}</image>\n"
    assert used.count(640, 480, number=7).text == ("7", "\n")


def test_a_variable_that_is_no_number_is_refused() -> None:
    with pytest.raises(Refused, match="ms-swift's MAX_PIXELS is 'large', not a number"):
        _prepared("ms-swift", "qwen2_vl", MAX_PIXELS="large")
    with pytest.raises(Refused, match="neither true nor false"):
        _prepared("llamafactory", "gemma3", image_do_pan_and_scan="maybe")


def test_minicpmv_s_script() -> None:
    assert _count("minicpmv", "minicpmv26", (1024, 768), llm_type="qwen").tokens == 334
    assert _count("minicpmv", "minicpmv26", (1024, 768)).tokens == 333  # its default llm_type is minicpm
    assert _count("minicpmv", "minicpmv26", (1024, 768), llm_type="qwen", max_slice_nums=1).tokens == 66
    assert _count("trl", "minicpmv26", (448, 448)).tokens == 69
    assert dict(_prepared("minicpmv", "minicpmv26").settings.origins)["llm_type"] == "default of minicpmv"


def test_llava_pads_to_a_square() -> None:
    used = _prepared("llava", "llava", image_aspect_ratio="pad", mm_use_im_start_end="True")
    assert used.resize((100, 900)) == (900, 900)
    assert used.count(100, 900).tokens == 578
    with pytest.raises(Refused, match="any-resolution"):
        _prepared("llava", "llava", image_aspect_ratio="anyres")


def test_qwen_s_own_finetuning_brings_its_budget() -> None:
    assert _count("qwen-vl", "qwen2_5_vl", (2800, 2800)).features == 576
    assert _count("qwen-vl", "qwen2_5_vl", (2800, 2800), max_pixels=50176).features == 64
    assert _count("vlm-r1", "qwen2_5_vl", (2800, 2800)).features == 10000
    assert _count("qwen-vl-series", "qwen2_5_vl", (2800, 2800), image_max_pixels=78400).features == 100
    fixed = _prepared("qwen-vl-series", "qwen2_5_vl", image_resized_width=280, image_resized_height=560)
    assert fixed.count(31, 400).size == (280, 560)


def test_internvl_s_own_trainer_makes_tiles_when_asked_and_shares_them() -> None:
    assert _count("internvl", "internvl", (1920, 1080)).pieces == 1
    used = _prepared("internvl", "internvl", dynamic_image_size="True", use_thumbnail="True", max_dynamic_patch=6)
    assert used.count(1344, 896).pieces == 7
    assert used.count(1344, 896, images=2).pieces == 3
    assert used.count(1344, 896, images=12).pieces == 1


def test_trl_gives_onevision_its_images_nested() -> None:
    used = _prepared("trl", "llava_onevision")
    assert used.count(640, 480).tokens > 2000
    assert used.count(640, 480, images=2).tokens == 730


def test_axolotl_resizes_to_the_given_size() -> None:
    assert prepare("axolotl", _settings("qwen2_vl")) is None
    assert _prepared("axolotl", "qwen2_vl", image_size=280).count(4000, 100).features == 100
    assert _prepared("axolotl", "qwen2_vl", image_size=[280, 560]).count(4000, 100).size == (280, 560)


def test_unknown_ways_are_none() -> None:
    assert prepare("fastchat", _settings("llava")) is None
    assert prepare("llamafactory", _settings("smolvlm")) is None
    assert prepare("ms-swift", _settings("minicpmv47")) is None


@pytest.mark.parametrize("trainer", ["llamafactory", "ms-swift", "internvl", "axolotl", "qwen-vl-series", None])
def test_every_prepared_way_goes_to_another_process(trainer: str | None) -> None:
    for family in FAMILIES:
        found = prepare(trainer, _settings(family), {"image_size": 448})
        if found is not None:
            again = pickle.loads(pickle.dumps(found))
            assert again.count(700, 500) == found.count(700, 500)
