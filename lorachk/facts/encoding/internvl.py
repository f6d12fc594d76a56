"""How OpenGVLab/InternVL (2410d1d, internvl_chat/internvl/train) encodes a line.

`--conv_style` names the function of dataset.py. internvl2_5 tokenises turn by turn and trains each answer with its
<|im_end|>. The older styles write one prompt and find the answers again by tokenising parts of it, as FastChat does:
where these do not add up to the prompt, "tokenization mismatch" is printed and every label masked.

Each <image> becomes <img>, num_image_token placeholders for every tile, </img>, all of it in the text; then everything
is cut at max_seq_length. A line in which another number of </img> is left than it has images is replaced by a random
one (internvl_chat_finetune.py `__getitem__`: "image tokens are truncated").

Compared with its own four functions on 19,996 drawn lines and five tokenizers: 11,008 had the same ids, labels and
mismatches, 8,988 were given up in both.

A line with one image gets <image> put in front when its first turn has none; one in a list of one is taken for that
too. Left out: --conv_style internvl_zh, and the tokens that the script would add to another model's tokenizer.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from lorachk.facts.encoding.cutting import Marks, ids_of, left
from lorachk.facts.encoding.layout import Layout, Writer, standin
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

_TAG = "<image>"
_LAYOUT = Layout("<IMG_CONTEXT>", "<img>", "</img>")
_OLD = "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。"
_NEW = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
_IM = ("<|im_start|>user\n", "<|im_start|>assistant\n")
Written = tuple[list[int], list[Span]]


class Style(NamedTuple):
    """A conversation of internvl/conversation.py; `first` positions of the prompt are never labels."""

    system: str
    roles: tuple[str, str]
    sep: str
    first: int


STYLES = {
    "Hermes-2": Style(f"<|im_start|>system\n{_OLD}", _IM, "<|im_end|>", 0),
    "internlm2-chat": Style(f"<|im_start|>system\n{_OLD}", _IM, "<|im_end|>", 1),
    "phi3-chat": Style(f"<|system|>\n{_OLD}", ("<|user|>\n", "<|assistant|>\n"), "<|end|>", 1),
    "internvl2_5": Style(_NEW, _IM, "<|im_end|>", 0),
}


def make(tokenizer: Tokens, _family: str | None, settings: Settings) -> InternVL:
    """The encoder of --conv_style. Raises Unencodable."""
    name = settings.template
    if name is None:  # the script's default fits few of its models, and its recipes all state another
        raise Unencodable("no --conv_style is given; the script's default, internlm2-chat, is for InternLM2", None)
    if name not in STYLES:
        if name == "internvl_zh":
            raise Unencodable("how --conv_style internvl_zh masks its labels is not modelled", None)
        raise Unencodable(f"KeyError: --conv_style {name}; there are {', '.join(STYLES)}")
    return InternVL(tokenizer, name)


class InternVL(Stepwise):
    """Encoder of one conversation style."""

    def __init__(self, tokens: Tokens, name: str) -> None:
        self.tokens = tokens
        self.name = name
        self.style = STYLES[name]
        self.writer: Writer | None = None
        try:
            self.writer = Writer(_LAYOUT, tokens)
        except Unencodable as problem:  # of no matter to lines without images
            self._no_images = Unencodable(f"{problem}; the script would add it", None)
        self.adds_bos = _adds_bos(tokens)
        self.marks = Marks(
            ids_of(tokens, "<img>"), ids_of(tokens, "</img>"), ids_of(tokens, "<IMG_CONTEXT>"),
            ids_of(tokens, self.style.sep),
        )  # fmt: skip

    def steps(self, messages: list[Message], blocks: list[ImageBlock]) -> Steps:
        """See Stepwise."""
        if blocks and self.writer is None:
            raise self._no_images
        turns = [
            (message.role, "".join(_TAG if isinstance(part, int) else part for part in message.parts))
            for message in messages
        ]
        if not turns:
            raise Unencodable("IndexError: conversations is empty", "replaced")
        if len(blocks) == 1 and _TAG not in turns[0][1]:
            turns[0] = turns[0][0], f"{_TAG}\n{turns[0][1]}"
        if self.name == "internvl2_5":
            return (yield from self._by_turn(turns, blocks))
        return (yield from self._older(turns, blocks))

    def _tokenised(self, texts: list[str], blocks: list[ImageBlock]) -> Generator[list[Text], list[Ids], list[Written]]:
        """The tokens of texts with images in them, and where these are."""
        written = [self.writer.write(text, blocks) if self.writer else (text, []) for text in texts]
        answer = yield [Text(text, special=True) for text, _ in written]
        if self.writer is None:
            return [(found.ids, []) for found in answer]
        return [
            self.writer.expand(found.ids, places, blocks) for found, (_, places) in zip(answer, written, strict=True)
        ]

    def _by_turn(self, turns: list[tuple[str | None, str]], blocks: list[ImageBlock]) -> Steps:
        """`preprocess_internvl2_5`."""
        system = self.style.system
        if turns[0][0] == "system":
            system, turns = turns[0][1], turns[1:]
        placed = 0
        batches = [f"<|im_start|>system\n{system}<|im_end|>\n"]
        for role, text in turns:
            if role not in ("human", "gpt"):
                raise Unencodable(f"NotImplementedError: from is {role}", "replaced")
            if role == "human":
                text, placed = _placed(text, placed, len(blocks))
            batches.append(f"<|im_start|>{'user' if role == 'human' else 'assistant'}\n{text}<|im_end|>\n")
        if placed != len(blocks):
            raise Unencodable(f"AssertionError: {placed} != {len(blocks)}", "replaced")
        if self.adds_bos:
            batches[0] = (self.tokens.bos_token or "") + batches[0]
        found = yield from self._tokenised([*batches, _IM[1]], blocks)
        skipped = int(self.adds_bos)
        head = len(found[-1][0]) - skipped
        ids: list[int] = []
        trained: list[bool] = []
        spans: list[Span] = []
        for role, (more, within) in zip([None, *(role for role, _ in turns)], found[:-1], strict=True):
            shift = len(ids) - skipped
            spans += [Span(start + shift, end + shift) for start, end in within]
            size = len(more) - skipped
            ids += more[skipped:]
            # The header and the line feed at the end are no labels.
            answer = max(size - head - 1, 0) if role == "gpt" else 0
            before = min(head, size) if answer else size
            trained += [False] * before + [True] * answer + [False] * (size - before - answer)
        return Encoded(ids, trained, spans)

    def _older(self, turns: list[tuple[str | None, str]], blocks: list[ImageBlock]) -> Steps:
        style = self.style
        for role, _ in turns:
            if role not in ("human", "gpt"):
                raise Unencodable(f"KeyError: from is {role}, neither human nor gpt", "replaced")
        turns = turns[1:] if turns[0][0] == "gpt" else turns
        if any(role != ("gpt" if n % 2 else "human") for n, (role, _) in enumerate(turns)):
            raise Unencodable("AssertionError: human and gpt do not take turns", "replaced")
        prompt = style.system + style.sep
        for number, (_, text) in enumerate(turns):
            text = text.strip() if self.name == "internlm2-chat" else text
            prompt += style.roles[number % 2] + (text + style.sep if text else "")
        prompt, _ = _placed(prompt, 0, len(blocks))
        parts = self._parts(prompt)
        found = yield from self._tokenised([prompt, *(text for text, _, _ in parts)], blocks)
        ids, spans = found[0]
        trained = [True] * len(ids)
        end_of_text = self.tokens.id_of("<|endoftext|>") if self.name == "phi3-chat" else None
        if end_of_text is not None:
            trained = [token != end_of_text for token in ids]
        trained[: style.first] = [False] * len(trained[: style.first])
        position = style.first
        for (_, off, moves), (tokens, _) in zip(parts, found[1:], strict=True):
            length = len(tokens) + off
            if moves is not True:
                _mask(trained, position, position + length)
            if moves is not False:
                position += length
        _mask(trained, position, len(trained))
        total = len(ids) - (0 if self.tokens.pad_id is None else ids.count(self.tokens.pad_id))
        return Encoded(ids, trained, spans, counted=(position, total))

    def _parts(self, prompt: str) -> list[tuple[str, int, bool | None]]:
        """What is tokenised by itself: the text, what is added to its length, and what the length does.

        False: so many tokens are masked; True: the position moves on; None: both.
        """
        style = self.style
        if self.name == "internlm2-chat":
            pieces = prompt.split(style.roles[1])
            parts: list[tuple[str, int, bool | None]] = [(pieces[0] + style.roles[1], -1, None)]
            for piece in pieces[1:-1]:
                halves = piece.split(style.roles[0])
                if len(halves) != 2:
                    raise Unencodable("ValueError: a turn holds the template's own marks", "replaced")
                parts += [(halves[0], -1, True), (style.roles[0] + halves[1] + style.roles[1], -1, None)]
            return [*parts, (pieces[-1], -1, True)]
        pieces = prompt.split(style.sep)
        rounds = [style.sep.join(pieces[:3])]
        rounds += [style.sep.join(pieces[n : n + 2]) for n in range(3, len(pieces), 2)]
        mark = style.sep + style.roles[1]
        parts = []
        for number, each in enumerate(rounds):
            halves = each.split(mark)
            if not each or len(halves) != 2:
                break
            if self.name == "Hermes-2":
                parts += [(halves[0] + mark, 0, False), (each, 1, True)]
            else:
                parts += [(halves[0] + mark, -2 if number else -1, False), (each, -1 if number else 0, True)]
        return parts

    def cut(self, encoded: Encoded, blocks: list[ImageBlock], limit: int | None) -> Cut:
        """Cut at max_seq_length, compare the parts with the prompt, count the images' ends."""
        row = left(encoded, blocks, self.marks, 0, limit)
        if blocks and row.ends != len(blocks):
            reason = f"AssertionError: image tokens are truncated: {row.ends} of {len(blocks)} </img> are left"
            return row._replace(fate="replaced", reason=reason)
        if encoded.counted is not None:
            position, total = encoded.counted
            if limit is not None and limit < len(encoded.ids):
                total = sum(token != self.tokens.pad_id for token in encoded.ids[:limit])
            if (limit is None or position < limit) and position != total:
                reason = f"tokenization mismatch: {position} vs. {total}."
                row = row._replace(supervised_before=0, supervised=0, ends_with_eos=None)
                return row._replace(fate="dropped", reason=reason)
        if row.kept < row.total:
            return row._replace(fate="changed", reason=f"{row.total - row.kept} of {row.total} tokens are cut off")
        return row


def _adds_bos(tokens: Tokens) -> bool:
    """`tokenizer.add_bos_token`: an attribute of Llama's and InternLM's classes only, unless the config gives it."""
    config: dict[str, Any] = getattr(tokens, "config", None) or {}
    name = getattr(tokens, "class_name", None) or ""
    default = getattr(tokens, "adds_bos", False) and ("Llama" in name or "InternLM" in name)
    return bool(config.get("add_bos_token", default))


def _placed(text: str, placed: int, images: int) -> tuple[str, int]:
    """The text with the next images in the places of its tags; what is over stays text."""
    while placed < images and _TAG in text:
        text = text.replace(_TAG, standin(placed), 1)
        placed += 1
    return text, placed


def _mask(trained: list[bool], start: int, end: int) -> None:
    """`target[start:end] = IGNORE_TOKEN_ID`."""
    for position in range(*slice(start, end).indices(len(trained))):
        trained[position] = False
