"""The installed transformers processors as the truth for visual-token arithmetic.

`shapes_only` runs their real code with resizing replaced by its result's shape: all sizes, crops, grids and texts come
out as ever, in milliseconds instead of minutes. The tests run some sizes with real pixels too.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from lorachk.families.visual import Refused, Settings, Visual, count, exact, write

transformers = pytest.importorskip("transformers", minversion="5.23")

EDGE = st.one_of(st.integers(1, 4000), st.integers(1, 40))
SIZES = st.tuples(EDGE, EDGE)  # (width, height)
# Sizes for real pixels, among them narrow ones, edges of tiles and of one pixel.
PIXELS = [
    *((1, 1), (31, 7), (448, 448), (449, 448), (300, 900), (900, 300), (640, 480), (1280, 720), (97, 1203)),
    *((768, 1024), (364, 365), (1456, 1093), (333, 777), (1000, 2), (512, 513), (672, 336), (201, 200), (57, 113)),
]


def many(examples: int) -> Callable[[Any], Any]:
    """Hypothesis settings of all these tests: the same examples every time, as many as the time allows."""
    return settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def _resized(image: np.ndarray, size: tuple[int, int], *_: Any, **__: Any) -> np.ndarray:
    height, width = size
    if height < 1 or width < 1:  # what Pillow says
        raise ValueError("height and width must be > 0")
    return np.broadcast_to(np.uint8(0), (image.shape[0], height, width))


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Images are resized in shape only, on all Pillow backends."""
    with (
        mock.patch("transformers.image_processing_backends.np_resize", _resized),
        mock.patch("transformers.models.gemma4.image_processing_pil_gemma4.resize", _resized),
    ):
        yield


def picture(size: tuple[int, int], *, real: bool = False) -> np.ndarray:
    """An image of (width, height), channels first; of real memory or one byte seen everywhere."""
    shape = (3, size[1], size[0])
    return np.zeros(shape, np.uint8) if real else np.broadcast_to(np.uint8(0), shape)


# Nothing but shapes matters: no colour conversion, no floats.
CHEAP = {
    "do_convert_rgb": False,
    "do_rescale": False,
    "do_normalize": False,
    "input_data_format": "channels_first",
}


@functools.cache
def tokenizer(*special: str, **named: str) -> Any:
    """A tokenizer with one token per character and per run of two newlines, and the special tokens given.

    `named`: attribute -> token, as tokenizers of the families have them (image_token, boi_token ...).
    """
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    characters = ["\n", *(chr(code) for code in range(32, 127))]
    vocabulary = {token: number for number, token in enumerate([*characters, "\n\n", "<bos>", "<eos>", "<pad>"])}
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab=vocabulary, merges=[("\n", "\n")])),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens=named,
    )
    made.add_special_tokens({"additional_special_tokens": [*special, *named.values()]}, False)
    return made


def build(kind: type, **parts: Any) -> Any:
    """A processor from its parts, whatever their classes; a video processor or feature extractor may be a stand-in."""
    with mock.patch.object(kind, "check_argument_for_proper_class", return_value=None):
        return kind(**parts)


class NoVideo:
    """Stands in for a video processor: its settings are the image processor's."""

    def __init__(self, image_processor: Any) -> None:
        self._image_processor = image_processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image_processor, name)


def ours(size: tuple[int, int], used: Settings | None, number: int = 0) -> Visual | None:
    """The answer under test, None where it refuses."""
    assert used is not None
    try:
        return count(*size, used, number=number)
    except Refused:
        return None


def block(size: tuple[int, int], used: Settings | None, around: str = "{}", number: int = 0) -> Callable[[], str]:
    """The image's block as text, and what stands around it."""
    assert used is not None
    return lambda: around.format(write(*size, used, number=number))


def written(processor: Any, text: str, images: list[np.ndarray], pad: str, **options: Any) -> tuple[int, int, Any]:
    """Tokens and placeholders that the whole processor makes of `text`, and all it returns."""
    got = processor(text=[text], images=images, **{**CHEAP, **options})
    ids = [int(i) for i in np.asarray(got["input_ids"][0]).ravel()]
    return len(ids), ids.count(processor.tokenizer.convert_tokens_to_ids(pad)), got


def same(
    found: Visual | None,
    real: Callable[[], tuple[int, int, Any]],
    tokenizer_: Any,
    text: Callable[[], str],
    *,
    beside: int = 0,
) -> Any:
    """Asserts that the processor writes what was found, or raises where it was refused; its output.

    `text`: the whole text as it should come out, whose tokens must be the processor's one by one. `beside`: tokens of
    it that are not the image's.
    """
    error, outcome = None, None
    try:
        outcome = real()
    except (ValueError, TypeError, ZeroDivisionError) as raised:
        error = raised
    assert (found is None) == (outcome is None), error or "refused, but the processor takes it"
    if found is None or outcome is None:
        return None
    tokens, placeholders, got = outcome

    def text_tokens(stretch: str) -> int:
        return len(tokenizer_.encode(stretch, add_special_tokens=False))

    assert (tokens - beside, placeholders) == (exact(found, text_tokens) - found.outside, found.features)
    ids = [int(i) for i in np.asarray(got["input_ids"][0]).ravel()]
    assert tokenizer_.encode(text(), add_special_tokens=False) == ids
    return got
