"""MiniCPM-V's image blocks: against the published algorithm, restated here, and against transformers' own processor."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.families.visual import Refused, Settings, count, resolve, write
from lorachk.families.visual.minicpmv import grid, sizes
from tests.visual_oracle import PIXELS, SIZES, NoVideo, block, build, many, ours, picture, same, shapes_only, written

TINY = Path(__file__).parent.parent / "fixtures/models/minicpmv-4_6-tiny"

# reference/trainers.md 2.5, in full: grid, pieces, tokens of 2.6, 2.5, 2.0; 4.6 in 16x; 4.6 in 4x. The 4x column there
# (821 ...) is what the sizes of 16x give when only the count is switched, as LLaMA-Factory's DOWNSAMPLE_MODE does and
# transformers did until its sizes followed the mode; since then (5.23.0) 4x gives the last column. Where the reference
# has a dash, the numbers of 4.6 are the processor's.
TABLE: dict[tuple[int, int], tuple[Any, ...]] = {
    (448, 448): (None, 1, 66, 98, 66, 69, 261, 261),
    (449, 448): ((2, 1), 3, 201, 296, 200, 205, None, 771),
    (640, 480): ((2, 1), 3, 201, 296, 200, 212, 821, 781),
    (1024, 768): ((2, 2), 5, 334, 493, 333, 329, 1274, 1274),
    (1280, 720): ((3, 2), 7, 466, 689, 465, 462, None, 1800),
    (1344, 1344): ((3, 3), 10, 665, 984, 664, 665, 2585, 2585),
    (1920, 1080): ((4, 2), 9, 598, 885, 597, 600, 2334, 2314),
    (4032, 3024): ((3, 3), 10, 665, 984, 664, 655, 2545, 2545),
    (4000, 400): ((9, 1), 10, 663, 982, 662, 674, None, 2568),
    (100, 1500): (None, 1, 66, 98, 66, 67, None, 253),
}


def _settings(family: str, **overrides: Any) -> Settings:
    found = resolve(family, overrides=overrides)
    assert found is not None
    return found


@pytest.mark.parametrize("size", TABLE)
def test_reference_table(size: tuple[int, int]) -> None:
    cut, pieces, *tokens = TABLE[size]
    assert grid(size) == cut
    columns = [_settings(family) for family in ("minicpmv26", "minicpmv25", "minicpmv2", "minicpmv46")]
    columns += [_settings("minicpmv46", token_mode="4x"), _settings("minicpmv46", downsample_mode="4x")]
    for used, expected in zip(columns, tokens, strict=True):
        if expected is not None:
            found = count(*size, used)
            assert (found.pieces, found.tokens, found.starts, found.ends) == (pieces, expected, pieces, pieces), used


def test_the_table_s_36_slices() -> None:
    assert count(4032, 3024, _settings("minicpmv46", max_slice_nums=36)).tokens == 2382


def test_o26_and_45_count_as_26_and_40_by_the_old_schema() -> None:
    for family in ("minicpmo", "minicpmv45"):
        assert count(1024, 768, _settings(family)).tokens == 334
    assert count(1024, 768, _settings("minicpmv4")).tokens == 333


def test_the_script_decides_the_schema_by_llm_type() -> None:
    assert count(1024, 768, _settings("minicpmv26", llm_type="minicpm")).tokens == 333
    assert count(1024, 768, _settings("minicpmv25", llm_type="qwen")).tokens == 494


def test_the_processor_writes_an_id_for_every_image_the_script_for_those_it_cut() -> None:
    assert count(448, 448, _settings("minicpmv26")).tokens == 66
    assert count(448, 448, _settings("minicpmv26", writer="processor")).tokens == 69
    assert count(448, 448, _settings("minicpmv4", writer="processor")).tokens == 69
    assert count(448, 448, _settings("minicpmv25", writer="processor")).tokens == 98


def test_an_image_number_of_two_digits_takes_one_more_token() -> None:
    used = _settings("minicpmv26")
    assert count(1024, 768, used, number=10).tokens == count(1024, 768, used, number=9).tokens + 1


def test_one_slice_leaves_every_image_whole() -> None:
    found = count(4032, 3024, _settings("minicpmv26", max_slice_nums=1))
    assert (found.pieces, found.tokens) == (1, 66)


def test_the_upscaled_size_of_a_narrow_image() -> None:
    assert count(100, 1500, _settings("minicpmv26")).size == (112, 1736)


def _published(size: tuple[int, int], most: int, q: int, new: bool, number: int) -> tuple[str, list[tuple[int, int]]]:
    """The block as finetune/dataset.py writes it, one letter a token, and the sizes of the images it cuts.

    Restated from slice_image, find_best_resize, get_refine_size, get_grid_placeholder and preprocess at 0dbb566:
    S scale_resolution 448, P patch_size 14; <, > around the image, [, ] around a slice, u is <unk>.
    """
    width, height = size

    def near(length: float, step: int) -> int:
        return max(round(length / step) * step, step)

    def best_resize(w: float, h: float, upscale: bool) -> tuple[int, int]:
        if w * h > 448 * 448 or upscale:
            r = w / h
            h = int(448 / math.sqrt(r))
            w = int(h * r)
        return near(w, 14), near(h, 14)

    whole = "<" + "u" * q + ">"
    multiple = min(math.ceil(width * height / (448 * 448)), most)
    if multiple <= 1:
        return whole, [best_resize(width, height, True)]
    candidates = [n for n in (multiple - 1, multiple, multiple + 1) if n != 1 and n <= most]
    grids = [(m, n // m) for n in candidates for m in range(1, n + 1) if n % m == 0]
    columns, rows = min(grids, key=lambda g: abs(math.log(width / height) - math.log(g[0] / g[1])))
    cell = best_resize(near(width, columns) / columns, near(height, rows) / rows, True)
    refined = (cell[0] * columns, cell[1] * rows)
    images = [best_resize(width, height, False)]
    images += [(refined[0] // columns, refined[1] // rows)] * (columns * rows)
    slice_ = "[" + "u" * q + "]" if new else whole
    block = whole + ("" if new else "[") + "\n".join([slice_ * columns] * rows) + ("" if new else "]")
    return (f"({number})" if new else "") + block, images


def _spelled(block: str, *, new: bool) -> str:
    """The letters of `_published` as the tokens they stand for."""
    tokens = {"<": "<image>", ">": "</image>", "[": "<slice>", "]": "</slice>", "u": "<unk>"}
    tokens |= {"(": "<image_id>", ")": "</image_id>"} if new else {}
    return "".join(tokens.get(letter, letter) for letter in block)


@pytest.mark.parametrize("family", ["minicpmv2", "minicpmv25", "minicpmv26", "minicpmo", "minicpmv4", "minicpmv45"])
def test_the_script_s_block_is_the_published_one(family: str) -> None:
    @many(300)
    @given(SIZES, st.integers(1, 40), st.integers(1, 100), st.integers(0, 120), st.sampled_from(["", "qwen", "llama3"]))
    def check(size: tuple[int, int], most: int, q: int, number: int, llm_type: str) -> None:
        used = _settings(family, max_slice_nums=most, query_num=q, llm_type=llm_type)
        new = llm_type == "qwen" if llm_type else family in ("minicpmv26", "minicpmo", "minicpmv45")
        text, images = _published(size, most, q, new, number)
        found = count(*size, used, number=number)
        assert found.tokens == len(text)
        assert found.features == text.count("u") == q * found.pieces
        starts, ends = (text.count("<") + new * text.count("["), text.count(">") + new * text.count("]"))
        assert (found.starts, found.ends) == (starts, ends)
        cut = grid(size, most)
        assert sizes(size, cut) == images
        assert found.size == images[0]
        assert write(*size, used, number=number) == _spelled(text, new=new)

    check()


def test_values_of_the_model_s_own_files() -> None:
    config = {"query_num": 32, "slice_config": {"max_slice_nums": 4, "scale_resolution": 224, "patch_size": 16}}
    used = resolve("minicpmv26", config, {"image_feature_size": 64, "max_slice_nums": 9})
    assert used is not None
    assert dict(used.origins)["max_slice_nums"] == "config.json:/slice_config/max_slice_nums"
    assert used.given("query_num")
    assert not used.given("writer")
    found = count(640, 480, used)
    assert (found.pieces, found.features) == (5, 160)


@cache
def _tokenizer() -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(TINY)


def _processor(kind: str, image: dict[str, Any]) -> Any:
    import transformers
    from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil

    image_processor = MiniCPMV4_6ImageProcessorPil(**image)
    return build(
        getattr(transformers, kind),
        image_processor=image_processor,
        tokenizer=_tokenizer(),
        video_processor=NoVideo(image_processor),
    )


@pytest.mark.parametrize(
    ("family", "kind"), [("minicpmv46", "MiniCPMV4_6Processor"), ("minicpmv47", "MiniCPMV4_7Processor")]
)
def test_the_native_block_is_the_installed_processor_s(family: str, kind: str) -> None:
    @many(120)
    @given(
        SIZES,
        st.integers(1, 12),
        st.sampled_from(["16x", "4x"]),
        st.sampled_from([448, 224, 300]),
        st.booleans(),
        st.sampled_from([0, 0, 1, 10]),
    )
    def check(size: tuple[int, int], most: int, mode: str, scale: int, ids: bool, number: int) -> None:
        image = {"max_slice_nums": most, "downsample_mode": mode, "scale_resolution": scale, "use_image_id": ids}
        processor = _processor(kind, image)
        used = resolve(family, preprocessor=image)
        # All images but the last are of one token's size, so that the last has the number.
        small = count(1, 1, _settings(family, **image)).tokens
        before = sum(small + (len(str(n)) - 1 if ids else 0) for n in range(number))
        pads = number * count(1, 1, _settings(family, **image)).features
        images = [picture((1, 1))] * number + [picture(size)]
        found = ours(size, used, number)
        assert found is not None

        def text() -> str:
            return "".join(block((1, 1), used, number=n)() for n in range(number)) + block(size, used, number=number)()

        def real() -> tuple[int, int, Any]:
            tokens, placeholders, got = written(processor, "<|image_pad|>" * (number + 1), images, "<|image_pad|>")
            return tokens - before, placeholders - pads, got

        with shapes_only():
            got = same(found, real, processor.tokenizer, text)
        assert len(got["target_sizes"]) - number == found.pieces
        assert [int(n) * 14 for n in got["target_sizes"][number]] == [found.size[1], found.size[0]]

    check()


@pytest.mark.parametrize("mode", ["16x", "4x"])
def test_real_pixels_give_the_same_pieces(mode: str) -> None:
    processor = _processor("MiniCPMV4_6Processor", {"downsample_mode": mode})
    used = _settings("minicpmv46", downsample_mode=mode)
    for size in PIXELS:
        got = processor.image_processor([picture(size, real=True)], return_tensors="np")
        found = count(*size, used)
        assert len(got["target_sizes"]) == found.pieces
        patches = int(np.prod(got["target_sizes"], axis=-1).sum())
        assert found.features == patches // (4 if mode == "4x" else 16)
        assert got["pixel_values"].shape[-1] == patches * 14


def test_the_reference_s_4x_column_is_not_the_processor_s() -> None:
    processor = _processor("MiniCPMV4_6Processor", {"downsample_mode": "4x"})
    for size in TABLE:
        with shapes_only():
            tokens, _, _ = written(processor, "<|image_pad|>", [picture(size)], "<|image_pad|>")
        assert tokens == TABLE[size][-1]


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(Refused, match="has no setting max_pixels"):
        _settings("minicpmv26", max_pixels=1)


def test_text_of_the_block() -> None:
    found = count(1920, 1080, _settings("minicpmv26"), number=12)
    assert found.text == ("12", "\n")
