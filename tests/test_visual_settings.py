"""Where the values of the visual-token arithmetic come from, and what happens to nonsense in a model's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.families import is_vision
from lorachk.families.visual import FAMILIES, Refused, Settings, count, exact, resolve, resolve_folder

MODELS = Path(__file__).parent.parent / "fixtures/models"


def _settings(*args: Any) -> Settings:
    found = resolve(*args)
    assert found is not None
    return found


def test_the_official_checkpoint_counts_when_only_the_name_is_known() -> None:
    used = _settings("qwen2_vl")
    assert (used.values.max_pixels, dict(used.origins)["max_pixels"]) == (12845056, "default")  # type: ignore[attr-defined]
    assert not used.given("max_pixels")


def test_a_file_that_does_not_say_leaves_it_to_the_processor_s_class() -> None:
    used = _settings("qwen2_vl", None, {"patch_size": 14})
    assert used.values.max_pixels == 28 * 28 * 1280  # type: ignore[attr-defined]
    assert dict(used.origins)["max_pixels"] == "default of the processor's class"
    assert not used.given("max_pixels")
    assert used.given("patch_size")


def test_values_say_which_file_they_are_from() -> None:
    used = _settings("qwen3_vl", None, {"size": {"shortest_edge": 1024, "longest_edge": 102400}, "patch_size": 16})
    origins = dict(used.origins)
    assert origins["max_pixels"] == "preprocessor_config.json:/size/longest_edge"
    assert count(2000, 2000, used).features == 100


def test_the_nested_image_processor_replaces_the_file_of_its_own() -> None:
    """As transformers loads it: processor_config.json's image_processor, whole, where there is one."""
    nested = {"image_processor": {"max_pixels": 784}, "processor_class": "Qwen2VLProcessor"}
    used = _settings("qwen2_vl", None, {"max_pixels": 78400, "min_pixels": 784}, nested)
    assert (used.values.min_pixels, used.values.max_pixels) == (56 * 56, 784)  # type: ignore[attr-defined]


def test_overrides_win_and_say_so() -> None:
    used = _settings("qwen2_vl", None, {"max_pixels": 78400}, None, {"max_pixels": 7840})
    assert dict(used.origins)["max_pixels"] == "override"
    assert count(2800, 2800, used).features <= 10
    again = used.override({"max_pixels": 784}, "ms-swift: MAX_PIXELS")
    assert dict(again.origins)["max_pixels"] == "ms-swift: MAX_PIXELS"
    assert count(2800, 2800, again).features == 1


def test_a_model_folder() -> None:
    used = resolve_folder("qwen2_5_vl", MODELS / "qwen2_5-vl-7b")
    assert used is not None
    assert dict(used.origins)["max_pixels"] == "preprocessor_config.json:/max_pixels"
    native = resolve_folder("minicpmv46", MODELS / "minicpmv-4_6", {"downsample_mode": "4x"})
    assert native is not None
    assert count(640, 480, native).tokens == 781


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", '{"size": 3, "patch_size": "big", "merge_size": null}'])
def test_broken_or_foreign_files_count_as_not_there(tmp_path: Path, content: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)
    used = resolve_folder("qwen2_vl", tmp_path)
    assert used is not None
    assert used.values.patch_size == 14  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("family", "image"),
    [("qwen2_vl", {"patch_size": 0}), ("minicpmv46", {"scale_resolution": -1}), ("mllama", {"max_image_tiles": 10**9})],
)
def test_impossible_numbers_are_refused_by_name(family: str, image: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=next(iter(image))):
        resolve(family, None, image)


_LEAF = st.none() | st.booleans() | st.integers(-5, 10**6) | st.floats() | st.text(max_size=5)
_OBJECT_KEYS = st.sampled_from(["height", "longest_edge", "x"])
_JSON = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_OBJECT_KEYS, inner), max_leaves=4
)
_WORDS = """size crop_size patch_size merge_size min_pixels max_pixels image_grid_pinpoints max_image_size vision_config
slice_config image_seq_length max_patches image_processor image_aspect_ratio mm_vision_tower num_image_tokens
vision_aspect_ratio downsample_ratio max_dynamic_patch image_seq_len max_soft_tokens query_num max_image_tiles"""
_KEYS = st.sampled_from(_WORDS.split())
_FILE = st.none() | st.dictionaries(_KEYS, _JSON, max_size=4)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(FAMILIES)), _FILE, _FILE, _FILE, st.integers(0, 5000), st.integers(0, 5000))
def test_whatever_stands_in_the_files_it_counts_or_refuses(
    family: str, config: Any, image: Any, processor: Any, width: int, height: int
) -> None:
    try:
        found = count(width, height, _settings(family, config, image, processor))
    except Refused:
        return
    assert found.pieces > 0
    assert found.tokens >= found.features >= 0


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_counts_by_name_alone(family: str) -> None:
    assert is_vision(family)
    found = count(1280, 720, _settings(family))
    assert 1 <= found.features <= found.tokens
    assert exact(found, lambda _: 0) + found.outside <= found.tokens + found.outside
    hash(_settings(family))  # may key a cache


def test_no_arithmetic_is_none() -> None:
    assert resolve("text") is None
    assert resolve(None) is None
    assert resolve("phi_vision") is None


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(Refused, match="no pixels"):
        count(0, 10, _settings("llava"))


def test_text_of_the_block_is_counted_by_the_tokenizer() -> None:
    found = count(1000, 300, _settings("gemma3", None, None, None, {"do_pan_and_scan": True}))
    assert exact(found, len) == found.features + 2 * found.pieces + sum(map(len, found.text))
    assert json.loads(json.dumps(found.text))[0].startswith("Here is the original image")
