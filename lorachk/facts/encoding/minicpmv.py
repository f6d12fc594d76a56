"""MiniCPM-V's finetune/dataset.py (OpenBMB/MiniCPM-V 0dbb566): `preprocess` and `conversation_to_ids`.

Three branches by --llm_type: llama3, qwen, and for any other value the one written for MiniCPM 2.0. Whatever fails in
here fails inside `__getitem__`, which trains another record instead: *replaced*.

- Targets are shifted by the script; here a label stands at its own token. The token behind every answer is trained too,
  as eot or eos whatever stands there: an entry of `relabelled`.
- An answer runs to the first end token *strictly* behind its beginning, so an empty one runs through the turn after it.
- qwen: in the last occurrence of the token `assistant` the beginning moves four tokens on when an empty think block
  stands anywhere in the text.
- The other branch takes the first id of every piece for BOS, and ends in an AttributeError for every record
  (lists have no shape; since cd64150), after all of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from lorachk.facts.encoding.cutting import Marks, ids_of, left, positions
from lorachk.facts.encoding.steps import Steps, Stepwise
from lorachk.facts.encoding.types import Cut, Encoded, ImageBlock, Message, Settings, Span, Tokens, Unencodable
from lorachk.facts.encoding.written import Writer

NO_LABELS = "No tokens available to compute loss."
UNEVEN = "image start token != image end tokens"
NO_SHAPE = "'list' object has no attribute 'shape'"
THINK_BLOCK = "<think>\n\n</think>\n\n"
_LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
)


def make(tokenizer: Tokens, family: str | None, settings: Settings) -> MiniCPMV:
    """The encoder of --llm_type. `family` is not asked: the script decides by its flag alone."""
    del family
    return MiniCPMV(tokenizer, settings.llm_type or "minicpm")  # finetune.py's default


class MiniCPMV(Stepwise):
    """The script's three branches."""

    def __init__(self, tokens: Tokens, llm_type: str) -> None:
        self.tokens = tokens
        self.llm_type = llm_type
        slices = ("<slice>",) if llm_type == "qwen" else ()
        self.marks = Marks(
            starts=ids_of(tokens, "<image>", *slices),
            ends=ids_of(tokens, "</image>", *(mark.replace("<", "</") for mark in slices)),
            placeholders=ids_of(tokens, "<unk>", "<|image_pad|>"),  # the second: 4.6
            eos=ids_of(tokens, "<|eot_id|>", "<|im_end|>", tokens.eos_token),
            everywhere=False,
        )
        self._writer = Writer(tokens, ("<image>", "</image>", "<slice>", "</slice>", "<unk>", "<image_id>"))
        # 2.5's tokenizer has an eot_id, which the script prefers; the later ones have none.
        eot = tokens.id_of("<|eot_id|>")
        self._end = tokens.eos_id if eot is None else eot
        self._lacks_images = not self.marks.starts
        self._lacks_slices = llm_type == "qwen" and tokens.id_of("<image_id>") is None
        self._named = {
            name: self._id(name)
            for name in ("assistant", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>")
        }
        self._named["<|eot_id|>"] = self._id("<|eot_id|>")

    def steps(self, messages: list[Message], blocks: list[ImageBlock]) -> Steps:
        """See Stepwise."""
        if self._lacks_images:
            raise Unencodable("AttributeError: the tokenizer has no im_start: it is not MiniCPM-V's", "replaced")
        if len(messages) < 2:
            raise Unencodable("conversations length must large than 2", "replaced")
        if messages[0].role != "user":
            raise Unencodable("the first role must be user", "replaced")
        written = [_content(message, blocks) for message in messages]
        if self.llm_type == "llama3":
            return (yield from self._llama3(messages, written, blocks))
        for message in messages:
            if message.role not in ("user", "assistant"):
                raise Unencodable(f"role {message.role!r:.40} is neither user nor assistant", "replaced")
        if self.llm_type == "qwen":
            return (yield from self._qwen(messages, written, blocks))
        return (yield from self._minicpm(messages, written, blocks))

    def _qwen(self, messages: list[Message], written: list[str], blocks: list[ImageBlock]) -> Steps:
        if all(message.role != "assistant" for message in messages):
            raise Unencodable("no turn of the assistant", "replaced")
        chat = [{"role": message.role, "content": text} for message, text in zip(messages, written, strict=True)]
        thinking = "<think>" in written[-1] and "</think>" in written[-1]
        try:
            text = self.tokens.render(chat, enable_thinking=thinking)
        except Unencodable as problem:
            raise Unencodable(str(problem), "replaced") from problem
        ids, images = yield from self._writer.written(text, _texts(messages, blocks))
        offset = 4 if THINK_BLOCK in text else 0
        context = bytearray(b"\1") * len(ids)
        starts = set(positions(ids, self._named["<|im_start|>"]))
        answers = positions(ids, self._named["assistant"])
        ends = positions(ids, self._named["<|im_end|>"])
        for answer in answers:
            if answer - 1 in starts:
                _open(context, answer + 2 + (offset if answer == answers[-1] else 0), ends)
        found = self._encoded(ids, context, images)
        if self._lacks_slices:
            return found._replace(fate="replaced", reason="AttributeError: the tokenizer has no slice_start_id")
        return found

    def _llama3(self, messages: list[Message], written: list[str], blocks: list[ImageBlock]) -> Steps:
        chat = [{"role": message.role, "content": text} for message, text in zip(messages, written, strict=True)]
        try:
            text = self.tokens.render(chat, chat_template=_LLAMA3)
        except Unencodable as problem:
            raise Unencodable(str(problem), "replaced") from problem
        ids, images = yield from self._writer.written(text, _texts(messages, blocks))
        context = bytearray(b"\1") * len(ids)
        answers = positions(ids, self._named["assistant"])
        ends = positions(ids, self._named["<|eot_id|>"])
        if answers:
            starts = positions(ids, self._named["<|start_header_id|>"])
            middles = _middles(starts, positions(ids, self._named["<|end_header_id|>"]))
            for answer in answers:
                if answer in middles:
                    _open(context, answer + 3, ends)
        return self._encoded(ids, context, images)

    def _minicpm(self, messages: list[Message], written: list[str], blocks: list[ImageBlock]) -> Steps:
        if self.tokens.eos_token is None:
            raise Unencodable("TypeError: the tokenizer has no eos_token", "replaced")
        ids: list[int] = []
        context = bytearray()
        images: list[Span] = []
        for number, (message, text) in enumerate(zip(messages, written, strict=True)):
            prefix = "<用户>" if message.role == "user" else "<AI>"
            whole = text + (self.tokens.eos_token if number == len(messages) - 1 else "")
            named, _ = yield from self._writer.written(prefix, (), special=True)
            said, spans = yield from self._writer.written(whole, _texts([message], blocks), special=True)
            ids += named[1:]
            context += b"\1" * len(named[1:])
            images += [Span(max(start - 1, 0) + len(ids), max(end - 1, 0) + len(ids)) for start, end in spans]
            ids += said[1:]
            context += (b"\0" if message.role == "assistant" else b"\1") * len(said[1:])
        return self._encoded(ids, context, images)._replace(fate="replaced", reason=NO_SHAPE)

    def _encoded(self, ids: list[int], context: bytearray, images: list[Span]) -> Encoded:
        """Labels of the 0/1 context: position 0 is never one, the position behind an answer always."""
        supervised = [not masked for masked in context]
        supervised[:1] = [False]
        behind: dict[int, int] = {}
        at = context.find(b"\0\1")
        while at >= 0:
            supervised[at + 1] = True
            if self._end is not None:
                behind[at + 1] = self._end
            at = context.find(b"\0\1", at + 1)
        return Encoded(ids, supervised, images, behind)

    def cut(self, encoded: Encoded, blocks: list[ImageBlock], limit: int | None) -> Cut:
        """ids[:limit]; then check 1 (labels left), then check 2 (as many starts as ends)."""
        found = left(encoded, blocks, self.marks, 0, limit)
        if found.fate != "kept":
            return found
        if not found.supervised:
            return found._replace(fate="replaced", reason=NO_LABELS)
        if found.starts != found.ends:
            return found._replace(fate="replaced", reason=UNEVEN)
        if found.features > found.features_wanted:
            return found._replace(fate="crash", reason="more places than image features")
        if found.features < found.features_wanted:
            return found._replace(fate="changed", reason="image features without a place: images are shifted")
        if found.kept < found.total:
            return found._replace(fate="changed", reason="longer than the token limit: the end is cut off")
        return found

    def _id(self, token: str) -> int | None:
        """convert_tokens_to_ids: the unknown token's id for one that is not in the vocabulary."""
        found = self.tokens.id_of(token)
        return self.tokens.unk_id if found is None else found


def _content(message: Message, blocks: Sequence[ImageBlock]) -> str:
    return "".join(part if isinstance(part, str) else _text(blocks, part) for part in message.parts)


def _texts(messages: Sequence[Message], blocks: Sequence[ImageBlock]) -> list[str]:
    return [_text(blocks, part) for message in messages for part in message.parts if isinstance(part, int)]


def _text(blocks: Sequence[ImageBlock], number: int) -> str:
    text = blocks[number].text
    assert text is not None, "MiniCPM-V's blocks are written out"
    return text


def _open(context: bytearray, start: int, ends: list[int]) -> None:
    """Train from `start` to the first end token strictly behind it."""
    for end in ends:
        if end > start:
            context[start : end + 1] = bytes(end + 1 - start)
            return


def _middles(starts: list[int], ends: list[int]) -> set[float]:
    """(starts + ends) / 2 as numpy adds two arrays: of the same length, or one of them of length 1."""
    if len(starts) == len(ends):
        return {(a + b) / 2 for a, b in zip(starts, ends, strict=True)}
    if 1 in (len(starts), len(ends)):
        return {(a + b) / 2 for a, b in product(starts, ends)}
    raise Unencodable("header tokens do not pair: a literal one in the text", "replaced")
