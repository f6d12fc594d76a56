"""Settings read from whole model folders, against the processor that transformers loads from the same folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given

from lorachk.families import family_of
from lorachk.families.visual import Settings, resolve_folder
from tests.test_fixture_models import FACTS, WITH_IMAGES, processor
from tests.visual_oracle import SIZES, many, ours, picture, shapes_only, written

MODELS = Path(__file__).parent.parent / "fixtures/models"


def _resolved(name: str) -> Settings:
    config = json.loads((MODELS / name / "config.json").read_text(encoding="utf-8"))
    architecture = config["architectures"][0]
    found = resolve_folder(
        family_of(config.get("model_type"), architecture, name, version=config.get("version")), MODELS / name
    )
    assert found is not None
    return found


@pytest.mark.parametrize("name", WITH_IMAGES)
def test_the_folder_s_processor_makes_as_many_placeholders(name: str) -> None:
    made, used = processor(name), _resolved(name)

    # 640 x 480 in real pixels is in test_fixture_models; resizing by the shortest edge makes narrow images huge.
    @many(15)
    @given(SIZES.filter(lambda size: max(size) < 50 * min(size)))
    def check(size: tuple[int, int]) -> None:
        found = ours(size, used)
        with shapes_only():
            if found is None:
                with pytest.raises((ValueError, TypeError)):
                    written(made, made.image_token, [picture(size)], FACTS[name].image)
                return
            _, placeholders, _ = written(made, made.image_token, [picture(size)], FACTS[name].image)
        assert placeholders == found.features

    check()


@pytest.mark.parametrize("name", WITH_IMAGES)
def test_what_decides_the_count_is_read_from_the_folder(name: str) -> None:
    used = _resolved(name)
    stated = {field for field, _ in used.origins if used.given(field)}
    assert stated, used.origins


def test_models_with_their_own_code_state_their_values_too() -> None:
    for name, tokens in (("minicpmv-2_6-tiny", 334), ("minicpmv-2_5-tiny", 493), ("minicpmv-2_0-tiny", 333)):
        used = _resolved(name)
        assert used.given("query_num"), name
        assert used.given("max_slice_nums"), name
        found = ours((1024, 768), used)
        assert found is not None
        assert found.tokens == tokens, name
    for name in ("internvl2-tiny", "internvl2_5-tiny"):
        used = _resolved(name)
        assert dict(used.origins)["tile_size"] == "config.json:/force_image_size"
        found = ours((1920, 1080), used)
        assert found is not None
        assert found.tokens == 9 * 256 + 2, name
