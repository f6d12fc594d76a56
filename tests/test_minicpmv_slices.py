"""Slice arithmetic of MiniCPM-V: a wrong count would call a record that fits too long, or let a cut image pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.families.minicpmv import MAX_SLICE_NUMS, Scheme, block, grid, piece_sizes, scheme

# Made by running OpenBMB/MiniCPM-V's own slice_image at 0dbb566:
# size: grid, pieces, tokens of 2.6 / 2.5 / 2.0, and of 4.6 as its transformers processor says.
TABLE = {
    (448, 448): (None, 1, 66, 98, 66, 69),
    (449, 448): ((2, 1), 3, 201, 296, 200, None),
    (640, 480): ((2, 1), 3, 201, 296, 200, 212),
    (1024, 768): ((2, 2), 5, 334, 493, 333, 329),
    (1280, 720): ((3, 2), 7, 466, 689, 465, None),
    (1344, 1344): ((3, 3), 10, 665, 984, 664, 665),
    (1920, 1080): ((4, 2), 9, 598, 885, 597, 600),
    (4032, 3024): ((3, 3), 10, 665, 984, 664, 655),
    (4000, 400): ((9, 1), 10, 663, 982, 662, None),
    (100, 1500): (None, 1, 66, 98, 66, None),
}


def _scheme(family: str, **kwargs: str) -> Scheme:
    found = scheme(family, **kwargs)
    assert found is not None
    return found


@pytest.mark.parametrize("size", TABLE)
def test_reference_table(size: tuple[int, int]) -> None:
    cut, pieces, *tokens = TABLE[size]
    assert grid(size) == cut
    for family, expected in zip(("minicpmv26", "minicpmv25", "minicpmv2", "minicpmv46"), tokens, strict=True):
        if expected is not None:
            assert block(size, _scheme(family)) == (pieces, expected), family


def test_o26_and_45_count_as_26_and_40_by_the_old_schema() -> None:
    for family in ("minicpmo", "minicpmv45"):
        assert block((1024, 768), _scheme(family)).tokens == 334
    assert block((1024, 768), _scheme("minicpmv4")).tokens == 333


def test_the_script_decides_the_schema_by_llm_type() -> None:
    assert block((1024, 768), _scheme("minicpmv26", llm_type="minicpm")).tokens == 333
    assert block((1024, 768), _scheme("minicpmv26", llm_type="qwen")).tokens == 334


def test_an_image_number_of_two_digits_takes_one_more_token() -> None:
    used = _scheme("minicpmv26")
    assert block((1024, 768), used, number=10).tokens == block((1024, 768), used, number=9).tokens + 1


def test_a_family_nobody_counted_is_unknown() -> None:
    assert scheme("minicpmv47") is None
    assert scheme(None) is None


def test_one_slice_leaves_every_image_whole() -> None:
    assert block((4032, 3024), _scheme("minicpmv26"), 1) == (1, 66)


def test_the_upscaled_size_of_a_narrow_image() -> None:
    assert piece_sizes((100, 1500)) == [(112, 1736)]


@given(st.integers(1, 12000), st.integers(1, 12000), st.integers(1, 40))
def test_never_more_slices_than_allowed(width: int, height: int, most: int) -> None:
    assert len(piece_sizes((width, height), most)) <= most + 1


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["16x", "4x"])
def test_46_equals_the_transformers_processor(mode: str) -> None:
    """The real image processor is the truth; without it a change upstream would go unseen."""
    real = pytest.importorskip("transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6")
    processor = real.MiniCPMV4_6ImageProcessorPil(downsample_mode=mode)
    used = _scheme("minicpmv46", downsample_mode=mode)

    def tokens(width: int, height: int, most: int) -> tuple[int, int]:
        sizes = np.array(_target_sizes(processor, width, height, most, mode))
        rows = processor.get_sliced_grid((height, width), most, 448)
        contents = sizes.prod(-1) // (4 if mode == "4x" else 16)
        newlines = rows[0] - 1 if rows else 0
        return len(sizes), int(contents.sum()) + 2 * len(sizes) + newlines + 3

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(1, 8000), st.integers(1, 8000), st.integers(1, 40))
    def same(width: int, height: int, most: int) -> None:
        assert block((width, height), used, most) == tokens(width, height, most)

    same()


def _target_sizes(processor, width: int, height: int, most: int, mode: str):  # type: ignore[no-untyped-def]
    """What `_preprocess` computes, from the processor's own three methods (resizing pixels would take minutes)."""
    cut = processor.get_sliced_grid((height, width), most, 448)
    sizes = [processor.find_best_resize((height, width), 448, 14, mode, allow_upscale=cut is None)]
    if cut:
        h, w = processor.get_refine_size((height, width), cut, 448, 14, mode, allow_upscale=True)
        sizes += [(h // cut[0], w // cut[1])] * (cut[0] * cut[1])
    return [(h // 14, w // 14) for h, w in sizes]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(448, 448), (449, 448), (640, 480), (1280, 720), (300, 2000), (31, 7)])
def test_46_equals_the_whole_processor_on_pixels(size: tuple[int, int]) -> None:
    real = pytest.importorskip("transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6")
    image = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    got = real.MiniCPMV4_6ImageProcessorPil()(image, return_tensors="np")
    expected = [(h // 14, w // 14) for w, h in piece_sizes(size, MAX_SLICE_NUMS, merge=4)]
    assert [tuple(s) for s in got["target_sizes"].tolist()] == expected
