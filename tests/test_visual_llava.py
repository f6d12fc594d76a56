"""LLaVA 1.5, LLaVA-NeXT and LLaVA-OneVision against the installed processors."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.families.visual import Refused, count, resolve
from tests.visual_oracle import (
    EDGE,
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

STRATEGY = st.sampled_from(["default", "full"])
# Narrow images make resizing by the shortest edge allocate gigabytes; sizes alone are drawn without this limit.
SHOWN = [size for size in PIXELS if max(size) < 50 * min(size)]


def _llava(image: dict[str, Any], processor: dict[str, Any]) -> Any:
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return build(
        transformers.LlavaProcessor,
        image_processor=CLIPImageProcessorPil(**image),
        tokenizer=tokenizer(image_token="<image>"),
        **processor,
    )


def _next(image: dict[str, Any], processor: dict[str, Any]) -> Any:
    import transformers
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    return build(
        transformers.LlavaNextProcessor,
        image_processor=LlavaNextImageProcessorPil(**image),
        tokenizer=tokenizer(image_token="<image>"),
        **processor,
    )


def _onevision(image: dict[str, Any], processor: dict[str, Any]) -> Any:
    import transformers
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

    image_processor = LlavaOnevisionImageProcessorPil(**image)
    return build(
        transformers.LlavaOnevisionProcessor,
        image_processor=image_processor,
        tokenizer=tokenizer(image_token="<image>", video_token="<video>"),
        video_processor=NoVideo(image_processor),
        **processor,
    )


def _edges(edge: int) -> dict[str, Any]:
    return {"size": {"shortest_edge": edge}, "crop_size": {"height": edge, "width": edge}}


def test_llava_writes_as_the_processor() -> None:
    @many(80)
    @given(SIZES, st.integers(40, 400), st.integers(8, 32), st.integers(0, 2), STRATEGY)
    def check(size: tuple[int, int], edge: int, patch: int, extra: int, strategy: str) -> None:
        image = _edges(edge)
        text = {
            "patch_size": patch,
            "num_additional_image_tokens": extra,
            "vision_feature_select_strategy": strategy,
        }
        processor = _llava(image, text)
        used = resolve("llava", None, image, text)
        found = ours(size, used)
        assert found is not None
        with shapes_only():
            got = same(
                found,
                lambda: written(processor, "<image>", [picture(size)], "<image>"),
                processor.tokenizer,
                block(size, used),
            )
        assert np.shape(got["pixel_values"][0])[1:] == found.size[::-1]
        assert processor._get_num_multimodal_tokens([size[::-1]]).num_image_tokens == [found.features]

    check()


def test_llava_with_real_pixels() -> None:
    image, text = _edges(112), {"patch_size": 14, "num_additional_image_tokens": 1}
    processor = _llava(image, {**text, "vision_feature_select_strategy": "default"})
    used = resolve("llava", None, image, text)
    for size in SHOWN:
        images = [picture(size, real=True)]
        real = functools.partial(written, processor, "<image>", images, "<image>")
        same(ours(size, used), real, processor.tokenizer, block(size, used))


POINTS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=8)


def test_llava_next_counts_as_the_processor() -> None:
    @many(400)
    @given(SIZES, st.sampled_from([28, 56, 336, 384]), st.sampled_from([7, 14]), POINTS, st.integers(0, 1), STRATEGY)
    def check(
        size: tuple[int, int], edge: int, patch: int, grid: list[tuple[int, int]], extra: int, strategy: str
    ) -> None:
        image = {**_edges(edge), "image_grid_pinpoints": [[r * edge, c * edge] for r, c in grid]}
        text = {
            "patch_size": patch,
            "num_additional_image_tokens": extra,
            "vision_feature_select_strategy": strategy,
        }
        found = ours(size, resolve("llava_next", None, image, text))
        try:
            numbers = _next(image, text)._get_num_multimodal_tokens([size[::-1]])
        except TypeError:  # no resolution fits: the processor unpacks None
            assert found is None
        else:
            assert found is not None
            assert numbers.num_image_tokens == [found.features]

    check()


def test_llava_next_writes_as_the_processor() -> None:
    image = {**_edges(28), "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]}
    text = {"patch_size": 7, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    processor, used = _next(image, text), resolve("llava_next", None, image, text)

    def check(size: tuple[int, int], *, real: bool) -> None:
        found = ours(size, used)
        got = same(
            found,
            lambda: written(processor, "<image>", [picture(size, real=real)], "<image>"),
            processor.tokenizer,
            block(size, used),
        )
        if found is not None:
            assert np.shape(got["pixel_values"][0])[0] == found.pieces

    @many(80)
    @given(st.tuples(EDGE, EDGE))
    def drawn(size: tuple[int, int]) -> None:
        with shapes_only():
            check(size, real=False)

    drawn()
    for size in SHOWN:
        check(size, real=True)


def test_onevision_counts_as_the_processor() -> None:
    @many(400)
    @given(
        SIZES, st.sampled_from([(384, 729), (336, 576), (56, 16)]), POINTS, st.integers(1, 12), STRATEGY, st.booleans()
    )
    def check(
        size: tuple[int, int],
        tower: tuple[int, int],
        grid: list[tuple[int, int]],
        most: int,
        strategy: str,
        official: bool,
    ) -> None:
        edge, tokens = tower
        image: dict[str, Any] = {"size": {"height": edge, "width": edge}}
        if not official:
            image["image_grid_pinpoints"] = [[r * edge, c * edge] for r, c in grid]
        text = {
            "num_image_tokens": tokens,
            "vision_aspect_ratio": f"anyres_max_{most}",
            "vision_feature_select_strategy": strategy,
        }
        found = ours(size, resolve("llava_onevision", None, image, text))
        try:
            numbers = _onevision(image, text)._get_num_multimodal_tokens([size[::-1]])
        except TypeError:
            assert found is None
        else:
            assert found is not None
            assert numbers.num_image_tokens == [found.features]

    check()


def test_onevision_writes_as_the_processor() -> None:
    image = {
        "size": {"height": 32, "width": 32},
        "image_grid_pinpoints": [[32 * r, 32 * c] for r in range(1, 7) for c in range(1, 7)],
    }
    text = {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}
    processor, used = _onevision(image, text), resolve("llava_onevision", None, image, text)

    def check(size: tuple[int, int], *, real: bool) -> None:
        found = ours(size, used)
        got = same(
            found,
            lambda: written(processor, "<image>", [picture(size, real=real)], "<image>"),
            processor.tokenizer,
            block(size, used),
        )
        if found is not None:
            assert np.shape(got["pixel_values"][0])[0] == found.pieces

    @many(80)
    @given(SIZES)
    def drawn(size: tuple[int, int]) -> None:
        with shapes_only():
            check(size, real=False)

    drawn()
    for size in SHOWN:
        check(size, real=True)


def test_onevision_leaves_several_images_of_a_nested_list_whole() -> None:
    image = {"size": {"height": 32, "width": 32}}
    text = {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}
    processor = _onevision(image, text)
    used = resolve("llava_onevision", None, image, text, {"nested": True})
    assert used is not None
    images = [[picture((64, 40), real=True), picture((300, 20), real=True)]]
    tokens, pads, _ = written(processor, "<image><image>", images, "<image>")  # type: ignore[arg-type]
    assert tokens == pads == count(64, 40, used).tokens + count(300, 20, used).tokens


def test_padding_to_a_square_changes_no_count() -> None:
    used = resolve("llava", {"image_aspect_ratio": "pad", "mm_vision_tower": "openai/clip-vit-large-patch14-336"})
    assert used is not None
    assert count(4000, 10, used).tokens == 576
    assert dict(used.origins)["image_size"] == "config.json:/mm_vision_tower"


def test_a_siglip_tower_has_no_class_token() -> None:
    config = {"vision_config": {"model_type": "siglip_vision_model", "image_size": 384, "patch_size": 14}}
    used = resolve("llava", config)
    assert used is not None
    assert count(640, 480, used).tokens == 729


def test_llava_s_own_any_resolution_is_refused() -> None:
    with pytest.raises(Refused, match="convert"):
        resolve("llava", {"image_aspect_ratio": "anyres"})
