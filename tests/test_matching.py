"""PEFT's matching of names, done without PEFT, against PEFT's own function."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorachk.facts.matching import Rule

tuners_utils = pytest.importorskip("peft.tuners.tuners_utils")
peft = pytest.importorskip("peft")

PARTS = ("model", "language_model", "visual", "layers", "blocks", "0", "1", "12", "self_attn", "mlp", "experts")
LEAVES = ("q_proj", "v_proj", "xq_proj", "qkv", "0", "lm_head", "embed_tokens")
NAMES = st.builds(lambda parts, leaf: ".".join([*parts, leaf]), st.lists(st.sampled_from(PARTS), max_size=6), st.sampled_from(LEAVES))  # fmt: skip  # noqa: E501
ENTRIES = st.lists(
    st.one_of(st.sampled_from(LEAVES), st.sampled_from(("self_attn.q_proj", "layers.0", "visual", "mlp.experts"))),
    max_size=3,
)
REGEXES = st.sampled_from(
    (r".*\.(q_proj|v_proj)", r"model\.layers\.\d+\.self_attn\.q_proj", "q_proj", r".*visual.*", r"llm\..*", r".*\.\d+")
)


def theirs(rule: dict[str, Any], name: str) -> bool:
    """What PEFT says; an excluded module is a marker, not True or a match."""
    config = peft.LoraConfig(**{key: value for key, value in rule.items() if value is not None})
    found = tuners_utils.check_target_module_exists(config, name)
    return bool(found) and type(found).__name__ != "_ExcludedModule"


@settings(max_examples=500, deadline=None)
@given(
    name=NAMES,
    targets=st.one_of(ENTRIES.filter(bool), REGEXES),
    exclude=st.one_of(st.none(), ENTRIES, REGEXES),
    saved=st.one_of(st.none(), ENTRIES),
    layers=st.one_of(st.none(), st.integers(0, 12), st.lists(st.integers(0, 12), max_size=3)),
    pattern=st.one_of(st.none(), st.just(""), st.sampled_from(("layers", "blocks")), st.just(["layers", "blocks"])),
)
def test_matching_is_pefts(
    name: str,
    targets: Any,
    exclude: Any,
    saved: Any,
    layers: Any,
    pattern: Any,
) -> None:
    """A name that is matched here and not there (or the reverse) sends a user after a fault that is none."""
    if isinstance(targets, str) or layers is None:  # PEFT refuses a pattern without layers, and both with a regex
        layers, pattern = None, None
    if isinstance(layers, list) and not layers:
        pattern = None
    rule = Rule(targets, exclude or (), saved or (), layers, pattern)
    given = {
        "target_modules": targets,
        "exclude_modules": exclude,
        "modules_to_save": saved,
        "layers_to_transform": layers,
        "layers_pattern": pattern,
    }
    assert rule.matches(name) == theirs(given, name)
