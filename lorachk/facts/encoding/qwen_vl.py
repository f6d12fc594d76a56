"""QwenLM/Qwen3-VL qwen-vl-finetune (9658872, data/data_processor.py `preprocess_qwen_visual`; once in Qwen2.5-VL).

The processor renders and tokenises; labels are what stands two tokens behind every token `assistant` up to <|im_end|>
and one token further, wherever that `assistant` stands: one in a question opens labels too. Both ids are constants of
the Qwen2 vocabulary (77091, 151645), and with any other vocabulary nothing is trained.

Whatever fails is tried again, and then the record after it is trained instead: *replaced*. The collator cuts at
model_max_length on the right, `data_flatten` cuts nothing; a visual token cut off is an error in the model's forward.
"""

from __future__ import annotations

from typing import Any

from lorachk.facts.encoding.cutting import left
from lorachk.facts.encoding.processor import Processor
from lorachk.facts.encoding.steps import Steps, Stepwise
from lorachk.facts.encoding.types import Cut, Encoded, ImageBlock, Message, Settings, Tokens, Unencodable

ASSISTANT, END = 77091, 151645
MISMATCH = "Image features and image tokens do not match: the token limit cuts image tokens off"


def make(tokenizer: Tokens, family: str | None, settings: Settings) -> QwenVL:
    """The trainer's encoder."""
    return QwenVL(tokenizer, family, settings)


class QwenVL(Stepwise):
    """The processor's ids, labels by the two constants."""

    def __init__(self, tokens: Tokens, family: str | None, settings: Settings) -> None:
        self.tokens = tokens
        self.processor = Processor(tokens, family or "qwen2_5_vl")
        self.flatten = bool(settings.flatten)
        end = tokens.id_of("<|im_end|>")
        # A small stand-in for the Qwen2 vocabulary has these tokens elsewhere.
        stand_in = end is not None and end < ASSISTANT
        self._assistant = tokens.id_of("assistant") if stand_in else ASSISTANT
        self._end = end if stand_in else END

    def steps(self, messages: list[Message], blocks: list[ImageBlock]) -> Steps:
        """See Stepwise."""
        shown = [blocks[part] for message in messages for part in message.parts if isinstance(part, int)]
        try:
            text = self.tokens.render([_typed(message) for message in messages], processor=True)
            bos = self.tokens.bos_token
            special = not (bos and text.startswith(bos))
            ids, images = yield from self.processor.expanded(text, shown, special=special)
        except Unencodable as problem:
            raise Unencodable(str(problem), "replaced" if problem.fate else None) from problem
        return Encoded(ids, self._labels(ids), images)

    def _labels(self, ids: list[int]) -> list[bool]:
        supervised = [False] * len(ids)
        at, assistant, end = -1, self._assistant, self._end
        if assistant is None or end is None:
            return supervised
        try:
            while True:
                start = ids.index(assistant, at + 1) + 2
                at = start - 2
                at = ids.index(end, start)
                stop = min(at + 2, len(ids))
                supervised[start:stop] = [True] * (stop - start)
        except ValueError:  # no further assistant, or no end behind this one and so behind none
            return supervised

    def cut(self, encoded: Encoded, blocks: list[ImageBlock], limit: int | None) -> Cut:
        """The collator's cut on the right."""
        found = left(encoded, blocks, self.processor.marks, 0, None if self.flatten else limit)
        if found.fate != "kept" or found.kept == found.total:
            return found
        if found.features != found.features_wanted:
            return found._replace(fate="crash", reason=MISMATCH)
        return found._replace(fate="changed", reason="longer than the token limit: the end is cut off")


def _typed(message: Message) -> dict[str, Any]:
    parts = [{"type": "image"} if isinstance(part, int) else {"type": "text", "text": part} for part in message.parts]
    return {"role": message.role, "content": parts}
