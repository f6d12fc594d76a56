"""2U1/Qwen-VL-Series-Finetune (2U1/Qwen2-VL-Finetune 6695161, src/dataset/sft_dataset.py): ChatML without a template.

A system message of its own, then pairs of question and answer, each tokenised by itself; the answer with its end of
turn and line feed is trained. Nothing is cut: max_seq_length is not read. Nothing is caught.
"""

from __future__ import annotations

from lorachk.facts.encoding.cutting import left
from lorachk.facts.encoding.processor import Processor
from lorachk.facts.encoding.steps import Steps, Stepwise
from lorachk.facts.encoding.types import Cut, Encoded, ImageBlock, Message, Settings, Span, Text, Tokens, Unencodable

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
_PAD = "<|image_pad|>"


def make(tokenizer: Tokens, family: str | None, settings: Settings) -> QwenSeries:
    """The trainer's encoder."""
    del settings
    return QwenSeries(tokenizer, family)


class QwenSeries(Stepwise):
    """Pair by pair."""

    def __init__(self, tokens: Tokens, family: str | None) -> None:
        self.tokens = tokens
        self.processor = Processor(tokens, family or "qwen2_5_vl")

    def steps(self, messages: list[Message], blocks: list[ImageBlock]) -> Steps:
        """See Stepwise."""
        if len(messages) % 2:
            raise Unencodable("IndexError: an odd number of turns")
        ids = list((yield [Text(SYSTEM)])[0].ids)
        supervised = [False] * len(ids)
        images: list[Span] = []
        shown = 0
        for question, answer in zip(messages[::2], messages[1::2], strict=True):
            asked = f"<|im_start|>{question.role}\n{_text(question)}<|im_end|>\n<|im_start|>{answer.role}\n"
            count = asked.count(_PAD)
            if count and not blocks:
                raise Unencodable("TypeError: the record has <image> but no image")
            # The processor adds special tokens, the tokenizer is told not to.
            special = bool(count)
            found, spans = yield from self.processor.expanded(asked, blocks[shown : shown + count], special=special)
            shown += count
            said = (yield [Text(f"{_text(answer)}<|im_end|>\n")])[0].ids
            images += [Span(start + len(ids), end + len(ids)) for start, end in spans]
            ids += found + said
            supervised += [False] * len(found) + [True] * len(said)
        if blocks and not shown:
            raise Unencodable("RuntimeError: the record has images but no <image>: there is nothing to concatenate")
        if shown < len(blocks):
            return Encoded(ids, supervised, images, fate="changed", reason="images without <image> are left out")
        return Encoded(ids, supervised, images)

    def cut(self, encoded: Encoded, blocks: list[ImageBlock], limit: int | None) -> Cut:
        """Nothing is cut; only the images that are shown give features."""
        del limit
        found = left(encoded, blocks, self.processor.marks)
        shown = sum(block.features for block in blocks[: len(encoded.images)])
        found = found._replace(features_wanted=shown)
        if found.features != shown:
            literal = "a literal <|image_pad|> in an answer: image features and image tokens do not match"
            return found._replace(fate="crash", reason=literal)
        return found


def _text(message: Message) -> str:
    return "".join(IMAGE if isinstance(part, int) else part for part in message.parts)
