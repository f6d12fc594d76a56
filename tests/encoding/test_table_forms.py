"""Counting by forms gives what encoding record by record gives, for every trainer that is modelled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.encoding.table import drawn
from tests.encoding.table.collected import collected
from tests.encoding.table.truth import differences
from tests.encoding.vocabularies import sentencepiece

LITERALS = ("<|im_end|>", "</s>", "<|image_pad|>", "<image>", "assistant", "<think>\nso\n</think>\n\n", "ASSISTANT: ")
Writers = tuple[Callable[[drawn.Talk], dict[str, Any]], ...]
FACTORY: Writers = (drawn.sharegpt, drawn.sharegpt, drawn.tagged)
SWIFT: Writers = (drawn.tagged, drawn.tagged, drawn.sharegpt, drawn.typed)
LLAVA: Writers = (drawn.llava,)
# trainer, folder, how records are written, how many images, the trainer's own options
CASES: dict[str, tuple[str, str, Writers, tuple[int, ...], dict[str, Any]]] = {
    "llamafactory qwen2_5_vl": ("llamafactory", "qwen2_5-vl-tiny", FACTORY, (0, 1, 1, 2), {"template": "qwen2_vl"}),
    "llamafactory qwen3_vl": ("llamafactory", "qwen3-vl-tiny", FACTORY, (0, 1, 1, 2), {"template": "qwen3_vl"}),
    "llamafactory minicpm_v": ("llamafactory", "minicpmv-2_6-tiny", FACTORY, (0, 1, 1), {"template": "minicpm_v"}),
    "llamafactory llava": ("llamafactory", "llava-1_5-tiny", FACTORY, (0, 1, 1), {"template": "llava"}),
    "llamafactory gemma3": ("llamafactory", "gemma3-tiny", FACTORY, (0, 1, 1), {"template": "gemma3"}),
    "llamafactory paligemma": ("llamafactory", "paligemma-tiny", FACTORY, (0, 1), {"template": "paligemma"}),
    "llamafactory glm4v": ("llamafactory", "glm4v-tiny", FACTORY, (0, 1, 1), {"template": "glm4v"}),
    "llamafactory llama3": (
        *("llamafactory", "llama3-tiny", FACTORY, (0,)),
        {"template": "llama3", "mask_history": True},
    ),
    "llamafactory gemma2": (
        *("llamafactory", "gemma2-tiny", FACTORY, (0,)),
        {"template": "gemma", "train_on_prompt": True},
    ),
    "ms-swift qwen2_vl": ("ms-swift", "qwen2-vl-tiny", SWIFT, (0, 1, 1, 2), {"truncation_strategy": "right"}),
    "ms-swift minicpmv2_6": ("ms-swift", "minicpmv-2_6-tiny", SWIFT, (0, 1, 1), {"truncation_strategy": "left"}),
    "ms-swift minicpmv4_6": ("ms-swift", "minicpmv-4_6-tiny", SWIFT, (0, 1, 1), {}),
    "ms-swift onevision": ("ms-swift", "llava-onevision-tiny", SWIFT, (0, 1, 1), {"truncation_strategy": "delete"}),
    "ms-swift gemma3": ("ms-swift", "gemma3-tiny", SWIFT, (0, 1, 1), {"loss_scale": "last_round"}),
    "ms-swift qwen": ("ms-swift", "qwen2-tiny", SWIFT, (0,), {"template": "qwen2_5", "loss_scale": "all"}),
    "llava v1": ("llava", "llava-1_5-tiny", LLAVA, (0, 1, 1), {"version": "v1"}),
    "fastchat": ("fastchat", "qwen2-tiny", LLAVA, (0,), {}),
    "internvl 2": ("internvl", "internvl2-tiny", LLAVA, (0, 1, 1, 2), {"conv_style": "internlm2-chat"}),
    "internvl 2.5": (
        *("internvl", "internvl2_5-tiny", LLAVA, (0, 1, 1, 2)),
        {"conv_style": "internvl2_5", "dynamic_image_size": True, "use_thumbnail": True},
    ),
    "qwen-vl": ("qwen-vl", "qwen2_5-vl-tiny", LLAVA, (0, 1, 1, 2), {}),
    "qwen-vl-series": ("qwen-vl-series", "qwen2-vl-tiny", LLAVA, (0, 1, 1, 2), {}),
    "axolotl": ("axolotl", "llama3-tiny", (drawn.messages,), (0,), {"chat_template": "tokenizer_default"}),
}


QUICK = ("llamafactory qwen2_5_vl", "llamafactory llama3", "ms-swift qwen2_vl", "llava v1", "internvl 2.5", "qwen-vl")


@pytest.mark.parametrize("case", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CASES])
def test_both_ways_give_the_same(case: str, tmp_path: Path) -> None:
    """Large datasets are counted one way, small ones the other: nobody should get other findings for it."""
    trainer, model, writers, images, options = CASES[case]
    sizes = drawn.pool(tmp_path, count=16, most=900)
    talks = drawn.talks(f"forms {case}", literals=LITERALS, pool=len(sizes), images=images, middle=0.1, system=0.1)
    records = [writers[n % len(writers)](talk) for n, talk in enumerate(talks)]
    data = drawn.write(tmp_path / "train.json", records)
    given: dict[str, Any] = {"training_args": options}
    if trainer in ("llava", "fastchat"):  # which load the slow tokenizer, as our folders' are not
        given["tokenizer"] = str(sentencepiece(tmp_path / "tokenizer", []))
    known = collected(data, trainer, model, [None], forms=False, **given)
    totals = sorted(row["tokens"] for row in known.rows[None].values() if row["tokens"] is not None)
    assert len(totals) > 200, known.unknown
    limits = [None, totals[-len(totals) // 10], totals[len(totals) // 3]]
    fast = collected(data, trainer, model, limits, forms=True, **given)
    exact = collected(data, trainer, model, limits[1:], forms=False, **given)
    for limit in limits:
        wanted = (known if limit is None else exact).rows[limit]
        assert differences(fast.rows[limit], wanted)[:5] == [], limit
