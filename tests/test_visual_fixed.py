"""Gemma 3 and 3n, PaliGemma, Idefics 2 and 3, SmolVLM against the installed processors."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorachk.families.visual import count, resolve
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

GEMMA = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}


def _gemma3(length: int) -> Any:
    import transformers
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    return build(
        transformers.Gemma3Processor,
        image_processor=Gemma3ImageProcessorPil(size={"height": 28, "width": 28}),
        tokenizer=tokenizer(**GEMMA),
        image_seq_length=length,
    )


def test_gemma3_writes_as_the_processor() -> None:
    @many(120)
    @given(
        SIZES,
        st.integers(1, 40),
        st.booleans(),
        st.sampled_from([1, 16, 256]),
        st.integers(2, 6),
        st.sampled_from([1.0, 1.2, 3.0]),
    )
    def check(size: tuple[int, int], length: int, scan: bool, least: int, most: int, ratio: float) -> None:
        processor = _gemma3(length)
        options = {
            "do_pan_and_scan": scan,
            "pan_and_scan_min_crop_size": least,
            "pan_and_scan_max_num_crops": most,
            "pan_and_scan_min_ratio_to_activate": ratio,
        }
        used = resolve("gemma3", None, None, {"image_seq_length": length}, options)
        found = ours(size, used)
        with shapes_only():
            got = same(
                found,
                lambda: written(processor, "<start_of_image>", [picture(size)], GEMMA["image_token"], **options),
                processor.tokenizer,
                block(size, used),
            )
        assert found is not None
        assert len(got["pixel_values"]) == found.pieces == found.starts == found.ends

    check()


def test_gemma3_with_real_pixels() -> None:
    processor, options = _gemma3(3), {"do_pan_and_scan": True}
    used = resolve("gemma3", None, None, {"image_seq_length": 3}, options)
    for size in [*PIXELS, (1500, 600), (600, 1500)]:  # the last two lie between two and three crops
        tokens, pads, got = written(
            processor, "<start_of_image>", [picture(size, real=True)], GEMMA["image_token"], **options
        )
        found = ours(size, used)
        assert found is not None
        assert (pads, len(got["pixel_values"])) == (found.features, found.pieces)
        assert tokens > pads


def test_gemma3_scans_only_when_the_call_asks_for_it() -> None:
    """The processor's own default wins over the file's do_pan_and_scan."""
    import transformers
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    image = {"size": {"height": 28, "width": 28}, "do_pan_and_scan": True, "pan_and_scan_min_crop_size": 8}
    processor = build(
        transformers.Gemma3Processor,
        image_processor=Gemma3ImageProcessorPil(**image),
        tokenizer=tokenizer(**GEMMA),
        image_seq_length=3,
    )
    with shapes_only():
        _, pads, _ = written(processor, "<start_of_image>", [picture((1000, 100))], GEMMA["image_token"])
    used = resolve("gemma3", None, image, {"image_seq_length": 3})
    assert used is not None
    assert count(1000, 100, used).features == pads == 3


def test_gemma3n_writes_as_the_processor() -> None:
    import transformers
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    image_processor = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    sound = {"audio_token": "<audio_soft_token>", "boa_token": "<start_of_audio>", "eoa_token": "<end_of_audio>"}
    processor = build(
        transformers.Gemma3nProcessor,
        feature_extractor=NoVideo(image_processor),
        image_processor=image_processor,
        tokenizer=tokenizer(**GEMMA, **sound),
        image_seq_length=256,
    )
    used = resolve("gemma3n")
    for size in PIXELS:
        found = ours(size, used)
        with shapes_only():
            same(
                found,
                lambda size=size: written(processor, GEMMA["image_token"], [picture(size)], GEMMA["image_token"]),
                processor.tokenizer,
                block(size, used),
            )


def test_paligemma_writes_as_the_processor() -> None:
    import transformers
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    for edge in (224, 448, 896):
        image_processor = SiglipImageProcessorPil(size={"height": edge, "width": edge})
        image_processor.image_seq_length = (edge // 14) ** 2
        processor = build(
            transformers.PaliGemmaProcessor, image_processor=image_processor, tokenizer=tokenizer(image_token="<image>")
        )
        stated = resolve("paligemma", None, {"image_seq_length": (edge // 14) ** 2})
        derived = resolve("paligemma", {"vision_config": {"image_size": edge, "patch_size": 14}})
        for size in PIXELS:
            for used in (stated, derived):
                found = ours(size, used)
                real = functools.partial(written, processor, "<image>", [picture(size)], "<image>")
                with shapes_only():
                    # The processor puts <bos> behind the image and a newline behind the text.
                    same(found, real, processor.tokenizer, block(size, used, "{}<bos>\n"), beside=2)


def _idefics2(image: dict[str, Any], length: int) -> Any:
    import transformers
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    return build(
        transformers.Idefics2Processor,
        image_processor=Idefics2ImageProcessorPil(**image, do_pad=False),
        tokenizer=tokenizer("<fake_token_around_image>", "<image>"),
        image_seq_len=length,
    )


def _check_idefics2(size: tuple[int, int], image: dict[str, Any], length: int, *, real: bool) -> None:
    processor = _idefics2(image, length)
    used = resolve("idefics2", None, image, {"image_seq_len": length})
    found = ours(size, used)
    images = [picture(size, real=real)]
    # It would turn anything but PIL images away here.
    with mock.patch("transformers.models.idefics2.processing_idefics2.load_image", lambda given: given):
        got = same(
            found, lambda: written(processor, "<image>", images, "<image>"), processor.tokenizer, block(size, used)
        )
    if found is not None:
        pieces = [np.shape(piece) for piece in got["pixel_values"][0]]
        assert len(pieces) == found.pieces
        assert pieces[-1] == (3, found.size[1], found.size[0])


def test_idefics2_writes_as_the_processor() -> None:
    @many(80)
    @given(SIZES, st.booleans(), st.integers(1, 64))
    def check(size: tuple[int, int], split: bool, length: int) -> None:
        with shapes_only():
            image = {"do_image_splitting": split, "size": {"shortest_edge": 30, "longest_edge": 77}}
            _check_idefics2(size, image, length, real=False)

    check()


def test_idefics2_with_real_pixels() -> None:
    for size in [*PIXELS, (1, 100), (100, 1)]:
        image = {"do_image_splitting": True, "size": {"shortest_edge": 30, "longest_edge": 77}}
        _check_idefics2(size, image, 2, real=True)


def _idefics3(kind: str, image: dict[str, Any], length: int) -> Any:
    import transformers
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    from transformers.models.smolvlm import processing_smolvlm
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    tags = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    parts: dict[str, Any] = {
        "tokenizer": tokenizer("<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", *tags),
        "image_seq_len": length,
    }
    if kind == "idefics3":
        return build(transformers.Idefics3Processor, image_processor=Idefics3ImageProcessorPil(**image), **parts)
    image_processor = SmolVLMImageProcessorPil(**image)
    with mock.patch.object(processing_smolvlm, "num2words", str):  # only names numbers of video frames
        return build(
            transformers.SmolVLMProcessor,
            image_processor=image_processor,
            video_processor=NoVideo(image_processor),
            **parts,
        )


def _check_gridded(kind: str, size: tuple[int, int], image: dict[str, Any], length: int, *, real: bool) -> None:
    processor = _idefics3(kind, {**image, "do_pad": False}, length)
    used = resolve(kind, None, image, {"image_seq_len": length})
    found = ours(size, used)
    images = [picture(size, real=real)]
    got = same(
        found,
        lambda: written(processor, "<image>", images, "<image>", text_kwargs={"return_mm_token_type_ids": False}),
        processor.tokenizer,
        block(size, used),
    )
    assert found is not None
    assert len(got["pixel_values"][0]) == found.pieces


@pytest.mark.parametrize("kind", ["idefics3", "smolvlm"])
def test_idefics3_and_smolvlm_write_as_the_processor(kind: str) -> None:
    @many(150)
    @given(SIZES, st.sampled_from([14, 15, 20, 27, 364, 512]), st.integers(1, 4), st.integers(-3, 3), st.booleans())
    def check(size: tuple[int, int], tile: int, tiles: int, more: int, split: bool) -> None:
        image = {
            "size": {"longest_edge": tile * tiles + more},
            "max_image_size": {"longest_edge": tile},
            "do_image_splitting": split,
        }
        with shapes_only():
            _check_gridded(kind, size, image, 3, real=False)

    check()


def test_idefics3_with_real_pixels() -> None:
    image = {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 28}}
    for size in PIXELS:
        _check_gridded("idefics3", size, image, 2, real=True)


def test_official_sizes() -> None:
    """What the models' cards say of an ordinary picture."""
    expected = {"idefics3": 13 * 169, "smolvlm": 13 * 81, "idefics2": 5 * 64, "gemma3": 256, "paligemma": 256}
    for family, features in expected.items():
        used = resolve(family)
        assert used is not None
        assert count(1920, 1440, used).features == features, family
