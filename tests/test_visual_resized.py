"""Qwen-VL, GLM-4V and Gemma 4 against the installed processors: sizes within a pixel budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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

Build = Callable[[dict[str, Any]], Any]
LEAST = st.sampled_from([1, 28 * 28, 56 * 56, 112 * 112, 65536, 1000000])
MOST = st.sampled_from([28 * 28, 100000, 401408, 1003520, 12845056, 16777216])


def _qwen(kind: str, image: dict[str, Any]) -> Any:
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    image_processor = Qwen2VLImageProcessorPil(**image)
    return build(
        getattr(transformers, kind),
        image_processor=image_processor,
        tokenizer=tokenizer("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
        video_processor=NoVideo(image_processor),
    )


def _glm(image: dict[str, Any], kind: str = "Glm4v") -> Any:
    import transformers
    from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
    from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil

    image_processor = {"Glm4v": Glm4vImageProcessorPil, "Glm46V": Glm46VImageProcessorPil}[kind](**image)
    return build(
        getattr(transformers, f"{kind}Processor"),
        image_processor=image_processor,
        tokenizer=tokenizer("<|begin_of_image|>", "<|end_of_image|>", "<|image|>", "<|video|>"),
        video_processor=NoVideo(image_processor),
    )


AROUND = "<|vision_start|>{}<|vision_end|>"
QWEN = [("qwen2_vl", "Qwen2VLProcessor"), ("qwen2_5_vl", "Qwen2_5_VLProcessor"), ("qwen3_vl", "Qwen3VLProcessor")]


@pytest.mark.parametrize(("family", "kind"), [*QWEN, ("qwen3_5", "Qwen3VLProcessor")])
def test_qwen_counts_as_the_processor(family: str, kind: str) -> None:
    @many(300)
    @given(
        SIZES, st.sampled_from([14, 16]), st.sampled_from([1, 2, 3]), LEAST, MOST, st.sampled_from(["pixels", "size"])
    )
    def check(size: tuple[int, int], patch: int, merge: int, least: int, most: int, form: str) -> None:
        budget = {"min_pixels": least, "max_pixels": most}
        if form == "size":
            budget = {"size": {"shortest_edge": least, "longest_edge": most}}  # type: ignore[dict-item]
        image = {"patch_size": patch, "merge_size": merge, **budget}
        processor = _qwen(kind, image)
        found = ours(size, resolve(family, preprocessor=image))
        try:
            numbers = processor._get_num_multimodal_tokens([(size[1], size[0])])
        except ValueError:
            assert found is None
        else:
            assert found is not None
            assert numbers.num_image_tokens == [found.features]
            assert numbers.num_image_patches == [(found.size[0] // patch) * (found.size[1] // patch)]

    check()


@pytest.mark.parametrize(("family", "kind"), QWEN)
def test_qwen_writes_as_the_processor(family: str, kind: str) -> None:
    @many(60)
    @given(SIZES, st.sampled_from([784, 40000, 200000]), st.sampled_from([784, 3136, 100000]))
    def check(size: tuple[int, int], most: int, least: int) -> None:
        image = {"max_pixels": most, "min_pixels": least}
        processor = _qwen(kind, image)
        used = resolve(family, preprocessor=image)
        found = ours(size, used)
        text = "<|vision_start|><|image_pad|><|vision_end|>"
        with shapes_only():
            got = same(
                found,
                lambda: written(processor, text, [picture(size)], "<|image_pad|>"),
                processor.tokenizer,
                block(size, used, AROUND),
                beside=2,
            )
        if found is not None:
            grid = [int(n) for n in got["image_grid_thw"][0]]
            assert grid == [1, found.size[1] // 14, found.size[0] // 14]

    check()


def test_qwen_with_real_pixels() -> None:
    processor = _qwen("Qwen2VLProcessor", {"max_pixels": 200000, "min_pixels": 3136}).image_processor
    used = resolve("qwen2_vl", preprocessor={"max_pixels": 200000, "min_pixels": 3136})
    for size in PIXELS:
        found = ours(size, used)
        if found is None:
            with pytest.raises(ValueError, match="aspect ratio"):
                processor([picture(size, real=True)])
            continue
        got = processor([picture(size, real=True)], return_tensors="np")
        assert len(got["pixel_values"]) == 4 * found.features
        assert got["image_grid_thw"].tolist() == [[1, found.size[1] // 14, found.size[0] // 14]]


@pytest.mark.parametrize("size", [(280, 560), (28, 28), (30, 28), (14, 28), (5600, 28), (8204, 28)])
def test_qwen_takes_what_the_trainer_resized(size: tuple[int, int]) -> None:
    """Without do_resize the processor looks at no shape and no budget, and fails where no whole tokens come out."""
    image = {"do_resize": False}
    used = resolve("qwen2_vl", preprocessor=image)
    found = ours(size, used)
    processor = _qwen("Qwen2VLProcessor", image)
    pad = "<|image_pad|>"
    same(
        found, lambda: written(processor, pad, [picture(size, real=True)], pad), processor.tokenizer, block(size, used)
    )
    assert (found is None) == bool(size[0] % 28 or size[1] % 28)


def test_more_than_200_times_as_long_as_wide_is_refused_with_the_reason() -> None:
    used = resolve("qwen2_5_vl")
    assert used is not None
    assert count(200, 1, used).features > 0
    with pytest.raises(Refused, match="absolute aspect ratio must be smaller than 200, got 201"):
        count(201, 1, used)


@pytest.mark.parametrize("kind", ["Glm4v", "Glm46V"])
def test_glm_counts_as_the_processor(kind: str) -> None:
    @many(300)
    @given(SIZES, st.sampled_from([14, 16]), st.sampled_from([1, 2]), st.sampled_from([1, 2, 4]), LEAST, MOST)
    def check(size: tuple[int, int], patch: int, merge: int, frames: int, least: int, most: int) -> None:
        edges = {"shortest_edge": least, "longest_edge": most}
        image = {"patch_size": patch, "merge_size": merge, "temporal_patch_size": frames, "size": edges}
        processor = _glm(image, kind)
        found = ours(size, resolve("glm4v", preprocessor=image))
        try:
            numbers = processor._get_num_multimodal_tokens([(size[1], size[0])])
        except ValueError:
            assert found is None
        else:
            assert found is not None
            assert numbers.num_image_tokens == [found.features]
            assert numbers.num_image_patches == [(found.size[0] // patch) * (found.size[1] // patch)]

    check()


def test_glm_writes_as_the_processor() -> None:
    image = {"size": {"shortest_edge": 112 * 112, "longest_edge": 400000}}
    processor, used = _glm(image), resolve("glm4v", preprocessor=image)

    def check(size: tuple[int, int], *, real: bool) -> None:
        found = ours(size, used)
        text = "<|begin_of_image|><|image|><|end_of_image|>"
        got = same(
            found,
            lambda: written(processor, text, [picture(size, real=real)], "<|image|>"),
            processor.tokenizer,
            block(size, used, "<|begin_of_image|>{}<|end_of_image|>"),
            beside=2,
        )
        if found is not None:
            assert [int(n) for n in got["image_grid_thw"][0]] == [1, found.size[1] // 14, found.size[0] // 14]

    @many(60)
    @given(SIZES)
    def drawn(size: tuple[int, int]) -> None:
        with shapes_only():
            check(size, real=False)

    drawn()
    for size in PIXELS:
        check(size, real=True)


def _gemma4(image: dict[str, Any]) -> Any:
    import transformers
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    image_processor = Gemma4ImageProcessorPil(**image)
    named = {"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>"}
    sound = {"audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"}
    return build(
        transformers.Gemma4Processor,
        image_processor=image_processor,
        tokenizer=tokenizer(**named, **sound),
        video_processor=NoVideo(image_processor),
        feature_extractor=NoVideo(image_processor),
    )


def test_gemma4_counts_as_the_processor() -> None:
    @many(300)
    @given(SIZES, st.sampled_from([8, 14, 16]), st.sampled_from([1, 2, 3]), st.sampled_from([70, 140, 280, 560, 1120]))
    def check(size: tuple[int, int], patch: int, pool: int, most: int) -> None:
        image = {"patch_size": patch, "pooling_kernel_size": pool, "max_soft_tokens": most}
        processor = _gemma4(image)
        found = ours(size, resolve("gemma4", preprocessor=image))
        try:
            numbers = processor._get_num_multimodal_tokens([(size[1], size[0])])
        except ValueError:
            assert found is None
        else:
            assert found is not None
            assert numbers.num_image_tokens == [found.features]

    check()


def test_gemma4_writes_as_the_processor() -> None:
    processor, used = _gemma4({}), resolve("gemma4")

    def check(size: tuple[int, int], *, real: bool) -> None:
        found = ours(size, used)
        got = same(
            found,
            lambda: written(processor, "<|image|>", [picture(size, real=real)], "<|image|>"),
            processor.tokenizer,
            block(size, used),
        )
        if found is not None:
            seen = int((got["image_position_ids"][0] >= 0).all(-1).sum())
            assert seen == (found.size[0] // 16) * (found.size[1] // 16)

    @many(40)
    @given(SIZES)
    def drawn(size: tuple[int, int]) -> None:
        with shapes_only():
            check(size, real=False)

    drawn()
    for size in PIXELS:
        check(size, real=True)


def test_gemma4_takes_only_its_own_budgets() -> None:
    used = resolve("gemma4", preprocessor={"max_soft_tokens": 100})
    assert used is not None
    with pytest.raises(Refused, match="must be one of"):
        count(640, 480, used)
