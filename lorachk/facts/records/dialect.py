"""Recognises how a record is written and takes it apart into images and turns; no judgement here.

| dialect | written as | read by |
|---|---|---|
| `minicpmv` | `conversations` of role/content, one image or none | MiniCPM-V |
| `minicpmv-multi` | the same, `image` is an object of `<image_00>` keys | MiniCPM-V |
| `llava` | from/value with images, videos or placeholders | LLaVA, VLM-R1, Qwen2.5-VL, LLaMA-Factory |
| `sharegpt` | from/value without | LLaVA, LLaMA-Factory, ms-swift |
| `qwen-vl` | from/value, paths in the text between `<img>` and `</img>`, or from user/assistant | Qwen-VL |
| `messages` | role/content with strings | ms-swift, TRL, LLaMA-Factory |
| `parts` | role/content with lists of parts: image_url, or Hugging Face's types | TRL, ms-swift, axolotl |
| `alpaca` | instruction, input, output, history, system | LLaMA-Factory, ms-swift |
| `query` | query, response, history, system | ms-swift |
| `completion` | prompt and completion | TRL |
| `text` | text | pre-training |

A `conversation`, a `dialog` or a `question` without an answer is none of them: `unknown`.
"""

from __future__ import annotations

from typing import Any

from lorachk.facts.records.datasetinfo import Mapping_
from lorachk.facts.records.dialects.chat import conversation
from lorachk.facts.records.dialects.mapped import mapped
from lorachk.facts.records.dialects.model import KEY, PLACEHOLDER, Reference, Shape, Turn
from lorachk.facts.records.dialects.plain import plain

__all__ = ["KEY", "PLACEHOLDER", "Reference", "Shape", "Turn", "shape", "turn_pointer"]


def shape(value: Any, mapping: Mapping_ | None = None) -> Shape:
    """Take a record apart. Never raises: what does not fit any dialect is `unknown`.

    With the `mapping` of a dataset_info.json, a record that has its columns is what the map says; others are
    recognised as if there were none.
    """
    if not isinstance(value, dict):
        return Shape("unknown", None, "absent", [], 0, None, "", 0)
    if mapping is not None and (found := mapped(value, mapping)) is not None:
        return found
    for member in ("conversations", "messages"):
        entries = value.get(member)
        if isinstance(entries, list):
            return conversation(value, member, entries)
    return plain(value)


def turn_pointer(found: Shape, number: int) -> str:
    """Pointer of a turn inside its record."""
    given = found.turns[number].pointer if found.turns else None
    return f"/{found.member}/{number}" if given is None else given
