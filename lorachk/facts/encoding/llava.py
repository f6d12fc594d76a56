"""How haotian-liu/LLaVA (c121f04) and lm-sys/FastChat (0e6d3e4) encode a record.

Both write one prompt, tokenise it, and find the answers again by splitting the prompt and tokenising every round by
itself (`preprocess_v1`, `preprocess_mpt`, `preprocess_llama_2`; FastChat's `preprocess` is the first without images).
Where the rounds do not add up to the prompt, "tokenization mismatch" is printed and every label masked; but the sums
are compared only where they stay under model_max_length. A word that the tokenizer does not know is taken for padding
(the padding token is the unknown one), which breaks the sum too.

LLaVA writes one token for an image and cuts at model_max_length; the model puts the image's features in its place and
cuts again (`prepare_inputs_labels_for_multimodal`, `tokenizer_model_max_length`). So images can push the answer over
the limit, and no mismatch of features is an error. `ids` has -200 for every feature, as LLaVA has for the image.

Compared with the functions named here (a stand-in for the embeddings) on 20,000 drawn records, 3,000 of them for
FastChat, in 19 versions and five tokenizers: 15,383 had the same ids, labels and mismatches, 4,617 the same refusal.

`legacy` of the tokenizer is that of tokenizer_config.json, true where it is not said, as LlamaTokenizer has it. Left
out: mm_use_im_start_end with a tokenizer that has no such tokens yet, tokenizers that add an EOS token themselves, and
that the model takes unknown words out of the sequence as if they were padding.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from lorachk.facts.encoding.cutting import Marks, left, positions
from lorachk.facts.encoding.llava_conversations import VICUNA, Conversation, conversation, prompt, rounds
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

IMAGE = -200  # IMAGE_TOKEN_INDEX of llava/constants.py
_TAG = "<image>"
_ENDLESS = 1 << 60
_Lengths = Generator[list[Text], list[Ids], list[list[int]]]


def make(tokenizer: Tokens, _family: str | None, settings: Settings) -> Llava:
    """LLaVA's encoder; the template is --version. Raises Unencodable."""
    return Llava(tokenizer, settings, images=True)


def make_fastchat(tokenizer: Tokens, _family: str | None, settings: Settings) -> Llava:
    """FastChat's encoder: Vicuna 1.1, whatever the settings say."""
    return Llava(tokenizer, settings._replace(template="vicuna_v1", mm_use_im_start_end=False), images=False)


class Llava(Stepwise):
    """Encoder of one conversation."""

    def __init__(self, tokens: Tokens, settings: Settings, *, images: bool) -> None:
        self.tokens = tokens
        self.images = images
        self.conv: Conversation = conversation(settings.template) if images else VICUNA
        config: dict[str, Any] = getattr(tokens, "config", None) or {}
        self.legacy = config.get("legacy") is not False
        own = settings.template in (None, "v0")  # the default of --version; it keeps the tokenizer's padding token
        self.pad = tokens.pad_id if own else tokens.unk_id
        if self.pad is None and not own:
            raise Unencodable("TypeError: the tokenizer has no unknown token, which is made the padding token")
        if not self.legacy and self._marks_stretches():
            raise Unencodable(
                "LLaVA loads the slow tokenizer, which by legacy=false puts no blank behind a special token; "
                "tokenizer.json of this folder does: save it anew with save_pretrained",
                None,
            )
        self.wrapped = bool(settings.mm_use_im_start_end)
        if self.wrapped and tokens.id_of("<im_start>") is None:
            raise Unencodable("<im_start> and <im_end>, which LLaVA adds to the tokenizer, are not in it yet", None)
        last = self.conv.sep if self.conv.style in ("mpt", "plain", "v0") else self.conv.sep2
        stops = (tokens.eos_id, tokens.id_of(last))
        self.marks = Marks(
            placeholders=frozenset((IMAGE,)), eos=frozenset(number for number in stops if number is not None)
        )

    def steps(self, messages: list[Message], blocks: list[ImageBlock]) -> Steps:
        """See Stepwise."""
        pictured = self.images and bool(blocks)
        texts = self._texts(messages, pictured)
        if self.conv.style == "plain":
            return (yield from self._plain(texts, blocks))
        if self.conv.style == "v0":
            return (yield from self._v0(messages, texts, blocks, pictured))
        written = prompt(self.conv, texts)
        parts = rounds(self.conv, written)
        if self.conv.style == "v1" and len(parts) > 1 and self._no_legacy():
            raise Unencodable("AttributeError: the tokenizer has no attribute legacy")
        asked = [written, *(text for each, head in parts for text in (each, head or ""))]
        found = yield from self._tokenised(asked, pictured)
        ids, lengths = found[0], [len(each) for each in found[1:]]
        trained = [True] * len(ids)
        mpt = self.conv.style == "mpt"
        position = 0 if mpt else 1
        trained[:position] = [False] * position
        for number in range(len(parts)):
            whole, head = lengths[2 * number], lengths[2 * number + 1] - (1 if mpt else 2)
            if number and mpt and self._says_legacy():
                whole, head = whole + 1, head + 1
            elif number and self.conv.style == "v1" and not self.legacy:
                whole, head = whole - 1, head - 1
            _mask(trained, position, position + head)
            position += whole
        _mask(trained, position, len(trained))
        total = len(ids) - ids.count(-1 if self.pad is None else self.pad)
        return self._expanded(ids, trained, blocks, (position, total))

    def _marks_stretches(self) -> bool:
        """Whether text behind a special token begins with a blank, as in Sentencepiece's old conversion."""
        eos = self.tokens.eos_token
        return eos is not None and self.tokens.encode(f"{eos}a")[1:] == self.tokens.encode("a") != []

    def _no_legacy(self) -> bool:
        """Whether the tokenizer is of a class without `legacy`: neither Llama's nor one that the config gives it."""
        name = getattr(self.tokens, "class_name", None)
        config: dict[str, Any] = getattr(self.tokens, "config", None) or {}
        return isinstance(name, str) and "Llama" not in name and "legacy" not in config

    def _says_legacy(self) -> bool:
        return self.legacy and not self._no_legacy()

    def _texts(self, messages: list[Message], pictured: bool) -> list[str]:
        """Values of human and gpt in turn, the image's tag moved to the front. Raises Unencodable."""
        turns = list(messages)
        for number, message in enumerate(turns):
            if message.role not in ("human", "gpt"):
                raise Unencodable(f"KeyError: from of turn {number} is {message.role}, neither human nor gpt")
        if not turns:
            raise Unencodable("IndexError: conversations is empty")
        if self.conv.style not in ("plain", "v0"):
            turns = turns[1:] if turns[0].role == "gpt" else turns
            if any(message.role != ("gpt" if n % 2 else "human") for n, message in enumerate(turns)):
                raise Unencodable("AssertionError: human and gpt do not take turns")
        texts = ["".join(_TAG if isinstance(part, int) else part for part in message.parts) for message in turns]
        return [self._moved(text) for text in texts] if pictured else texts

    def _moved(self, text: str) -> str:
        """`preprocess_multimodal`."""
        if _TAG not in text:
            return text
        text = f"{_TAG}\n{text.replace(_TAG, '').strip()}".strip()
        if self.conv.tagged:
            text = text.replace(_TAG, f"<Image>{_TAG}</Image>")
        return text.replace(_TAG, f"<im_start>{_TAG}<im_end>") if self.wrapped else text

    def _tokenised(self, texts: list[str], pictured: bool) -> _Lengths:
        """`tokenizer_image_token`, or the tokenizer alone."""
        chunks = [text.split(_TAG) if pictured else [text] for text in texts]
        answer = yield [Text(chunk, special=True) for each in chunks for chunk in each]
        found = iter(answer)
        results: list[list[int]] = []
        for each in chunks:
            parts = [next(found).ids for _ in each]
            offset = int(bool(parts[0]) and parts[0][0] == self.tokens.bos_id)
            ids = parts[0][:offset]
            for number, part in enumerate(parts):
                ids += [IMAGE, *part[offset:]] if number else part[offset:]
            results.append(ids)
        return results

    def _plain(self, texts: list[str], blocks: list[ImageBlock]) -> Steps:
        """`preprocess_plain`: the image and its caption."""
        if len(texts) != 2 or _TAG not in texts[0]:
            raise Unencodable("AssertionError: --version plain takes two turns, with <image> in the first")
        if not blocks:
            raise Unencodable("an empty image is trained, whose features are not counted", None)
        ids, head = yield from self._tokenised([f"{_TAG}{texts[1]}{self.conv.sep}", _TAG], True)
        trained = [True] * len(ids)
        _mask(trained, 0, len(head))
        return self._expanded(ids, trained, blocks, None)

    def _v0(self, messages: list[Message], texts: list[str], blocks: list[ImageBlock], pictured: bool) -> Steps:
        """`preprocess` without a function of its own: turns behind ###, their lengths added up."""
        header = f"{self.conv.system}\n\n"
        values = [
            f"### {self.conv.roles[message.role == 'gpt']}: {text}\n"
            for message, text in zip(messages, texts, strict=True)
        ]
        found = yield from self._tokenised(["".join((header, *values, "### ")), header, *values], pictured)
        ids = found[0]
        lengths = [
            len(each) if pictured else len(each) - each.count(-1 if self.pad is None else self.pad)
            for each in found[1:]
        ]
        trained = [True] * len(ids)
        position = lengths[0]
        _mask(trained, 0, position)
        for message, length in zip(messages, lengths[1:], strict=True):
            if message.role == "human":
                _mask(trained, position + 2, position + length)
            position += length
        return self._expanded(ids, trained, blocks, None)

    def _expanded(
        self, ids: list[int], trained: list[bool], blocks: list[ImageBlock], counted: tuple[int, int] | None
    ) -> Encoded:
        """The features in the places of the images."""
        if not self.images or IMAGE not in ids:
            return Encoded(ids, trained, [], counted=counted)
        out: list[int] = []
        labels: list[bool] = []
        spans: list[Span] = []
        last = 0
        for place in positions(ids, IMAGE):
            out += ids[last:place]
            labels += trained[last:place]
            features = blocks[min(len(spans), len(blocks) - 1)].features
            spans.append(Span(len(out), len(out) + features))
            out += [IMAGE] * features
            labels += [False] * features
            last = place + 1
        out += ids[last:]
        labels += trained[last:]
        fate, reason = "kept", None
        if len(spans) > len(blocks):
            fate, reason = "crash", f"IndexError: index is out of bounds: {len(spans)} <image>, {len(blocks)} image(s)"
        return Encoded(out, labels, spans, fate=fate, reason=reason, counted=counted)

    def cut(self, encoded: Encoded, blocks: list[ImageBlock], limit: int | None) -> Cut:
        """Cut tokens, features and labels at model_max_length, after the rounds were counted."""
        end = _ENDLESS if limit is None else limit
        row = left(encoded, blocks, self.marks, 0, end)
        if self._mismatch(encoded, end, blocks):
            assert encoded.counted is not None
            found, total = encoded.counted
            reason = f"tokenization mismatch: {found} vs. {self._total(encoded, total, end, blocks)}. (ignored)"
            row = row._replace(supervised_before=0, supervised=0, ends_with_eos=None)
            return row if row.fate == "crash" else row._replace(fate="dropped", reason=reason)
        if row.fate != "kept" or row.kept == row.total:
            return row
        return row._replace(fate="changed", reason=f"{row.total - row.kept} of {row.total} tokens are cut off")

    def _mismatch(self, encoded: Encoded, limit: int, blocks: list[ImageBlock]) -> bool:
        if encoded.counted is None or encoded.counted[0] >= limit:
            return False
        return encoded.counted[0] != self._total(encoded, encoded.counted[1], limit, blocks)

    def _total(self, encoded: Encoded, total: int, limit: int, blocks: list[ImageBlock]) -> int:
        """Tokens without padding; text alone is cut before it is counted."""
        if (self.images and blocks) or len(encoded.ids) <= limit:
            return total
        return sum(token != self.pad for token in encoded.ids[:limit])


def _mask(trained: list[bool], start: int, end: int) -> None:
    """`target[start:end] = IGNORE_INDEX`."""
    for position in range(*slice(start, end).indices(len(trained))):
        trained[position] = False
