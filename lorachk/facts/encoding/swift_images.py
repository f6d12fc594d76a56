"""How modelscope/ms-swift (3602360) writes images: `replace_tag` and `_encode` of its vision templates.

The tag <image> becomes a few texts, all without labels, and one of their tokens is replaced by the image's after
tokenising. Where that is a token that the text itself can hold, its first occurrences are taken, whosever they are.
"""

from __future__ import annotations

from typing import NamedTuple

from lorachk.facts.encoding.pieces import BlockIds, minicpm_text
from lorachk.facts.encoding.types import ImageBlock, Span, Tokens, Unencodable

HOLE = "\0"  # a place of its own in the dialogue, which splits the text around it


class Layout(NamedTuple):
    """`tag`: what stands for an image; HOLE is the place that is filled. `token`: the token that is replaced, None for
    the hole. `placeholder`: the token that takes a feature. `protected`: tokens that truncation never takes away.
    `kind`: what an image's tokens are: `run` of placeholders, `block` (MiniCPM-V's), `gemma` (its full sequence).
    With more of the tokens in the text than images, `strict` is an error and `every` replaces them all alike; else they
    stay.
    """

    tag: tuple[str, ...]
    token: str | None
    placeholder: str
    protected: tuple[str, ...]
    kind: str = "run"
    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    strict: bool = False
    every: bool = False


_STARTS, _ENDS = ("<image>", "<slice>"), ("</image>", "</slice>")
LAYOUTS = {
    "qwen": Layout(
        ("<|vision_start|><|image_pad|><|vision_end|>",),
        "<|image_pad|>",
        "<|image_pad|>",
        ("<|image_pad|>", "<|video_pad|>"),
        starts=("<|vision_start|>",),
        ends=("<|vision_end|>",),
    ),
    "llava": Layout(("<image>\n",), "<image>", "<image>", ("<image>",), every=True),
    "onevision": Layout(("<image>\n",), "<image>", "<image>", ("<image>",)),
    "llava_next": Layout(("<image>\n",), "<image>", "<image>", ("<image>",), strict=True),
    "internvl": Layout(
        ("<img>", HOLE, "</img>\n"), None, "<IMG_CONTEXT>", ("<IMG_CONTEXT>",), starts=("<img>",), ends=("</img>",)
    ),
    # Gemma's processor calls its start marker the image token, so that the placeholders are not protected.
    "gemma3": Layout(
        ("<start_of_image>",),
        "<start_of_image>",
        "<image_soft_token>",
        ("<start_of_image>",),
        "gemma",
        starts=("<start_of_image>",),
        ends=("<end_of_image>",),
        every=True,
    ),
    "minicpmv": Layout((HOLE,), None, "<unk>", ("<unk>",), "block", starts=_STARTS, ends=_ENDS),
    "minicpmv46": Layout(
        ("<|image_pad|>\n",),
        "<|image_pad|>",
        "<|image_pad|>",
        ("<|image_pad|>", "<|video_pad|>"),
        "block",
        starts=_STARTS,
        ends=_ENDS,
    ),
}


class Images:
    """A layout in one tokenizer. Raises Unencodable when the tokenizer lacks the tokens."""

    def __init__(self, layout: Layout, tokens: Tokens) -> None:
        self.layout = layout
        self.tokens = tokens
        placeholder = tokens.id_of(layout.placeholder)
        token = -1 if layout.token is None else tokens.id_of(layout.token)
        if placeholder is None or token is None:
            missing = layout.placeholder if placeholder is None else layout.token
            raise Unencodable(f"the tokenizer has no token {missing}, which stands for images")
        self.placeholder, self.token = placeholder, token
        self.starts = self._ids(layout.starts)
        self.ends = self._ids(layout.ends)
        self.protected = self._ids(layout.protected)
        self._encoded = BlockIds(tokens)
        self._image_id = tokens.id_of("<image_id>") is not None

    def _ids(self, names: tuple[str, ...]) -> frozenset[int]:
        return frozenset(number for number in map(self.tokens.id_of, names) if number is not None)

    def tokens_of(self, number: int, block: ImageBlock) -> list[int]:
        """What the token that stands for an image is replaced by."""
        layout = self.layout
        if layout.kind == "gemma":
            soft = layout.placeholder * block.features
            return self._encoded(f"\n\n<start_of_image>{soft}<end_of_image>\n\n")
        if layout.kind == "block":
            text = minicpm_text(block, number, layout.placeholder, image_id=self._image_id)
            text = text.removesuffix("\n") + ("\n" if layout.token is None else "")  # else the tag has it
            return self._encoded(text)
        return [self.placeholder] * block.features


def truncated(ids: list[int], limit: int, strategy: str, images: Images | None) -> list[Span]:
    """`_truncate`: all placeholder tokens, and of the others as many as there is room for."""
    protected: frozenset[int] = images.protected if images else frozenset()
    others = [n for n, token in enumerate(ids) if token not in protected]
    room = limit - (len(ids) - len(others))
    chosen = set() if room <= 0 else set(others[-room:] if strategy == "left" else others[:room])
    spans: list[Span] = []
    for position, token in enumerate(ids):
        if token not in protected and position not in chosen:
            continue
        if spans and spans[-1].end == position:
            spans[-1] = Span(spans[-1].start, position + 1)
        else:
            spans.append(Span(position, position + 1))
    return spans
