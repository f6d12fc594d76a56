"""How transformers' processors write images into a rendered text, for the trainers that hand theirs to one.

The chat template writes one mark per image; the processor puts the image's block in the place of every such mark, also
of one that is literally in a record's text, and raises when marks and images do not count the same (5.x; before, an
IndexError or a mismatch in the model's forward). Read in transformers 5.24, models/*/processing_*.py.

Around special tokens text is tokenised apart, so that a block's ids need not be tokenised with it. Where the block's
edges are ordinary text (Gemma 3's blank lines) the whole text is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lorachk.facts.encoding.cutting import Marks, ids_of
from lorachk.facts.encoding.types import ImageBlock, Span, Text, Tokens, Unencodable
from lorachk.facts.encoding.written import Writer, Written

# Ends of turn and of text, in the order of families that write them: Qwen, Llama 3, Gemma, Phi.
STOPS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>")
_FAKE = "<fake_token_around_image>"


class Way(NamedTuple):
    """How a family's processor writes an image.

    `mark`: what the template writes and the processor replaces. `feature`: token of a row of visual features. `before`
    and `after` stand around the features, unless the block brings its own text. `starts`, `ends`: markers that are
    counted; `outside`: the template writes them around the mark.
    """

    mark: str
    feature: str
    before: str = ""
    after: str = ""
    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    outside: bool = False


_QWEN = Way("<|image_pad|>", "<|image_pad|>", starts=("<|vision_start|>",), ends=("<|vision_end|>",), outside=True)
_LLAVA = Way("<image>", "<image>")
_MINICPM = Way("<|image_pad|>", "<|image_pad|>", starts=("<image>", "<slice>"), ends=("</image>", "</slice>"))
_WAYS: dict[str, Way] = {
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "qwen3_5": _QWEN,
    "llava": _LLAVA,
    "llava_next": _LLAVA,
    "llava_onevision": _LLAVA,
    "internvl": Way("<IMG_CONTEXT>", "<IMG_CONTEXT>", "<img>", "</img>", ("<img>",), ("</img>",)),
    "gemma3": Way(
        "<start_of_image>",
        "<image_soft_token>",
        "\n\n<start_of_image>",
        "<end_of_image>\n\n",
        ("<start_of_image>",),
        ("<end_of_image>",),
    ),
    "mllama": Way("<|image|>", "<|image|>"),
    "glm4v": Way("<|image|>", "<|image|>", starts=("<|begin_of_image|>",), ends=("<|end_of_image|>",), outside=True),
    "minicpmv46": _MINICPM,
    "minicpmv47": _MINICPM,
    **dict.fromkeys(("idefics2", "idefics3", "smolvlm"), Way("<image>", "<image>", starts=(_FAKE,))),
}
# Blocks of these have inner text that only the block itself knows.
_NEED_TEXT = {"minicpmv46", "minicpmv47", "idefics2", "idefics3", "smolvlm"}


class Processor:
    """A family's processor, as far as the text goes."""

    def __init__(self, tokens: Tokens, family: str | None) -> None:
        self.tokens = tokens
        self.family = family
        self.way = _WAYS.get(family or "")
        self.mark = self.way.mark if self.way else None
        way = self.way or Way("", "")
        self.marks = Marks(
            starts=ids_of(tokens, *way.starts),
            ends=ids_of(tokens, *way.ends),
            placeholders=ids_of(tokens, way.feature or None),
            eos=ids_of(tokens, tokens.eos_token, *STOPS),
            blank=blanks(tokens),
        )
        edges = [edge for edge in (way.before or way.feature, way.after or way.feature) if edge]
        self._apart = tokens.independent and all(map(tokens.is_special, (way.mark, way.feature, *edges)))
        self._feature = tokens.id_of(way.feature) if way.feature else None
        self._before = tokens.encode(way.before) if way.before else []
        self._after = tokens.encode(way.after) if way.after else []
        self._writer = Writer(tokens, edges)

    def expanded(self, text: str, blocks: Sequence[ImageBlock], *, special: bool = False) -> Written:
        """Ids and block spans of a rendered text; `blocks` in the order in which the processor is given the images.

        Raises Unencodable when marks and images do not count the same.
        """
        special = special and self.tokens.adds_special
        pieces = text.split(self.mark) if self.mark else [text]
        if len(pieces) - 1 != len(blocks):
            if not self.mark:
                raise Unencodable(f"how the processor of {self.family} writes images is not modelled", None)
            raise Unencodable(
                f"The total number of {self.mark} tokens in the prompts should be the same as the number of images "
                f"passed. Found total {len(pieces) - 1} {self.mark} tokens and {len(blocks)} images."
            )
        if not blocks:
            found = yield [Text(text, special)]
            return found[0].ids, []
        if self._apart and not special and all(block.text is None for block in blocks):
            if self.family in _NEED_TEXT:
                raise Unencodable(f"how the processor of {self.family} writes this image is not known", None)
            found = yield [Text(piece) for piece in pieces]
            return self._joined([one.ids for one in found], blocks)
        texts = [self._text(block) for block in blocks]
        whole = pieces[0] + "".join(block + piece for block, piece in zip(texts, pieces[1:], strict=True))
        ids, spans = yield from self._writer.written(whole, texts, special=special)
        return ids, [self._widened(span, ids) for span in spans]

    def _text(self, block: ImageBlock) -> str:
        assert self.way is not None
        if block.text is not None:
            return block.text
        return f"{self.way.before}{self.way.feature * block.features}{self.way.after}"

    def _joined(self, pieces: list[list[int]], blocks: Sequence[ImageBlock]) -> tuple[list[int], list[Span]]:
        assert self._feature is not None
        ids = list(pieces[0])
        spans: list[Span] = []
        for block, piece in zip(blocks, pieces[1:], strict=True):
            start = len(ids)
            ids += self._before
            ids += [self._feature] * block.features
            ids += self._after
            spans.append(Span(start, len(ids)))
            ids += piece
        return ids, [self._widened(span, ids) for span in spans]

    def _widened(self, span: Span, ids: list[int]) -> Span:
        """With the markers that the template writes around the mark."""
        if self.way is None or not self.way.outside:
            return span
        before = span.start > 0 and ids[span.start - 1] in self.marks.starts
        after = span.end < len(ids) and ids[span.end] in self.marks.ends
        return Span(span.start - before, span.end + after)


def tokens_of(family: str) -> list[str]:
    """The tokens that a family's images are written with; none where that is not modelled."""
    way = _WAYS.get(family)
    if way is not None:
        return list(dict.fromkeys((way.mark, way.feature, *way.starts, *way.ends)))
    if not family.startswith("minicpm"):
        return []
    slices = ("<slice>", "</slice>")
    new = ("<image_id>", "</image_id>") if family in ("minicpmv26", "minicpmo", "minicpmv45") else ()
    return ["<image>", "</image>", *slices, *new]


def blanks(tokens: Tokens) -> frozenset[int]:
    """Tokens of white space that templates write behind an end of turn."""
    found = [tokens.encode(text) for text in ("\n", "\n\n", " ", " \n")]
    return frozenset(ids[0] for ids in found if len(ids) == 1)
