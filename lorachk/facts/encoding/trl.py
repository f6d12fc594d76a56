"""TRL's SFTTrainer (huggingface/trl f2cd577, 1.16: trainer/sft_trainer.py, data_utils.py), and plain chat templates.

| records | tokenised | labels |
|---|---|---|
| messages | chat template | all; with assistant_only_loss what {% generation %} marks |
| prompt, completion as messages | chat template, over both | behind the length of prompt and generation prompt |
| text; prompt, completion as text | EOS behind unless it ends so; BOS as the tokenizer adds it | all; the completion |
| with images | processor, in the collator | all that is no padding, image tokens too; the completion |

Completions alone are trained unless completion_only_loss is false. Text is cut to max_length (keep_start, or keep_end),
and what has no label left is dropped (before 1.x it stayed and trained nothing). With packing, `bfd` cuts the same but
drops nothing. With images the processor cuts, and raises when a visual token was cut off (transformers 5.x; before, the
model's forward did). Tokens count as the assistant's when they overlap a generation block (transformers 5.x; before,
from the token at its first to the one at its last character, which is the same where tokens do not straddle its ends).

`hf` is the chat template over everything, cut on the right: what scripts on the plain Trainer do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from itertools import takewhile
from typing import Any

from lorachk.facts.encoding.cutting import left
from lorachk.facts.encoding.processor import Processor
from lorachk.facts.encoding.steps import Steps, Stepwise
from lorachk.facts.encoding.types import (
    Cut,
    Encoded,
    Ids,
    ImageBlock,
    Message,
    Settings,
    Span,
    Text,
    Tokens,
    Unencodable,
)
from lorachk.families import is_vision

NOT_TRAINABLE = (
    "The chat template is not training-compatible (missing prefix-preservation or `{% generation %}` markers) and "
    "patching is not supported for this template."
)
TRUNCATED = "Mismatch in `image` token count between text and `input_ids`: max_length cuts image tokens off"
# sha256, first 16 digits, of the chat templates that TRL exchanges for a variant with {% generation %} of its own
# (trl/chat_templates at f2cd577, get_training_chat_template).
# fmt: off
_KNOWN = frozenset((
    "90c33aee14aa2a22", "2147c474f41b522b", "563b1ce7d61d50a9", "9aeb7eac68ad87bb", "ecd6ae513fe103f0",
    "7de1c58e208eda46", "44f815868bf02fa4", "a4c9919cbbd4acdd", "0d7e56ca41705b79", "cef187400d62a595",
    "ba03a121d097859c", "2c17243a977fd064", "ab7813c3abdd9cb6", "575fb74f54ed264d", "82753bef5cedc493",
    "dcaee66df77bfbb7", "78d976a442bcde2f", "cd8e9439f0570856", "a0bc6f6fc7a29a80", "a55ee1b1660128b7",
    "64f85b198065d0fb", "3636d0f0bd6bef02", "273d8e0e683b8850", "a4aee8afcf2e0711", "e84f32a23fdda276",
))
# fmt: on

_Labelled = Generator[list[Text], list[Ids], tuple[list[int], list[Span], list[bool]]]


def make(tokenizer: Tokens, family: str | None, settings: Settings) -> Sft:
    """SFTTrainer. Raises Unencodable for what its __init__ refuses."""
    vision = bool(is_vision(family))
    if settings.assistant_only_loss:
        if vision:
            raise Unencodable("Assistant-only loss is not yet supported for vision-language models")
        _check_generation(settings.chat_template or tokenizer.chat_template)
    if vision and settings.truncation == "keep_end":
        raise Unencodable("truncation_mode='keep_end' is not supported for vision-language models")
    if settings.truncation not in (None, "keep_start", "keep_end"):
        raise Unencodable(f"Unsupported truncation mode: {settings.truncation}, expected 'keep_start' or 'keep_end'")
    return Sft(tokenizer, family, settings)


def make_hf(tokenizer: Tokens, family: str | None, settings: Settings) -> Sft:
    """The chat template over everything; truncation on the right; no example is dropped."""
    plain = settings._replace(assistant_only_loss=False, completion_only_loss=False, truncation=None, packing=True)
    return Sft(tokenizer, family, plain)


def _check_generation(template: str | None) -> None:
    if template is None:
        raise Unencodable("there is no chat template, and assistant_only_loss needs one")
    from lorachk.facts.encoding.template import GENERATION

    if GENERATION.search(template):
        return
    if hashlib.sha256(template.encode()).hexdigest()[:16] in _KNOWN:
        raise Unencodable("TRL exchanges this chat template for its own training variant, which is not modelled", None)
    raise Unencodable(NOT_TRAINABLE)


class Sft(Stepwise):
    """SFTTrainer's tokenisation, labels and cut."""

    def __init__(self, tokens: Tokens, family: str | None, settings: Settings) -> None:
        self.tokens = tokens
        self.settings = settings
        self.processor = Processor(tokens, family)
        self.vision = bool(is_vision(family))  # the processing class is a processor
        self._variables: dict[str, Any] = {"processor": self.vision}
        if settings.chat_template is not None:
            self._variables["chat_template"] = settings.chat_template
        if settings.enable_thinking is not None:
            self._variables["enable_thinking"] = settings.enable_thinking

    def steps(self, messages: list[Message], blocks: list[ImageBlock]) -> Steps:
        """See Stepwise."""
        prompt = [message for message in messages if not message.completion]
        completion = [message for message in messages if message.completion]
        if not messages:
            raise Unencodable("Cannot apply chat template to an empty conversation")
        shown = [blocks[part] for message in messages for part in message.parts if isinstance(part, int)]
        chat = messages[0].role is not None
        if blocks and not chat:
            shown = blocks
        if blocks or self.settings.vision:
            ids, images, trained = yield from self._collated(prompt, completion, shown, chat)
        elif chat:
            ids, images, trained = yield from self._chat(prompt, completion)
        else:
            ids, images, trained = yield from self._text(prompt, completion)
        return Encoded(ids, trained, images)

    def _chat(self, prompt: list[Message], completion: list[Message]) -> _Labelled:
        whole = [*self._dicts(prompt), *self._dicts(completion)]
        if self.settings.assistant_only_loss:
            text, spans = self.tokens.render_spans(whole, **self._variables)
        else:
            text, spans = self.tokens.render(whole, **self._variables), []
        asked = [Text(text, self._special(text), offsets=bool(spans))]
        if completion:
            before = self.tokens.render(self._dicts(prompt), add_generation_prompt=True, **self._variables)
            asked.append(Text(before, self._special(before)))
        found = yield asked
        trained = [True] * len(found[0].ids)
        if self.settings.assistant_only_loss:
            trained = _inside(found[0].offsets or [(0, 0)] * len(trained), spans)
            if True not in trained:
                raise Unencodable("assistant_only_loss=True, but the example has no assistant tokens")
        if completion and self.settings.completion_only_loss is not False:
            length = len(found[1].ids)
            trained[:length] = [False] * min(length, len(trained))
        return found[0].ids, [], trained

    def _text(self, prompt: list[Message], completion: list[Message]) -> _Labelled:
        eos = self.settings.eos_token or self.tokens.eos_token
        if eos is None:
            raise Unencodable("TypeError: the tokenizer has no eos_token to put behind the text")
        first, second = _joined(prompt), _joined(completion)
        whole = first + second
        if not (second if completion else first).endswith(eos):
            whole += eos
        found = yield [Text(whole, True), *([Text(first, True)] if completion else [])]
        trained = [True] * len(found[0].ids)
        if completion and self.settings.completion_only_loss is not False:
            length = len(found[1].ids)
            trained[:length] = [False] * min(length, len(trained))
        return found[0].ids, [], trained

    def _collated(
        self, prompt: list[Message], completion: list[Message], blocks: Sequence[ImageBlock], chat: bool
    ) -> _Labelled:
        """DataCollatorForVisionLanguageModeling: prompt and completion are tokenised apart; text gets no EOS."""
        if not completion:
            text = self.tokens.render(self._dicts(prompt), **self._variables) if chat else _joined(prompt)
            ids, images = yield from self.processor.expanded(text, blocks)
            return ids, images, [True] * len(ids)
        first, second = self._halves(prompt, completion) if chat else (_joined(prompt), _joined(completion))
        ids, images = yield from self.processor.expanded(first, blocks)
        after, _ = yield from self.processor.expanded(second, ())
        only = self.settings.completion_only_loss is not False
        return ids + after, images, [not only] * len(ids) + [True] * len(after)

    def _halves(self, prompt: list[Message], completion: list[Message]) -> tuple[str, str]:
        """data_utils.apply_chat_template: what prompt and whole have in common, and the rest of the whole."""
        last = prompt[-1].role if prompt else None
        if last not in ("user", "tool"):
            why = "a prompt that ends with the assistant is continued, which is not modelled"
            raise Unencodable(why if last == "assistant" else f"Invalid role in the last message: {last}", None)
        before = self.tokens.render(self._dicts(prompt), add_generation_prompt=True, **self._variables)
        whole = self.tokens.render([*self._dicts(prompt), *self._dicts(completion)], **self._variables)
        if not whole.startswith(before):
            before = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, whole, strict=False)))
        return before, whole[len(before) :]

    def _special(self, text: str) -> bool:
        """A processor's apply_chat_template tokenises with BOS and EOS unless the text begins with BOS."""
        return self.vision and not (self.tokens.bos_token and text.startswith(self.tokens.bos_token))

    def _dicts(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        return [{"role": message.role, "content": _content(message, self.vision)} for message in messages]

    def cut(self, encoded: Encoded, blocks: list[ImageBlock], limit: int | None) -> Cut:
        """keep_start or keep_end; see the module."""
        total = len(encoded.ids)
        over = limit is not None and total > limit
        start, end = 0, limit
        if over and self.settings.truncation == "keep_end":
            assert limit is not None
            start, end = total - limit, None
        found = left(encoded, blocks, self.processor.marks, start, end)
        if found.fate != "kept":
            return found
        if blocks or self.settings.vision:
            if over and self._visual(encoded, 0, total) != self._visual(encoded, start, end):
                return found._replace(fate="crash", reason=TRUNCATED)
        elif limit is not None and not found.supervised and not self.settings.packing:
            return found._replace(fate="dropped", reason="no label is left within max_length")
        if over:
            side = "beginning" if start else "end"
            return found._replace(fate="changed", reason=f"longer than the token limit: the {side} is cut off")
        return found

    def _visual(self, encoded: Encoded, start: int, end: int | None) -> int:
        return sum(map(encoded.ids[start:end].count, self.processor.marks.placeholders))


def _content(message: Message, vision: bool) -> str | list[dict[str, Any]]:
    """Content as the template gets it: a processor's messages are typed parts (prepare_multimodal_messages)."""
    if not (message.typed or vision):
        return _joined([message])
    return [{"type": "image"} if isinstance(part, int) else {"type": "text", "text": part} for part in message.parts]


def _joined(messages: Sequence[Message]) -> str:
    return "".join(part for message in messages for part in message.parts if isinstance(part, str))


def _inside(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Tokens that overlap a span; both are in order (tokenization_utils_base.py apply_chat_template, 5.24)."""
    found = [False] * len(offsets)
    at = 0
    for number, (start, end) in enumerate(offsets):
        while at < len(spans) and start >= spans[at][1]:
            at += 1
        if at == len(spans):
            break
        found[number] = end > spans[at][0]
    return found
