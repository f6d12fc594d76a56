"""InternVL, Llama 3.2 Vision and Phi-4-multimodal: tiles, against the installed processors and the published code."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.families.visual import Refused, count, resolve
from tests.visual_oracle import (
    PIXELS,
    SIZES,
    NoVideo,
    block,
    build,
    many,
    ours,
    picture,
    same,
    shapes_only,
    tokenizer,
    written,
)


def _internvl(image: dict[str, Any], length: int = 256) -> Any:
    import transformers
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    image_processor = GotOcr2ImageProcessorPil(**image)
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    return build(
        transformers.InternVLProcessor,
        image_processor=image_processor,
        tokenizer=tokenizer(**named),
        video_processor=NoVideo(image_processor),
        image_seq_length=length,
    )


NATIVE = {"model_type": "internvl"}


def test_native_internvl_counts_as_the_processor() -> None:
    @many(400)
    @given(SIZES, st.sampled_from([32, 448, 384]), st.integers(1, 6), st.integers(1, 40), st.sampled_from([4, 256]))
    def check(size: tuple[int, int], tile: int, least: int, most: int, length: int) -> None:
        image = {"size": {"height": tile, "width": tile}, "min_patches": least, "max_patches": most}
        numbers = _internvl(image, length)._get_num_multimodal_tokens([size[::-1]])
        found = ours(size, resolve("internvl", NATIVE, image, {"image_seq_length": length}))
        assert found is not None
        assert (numbers.num_image_patches, numbers.num_image_tokens) == ([found.pieces], [found.tokens])

    check()


def test_native_internvl_writes_as_the_processor() -> None:
    image = {"size": {"height": 32, "width": 32}, "min_patches": 1, "max_patches": 12}
    processor, used = _internvl(image, 5), resolve("internvl", NATIVE, image, {"image_seq_length": 5})

    def check(size: tuple[int, int], *, real: bool) -> None:
        found = ours(size, used)
        images = [picture(size, real=real)]
        got = same(
            found,
            lambda: written(processor, "<IMG_CONTEXT>", images, "<IMG_CONTEXT>"),
            processor.tokenizer,
            block(size, used),
        )
        assert found is not None
        assert len(got["pixel_values"]) == found.pieces

    @many(60)
    @given(SIZES)
    def drawn(size: tuple[int, int]) -> None:
        with shapes_only():
            check(size, real=False)

    drawn()
    for size in PIXELS:
        check(size, real=True)


def test_without_tiles_one_piece_is_left() -> None:
    processor = _internvl({"size": {"height": 32, "width": 32}})
    used = resolve("internvl", NATIVE, {"size": {"height": 32, "width": 32}}, None, {"cut": False})
    assert used is not None
    with shapes_only():
        got = processor.image_processor(
            [picture((640, 480))], crop_to_patches=False, input_data_format="channels_first"
        )
    assert len(got["pixel_values"]) == count(640, 480, used).pieces == 1


def _published(size: tuple[int, int], least: int, most: int, edge: int, *, thumbnail: bool) -> tuple[int, int, int]:
    """Columns, rows and pieces by `dynamic_preprocess` of OpenGVLab/InternVL, restated."""
    width, height = size
    shapes = _shapes(least, most)
    best, gap = (1, 1), float("inf")
    for shape in shapes:
        difference = abs(width / height - shape[0] / shape[1])
        if difference < gap:
            gap, best = difference, shape
        elif difference == gap and width * height > 0.5 * edge * edge * shape[0] * shape[1]:
            best = shape
    blocks = best[0] * best[1]
    return (*best, blocks + 1 if thumbnail and blocks != 1 else blocks)


@cache
def _shapes(least: int, most: int) -> list[tuple[int, int]]:
    shapes = {
        (i, j)
        for n in range(least, most + 1)
        for i in range(1, n + 1)
        for j in range(1, n + 1)
        if i * j <= most and i * j >= least
    }
    return sorted(shapes, key=lambda shape: shape[0] * shape[1])


def test_internvl_s_own_code_as_published() -> None:
    @many(500)
    @given(SIZES, st.sampled_from([448, 224]), st.integers(1, 4), st.integers(4, 40), st.booleans())
    def check(size: tuple[int, int], edge: int, least: int, most: int, thumbnail: bool) -> None:
        config = {
            "model_type": "internvl_chat",
            "force_image_size": edge,
            "min_dynamic_patch": least,
            "max_dynamic_patch": most,
            "use_thumbnail": thumbnail,
            "downsample_ratio": 0.5,
            "vision_config": {"image_size": 448, "patch_size": 14},
        }
        columns, rows, pieces = _published(size, least, most, edge, thumbnail=thumbnail)
        found = ours(size, resolve("internvl", config))
        assert found is not None
        assert found.size == (columns * edge, rows * edge)
        assert found.pieces == pieces
        assert found.tokens == pieces * int((edge // 14) ** 2 * 0.25) + 2

    check()


def test_the_two_codes_differ_among_grids_equally_near() -> None:
    """With exactly four tiles a shape of 5:2 is as far from 4 x 1 as from 2 x 2; the order of the grids decides."""
    own = resolve("internvl", {"model_type": "internvl_chat", "min_dynamic_patch": 4, "max_dynamic_patch": 4})
    tiles = {"size": {"height": 448, "width": 448}, "min_patches": 4, "max_patches": 4}
    native = resolve("internvl", NATIVE, tiles)
    assert own is not None
    assert native is not None
    assert count(5120, 2048, own).size == (896, 896)
    assert count(5120, 2048, native).size == (4 * 448, 448)
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

    assert get_optimal_tiled_canvas((2048, 5120), (448, 448), 4, 4) == (4, 1)
    assert _published((5120, 2048), 4, 4, 448, thumbnail=True)[:2] == (2, 2)


def _mllama(image: dict[str, Any]) -> Any:
    import transformers
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    return build(
        transformers.MllamaProcessor,
        image_processor=MllamaImageProcessorPil(**image),
        tokenizer=tokenizer("<|python_tag|>", image_token="<|image|>"),
    )


def test_mllama_tiles_as_the_processor() -> None:
    from transformers.models.mllama.image_processing_pil_mllama import (
        get_image_size_fit_to_canvas,
        get_optimal_tiled_canvas,
    )

    @many(500)
    @given(SIZES, st.sampled_from([14, 224, 448, 560]), st.integers(1, 9))
    def check(size: tuple[int, int], tile: int, most: int) -> None:
        image = {"size": {"height": tile, "width": tile}, "max_image_tiles": most}
        high, wide = get_optimal_tiled_canvas(size[1], size[0], most, tile)
        found = ours(size, resolve("mllama", preprocessor=image))
        assert found is not None
        assert found.pieces == (high // tile) * (wide // tile)
        assert found.size[::-1] == get_image_size_fit_to_canvas(size[1], size[0], high, wide, tile)

    check()


def test_mllama_writes_as_the_processor() -> None:
    image = {"size": {"height": 28, "width": 28}, "max_image_tiles": 4}
    processor, used = _mllama(image), resolve("mllama", preprocessor=image)

    def check(size: tuple[int, int], *, real: bool) -> None:
        found = ours(size, used)
        images = [picture(size, real=real)]
        # The processor puts <bos> behind the image.
        got = same(
            found,
            lambda: written(processor, "<|image|>", images, "<|image|>"),
            processor.tokenizer,
            block(size, used, "{}<bos>"),
            beside=1,
        )
        assert found is not None
        assert int(np.asarray(got["aspect_ratio_mask"]).sum()) == found.pieces

    @many(60)
    @given(SIZES)
    def drawn(size: tuple[int, int]) -> None:
        with shapes_only():
            check(size, real=False)

    drawn()
    for size in PIXELS:
        check(size, real=True)


@cache
def _phi(tile: int, patch: int, most: int) -> Any:
    """The image processor with a stand-in for torchvision, which it needs for resizing and padding only."""
    torch = pytest.importorskip("torch")
    import importlib
    import sys
    from types import ModuleType
    from unittest import mock

    functional = ModuleType("torchvision.transforms.v2.functional")
    functional.resize = lambda image, size, **_: torch.zeros(()).expand(3, *size)  # type: ignore[attr-defined]

    def pad(image: Any, sides: list[int], fill: Any) -> Any:
        left, top, right, bottom = sides
        return torch.zeros(()).expand(3, image.shape[-2] + top + bottom, image.shape[-1] + left + right)

    functional.pad = pad  # type: ignore[attr-defined]
    v2 = ModuleType("torchvision.transforms.v2")
    v2.functional = functional  # type: ignore[attr-defined]
    stand_in = {"torchvision": ModuleType("torchvision"), "torchvision.transforms": ModuleType("transforms")}
    stand_in |= {v2.__name__: v2, functional.__name__: functional}
    name = "transformers.models.phi4_multimodal.image_processing_phi4_multimodal"
    with mock.patch.dict(sys.modules, stand_in):
        module = importlib.import_module(name)
    sys.modules.pop(name, None)
    made = object.__new__(module.Phi4MultimodalImageProcessor)
    made.resize = lambda image, size, **_: torch.zeros(()).expand(3, size["height"], size["width"])
    made.rescale_and_normalize = lambda image, *_: image

    def tokens(size: tuple[int, int]) -> tuple[int, int]:
        from transformers.image_utils import SizeDict

        image = torch.zeros(()).expand(3, size[1], size[0])
        got = made._preprocess(
            [image],
            do_resize=True,
            size=SizeDict(height=tile, width=tile),
            resample=None,
            do_rescale=False,
            rescale_factor=1.0,
            do_normalize=False,
            image_mean=None,
            image_std=None,
            patch_size=patch,
            dynamic_hd=most,
            return_tensors=None,
        )
        return got["num_img_tokens"][0], got["image_pixel_values"].shape[1]

    return tokens


@pytest.mark.parametrize(("tile", "patch", "most"), [(448, 14, 36), (56, 14, 9), (60, 12, 16), (70, 14, 12)])
def test_phi_counts_as_the_processor(tile: int, patch: int, most: int) -> None:
    image = {"size": {"height": tile, "width": tile}, "patch_size": patch, "dynamic_hd": most}
    used = resolve("phi4_multimodal", preprocessor=image)
    tokens = _phi(tile, patch, most)

    @many(60)
    @given(SIZES)
    def check(size: tuple[int, int]) -> None:
        found = ours(size, used)
        if found is None:
            with pytest.raises(ValueError, match="very extreme"):
                tokens(size)
        else:
            assert tokens(size) == (found.features, found.pieces)

    check()


def test_phi_refuses_extreme_shapes_with_the_reason() -> None:
    used = resolve("phi4_multimodal")
    assert used is not None
    with pytest.raises(Refused, match="very extreme"):
        count(4000, 1, used)
