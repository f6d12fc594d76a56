"""How hiyouga/LLaMA-Factory (ff6d4d1) encodes a record for supervised fine-tuning.

data/template.py writes every turn by the template's slots and tokenises each slot alone; data/mm_plugin.py writes the
images into the turns before. data/processor/supervised.py cuts turn by turn: as long as tokens are left under
`cutoff_len`, a question and its answer share them in proportion to their lengths (`infer_seqlen`), so that what is lost
is the end of a question, the end of an answer, or both; nothing is dropped and nothing is said. With `mask_history` the
last turn comes first. Image tokens that are cut are missed in the model's forward pass.

Compared with its own encode_multiturn, plugins and supervised processor on 23,797 drawn records, in 114 templates and
five tokenizers, images and their processors stood in for: every id and label was the same. Written without such a run:
qwen2_audio, and the images of video_llava and llama4.

Not modelled: calls of functions and lists of tools, videos and audio, a template parsed from the tokenizer's chat
template (no `template`), `tool_format`, `preserve_thinking`.

A stop word that the vocabulary lacks becomes a token there, which needs `resize_vocab`; here it is -1, -2 ...
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from lorachk.facts.encoding.cutting import Marks
from lorachk.facts.encoding.layout import Writer
from lorachk.facts.encoding.llamafactory_chat import Chat
from lorachk.facts.encoding.llamafactory_text import TEXT
from lorachk.facts.encoding.llamafactory_turns import dialogue, infer_seqlen, mismatch
from lorachk.facts.encoding.llamafactory_vision import LAYOUTS, VISION
from lorachk.facts.encoding.steps import Steps, Stepwise
from lorachk.facts.encoding.stretches import after_stop, gathered
from lorachk.facts.encoding.types import (
    Cut,
    Encoded,
    ImageBlock,
    Message,
    Settings,
    Span,
    Text,
    Tokens,
    Unencodable,
)

TEMPLATES = {**TEXT, **VISION}
# Known by name only.
OTHERS = ("dbrx", "moss_vl", "openchat-3.6", "sailor", "telechat2", "xuanyuan", "youtu_vl")
_SLOT = re.compile(r"\{(bos|eos|\+|token:[^}]*)\}")


def make(tokenizer: Tokens, _family: str | None, settings: Settings) -> LlamaFactory:
    """The encoder of the template in the settings. Raises Unencodable."""
    name = settings.template
    if name is None:
        raise Unencodable("no template is given; LLaMA-Factory then derives one from the chat template", None)
    if name in OTHERS:
        raise Unencodable(f"LLaMA-Factory's template {name} is not modelled", None)
    if name not in TEMPLATES:
        near = get_close_matches(name, [*TEMPLATES, *OTHERS], 1, 0.4)
        raise Unencodable(f"Template {name} does not exist." + (f" The nearest is {near[0]}." if near else ""))
    if settings.train_on_prompt and TEMPLATES[name].efficient_eos:
        raise Unencodable("Current template does not support `train_on_prompt`.")
    if settings.train_on_prompt and settings.mask_history:
        raise Unencodable("`mask_history` is incompatible with `train_on_prompt`.")
    return LlamaFactory(tokenizer, TEMPLATES[name], settings)


class LlamaFactory(Stepwise):
    """Encoder of one template."""

    def __init__(self, tokens: Tokens, chat: Chat, settings: Settings) -> None:
        self.tokens = tokens
        self.chat = chat
        self.settings = settings
        self.default = chat.default if settings.system is None else settings.system
        # Not given is True (hparams/data_args.py).
        self.thinking = settings.enable_thinking is not False
        self._stop_words()
        self.writer: Writer | None = None
        self._no_images = Unencodable(
            "This model does not support image input. Please check whether the correct `template` is used."
        )
        if chat.images:
            try:
                self.writer = Writer(LAYOUTS[chat.images], tokens)
            except Unencodable as problem:  # of no matter to records without images
                self._no_images = problem
        writer = self.writer
        self.marks = Marks(
            writer.start_ids if writer else frozenset(),
            writer.end_ids if writer else frozenset(),
            frozenset((writer.placeholder_id,)) if writer else frozenset(),
            frozenset(each for each in (self.eos, tokens.eos_id, *self._stops.values()) if each is not None),
            everywhere=not (writer and writer.layout.whole and not writer.layout.exact),
        )
        self._tail = after_stop(self._closing(), self.marks.eos)

    def _closing(self) -> list[int]:
        """What the template writes behind an answer."""
        pieces = self._filled(self.chat.assistant.split("{}")[-1], "")
        return [token for each in pieces for token in (self.tokens.encode(each) if isinstance(each, str) else [each])]

    def _stop_words(self) -> None:
        """Stop words become special tokens, the first the EOS token; those that are none yet split the text here."""
        words = list(self.chat.stop)
        self._stops: dict[str, int] = {}
        if not self.chat.replace_eos and self.tokens.eos_id is None:
            words.append("<|endoftext|>")
        foreign: list[str] = []
        for word in words:
            number = self.tokens.id_of(word)
            self._stops[word] = -len(foreign) - 1 if number is None else number
            if number is None or number not in self.tokens.encode(f"a{word}a"):
                foreign.append(word)
        if self.chat.replace_eos:
            self.eos: int | None = self._stops[self.chat.stop[0]]
        else:
            self.eos = self._stops["<|endoftext|>"] if self.tokens.eos_id is None else self.tokens.eos_id
        self._foreign = re.compile("(" + "|".join(map(re.escape, foreign)) + ")") if foreign else None

    def steps(self, messages: list[Message], blocks: list[ImageBlock]) -> Steps:
        """See Stepwise."""
        front = bool(self.writer and self.writer.layout.front)
        system, turns = dialogue(messages)
        self._images(messages, blocks)
        thoughtless = self._thoughts(turns)
        slots = [self._slots(number, role, text, system) for number, (role, text) in enumerate(turns)]
        if thoughtless:
            thought = self.chat.empty_thought or "".join(self.chat.thought or ())
            for number in thoughtless:  # before the answer with a label, behind the question without
                if self.thinking:
                    slots[number + 1] = [*self._pieces(thought), *slots[number + 1]]
                else:
                    slots[number] = [*slots[number], *self._pieces(thought)]
        texts: list[Text] = []
        placed = []
        for pieces in slots:
            for piece in pieces:
                if isinstance(piece, str):
                    text, places = (piece, []) if self.writer is None else self.writer.write(piece, blocks)
                    texts.append(Text(text))
                    placed.append(places)
        answer = yield texts
        found = iter(zip(answer, placed, strict=True))
        ids: list[int] = []
        spans: list[Span] = []
        lengths: list[int] = []
        if front and self.writer and not self.settings.mask_history:
            self._front(ids, spans, blocks)
        for pieces in slots:
            begin = len(ids)
            for piece in pieces:
                if isinstance(piece, int):
                    ids.append(piece)
                    continue
                token_ids, places = next(found)
                offset = len(ids)
                if self.writer is None or not places:
                    ids += token_ids.ids
                    continue
                more, within = self.writer.expand(token_ids.ids, places, blocks)
                ids += more
                spans += [Span(offset + start, offset + end) for start, end in within]
            lengths.append(len(ids) - begin)
        if front and self.writer and self.settings.mask_history:
            self._front(ids, spans, blocks)  # turns are put in front of what is there
        return self._labelled(ids, spans, tuple(zip(lengths[::2], lengths[1::2], strict=True)))

    def _front(self, ids: list[int], spans: list[Span], blocks: list[ImageBlock]) -> None:
        for block in blocks:
            spans.append(Span(len(ids), len(ids) + block.features))
            ids += [self.writer.placeholder_id if self.writer else 0] * block.features

    def _images(self, messages: list[Message], blocks: list[ImageBlock]) -> None:
        placed = sum(isinstance(part, int) for message in messages for part in message.parts)
        if self.writer is None:
            if blocks or placed:
                raise self._no_images
        elif placed != len(blocks):
            raise Unencodable(
                f"The number of images does not match the number of <image> tokens: {len(blocks)} and {placed}"
            )

    def _thoughts(self, turns: list[tuple[str, str]]) -> list[int]:
        """Remove thoughts as a reasoning template does; the questions whose answer has none and gets an empty one."""
        words = self.chat.thought
        if words is None:
            return []
        pattern = re.compile(f"{re.escape(words[0])}(.*?){re.escape(words[1])}", re.DOTALL)
        last = len(turns) - 1
        for number in range(1, len(turns), 2):
            if not self.thinking or (self.settings.mask_history and number != last):
                role, text = turns[number]
                turns[number] = role, pattern.sub("", text).lstrip("\n")
        asked = [last - 1] if self.settings.mask_history else range(0, len(turns), 2)
        return [n for n in asked if not any(word.strip() in turns[n + 1][1] for word in words)]

    def _slots(self, number: int, role: str, text: str, system: str) -> list[str | int]:
        """A turn's slots: texts to tokenise each alone, and tokens."""
        chat = self.chat
        system = system or self.default
        pieces: list[str | int] = []
        fused = ""
        if number == 0:
            pieces += self._filled(chat.prefix, "")
            if system and chat.fused:
                # Llama2Template takes the first slot only.
                fused = _SLOT.split(chat.system)[0].replace("{}", system, 1)
            elif system:
                pieces += self._filled(chat.system, system)
        slot = {"user": chat.user, "assistant": chat.assistant, "observation": chat.observation or chat.user}[role]
        if role == "user" and not chat.fused:
            text = text.replace("{{idx}}", str(number // 2), 1)  # the formatter's other variable
        return pieces + self._filled(slot, fused + text if role == "user" else text)

    def _filled(self, slot: str, content: str) -> list[str | int]:
        pieces: list[str | int] = []
        for position, part in enumerate(_SLOT.split(slot)):
            if position % 2 == 0:
                pieces += self._pieces(part.replace("{}", content, 1))
            elif part in ("bos", "eos"):
                token = self.tokens.bos_id if part == "bos" else self.eos
                pieces += [] if token is None else [token]
            elif part != "+":
                word = part.removeprefix("token:")
                found = self._stops.get(word, self.tokens.id_of(word))
                found = self.tokens.unk_id if found is None else found
                if found is None:
                    raise Unencodable(f"the tokenizer has no token {word}, which the template writes")
                pieces.append(found)
        return pieces

    def _pieces(self, text: str) -> list[str | int]:
        if self._foreign is None:
            return [text] if text else []
        split = self._foreign.split(text)
        return [self._stops[part] if n % 2 else part for n, part in enumerate(split) if part]

    def _labelled(self, ids: list[int], spans: list[Span], turns: tuple[tuple[int, int], ...]) -> Encoded:
        settings, efficient = self.settings, self.chat.efficient_eos
        head = 0 if settings.mask_history else len(ids) - sum(map(sum, turns))
        supervised = [False] * head
        relabelled: dict[int, int] = {}
        first = len(turns) - 1 if settings.mask_history else 0  # the turn that the processor takes first
        for number, (question, answer) in enumerate(turns):
            asked = [bool(settings.train_on_prompt)] * question
            if efficient and number != first and self.eos is not None and question:
                # The EOS token between two turns is left out; its label stands on the next question's first token.
                asked[0] = True
                relabelled[len(supervised)] = self.eos
            supervised += asked
            supervised += [not settings.mask_history or number == first] * answer
        supervised += [False] * (len(ids) - len(supervised))
        fate, reason = "kept", None
        if efficient and any(not question for n, (question, _) in enumerate(turns) if n != first):
            fate, reason = "crash", "a question without tokens gives one label too many"
        if efficient and self.eos is not None:
            ids.append(self.eos)
            supervised.append(True)
        return Encoded(ids, supervised, spans, relabelled, fate, reason, turns)

    def cut(self, encoded: Encoded, blocks: list[ImageBlock], limit: int | None) -> Cut:
        """Apply cutoff_len turn by turn; with packing it is one less (hparams/data_args.py)."""
        if limit is not None and self.settings.packing:
            limit -= 1
        total = len(encoded.ids)
        spans = [Span(0, total)] if limit is None or total <= limit else self._spans(encoded, limit)
        row = gathered(encoded, blocks, self.marks, spans, tail=self._tail)
        if self.settings.packing and limit is not None and row.kept > limit:
            return row._replace(fate="dropped", reason=f"Dropped lengthy example with length {row.kept} > {limit}.")
        if self.writer and blocks and (fault := mismatch(self.writer.layout, row)):
            return row._replace(fate="crash", reason=fault)
        if row.kept < row.total and row.fate == "kept":
            return row._replace(fate="changed", reason=f"{row.total - row.kept} of {row.total} tokens are cut off")
        return row

    def _spans(self, encoded: Encoded, limit: int) -> list[Span]:
        efficient = int(self.chat.efficient_eos)
        backwards = bool(self.settings.mask_history)
        texts = sum(map(sum, encoded.turns))
        head = len(encoded.ids) - texts - efficient  # PaliGemma's image tokens, which are never cut
        position = 0 if backwards else head
        starts = []
        for question, answer in encoded.turns:
            starts.append(position)
            position += question + answer
        used = head + efficient
        spans: list[Span] = []
        for start, (question, answer) in sorted(zip(starts, encoded.turns, strict=True), reverse=backwards):
            if used >= limit:
                break
            asked, answered = infer_seqlen(question, answer, limit - used)
            used += asked + answered
            spans += [Span(start, start + asked), Span(start + question, start + question + answered)]
        if head:
            spans.append(Span(texts, texts + head) if backwards else Span(0, head))
        if efficient:
            spans.append(Span(len(encoded.ids) - 1, len(encoded.ids)))
        return sorted(spans)
