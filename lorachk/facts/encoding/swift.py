"""How modelscope/ms-swift (3602360) encodes a record for supervised fine-tuning with its own template backend.

swift/template/base.py lays the dialogue out as texts with a loss weight each (`_swift_encode`), joins neighbours of one
weight and tokenises what results (`_encode_context_list`); a separator like the template's suffix becomes a label after
a trained answer (`_add_dynamic_eos`); the very first token never is one. Image tags are texts without weight.

Over `max_length` a row is deleted (`truncation_strategy delete`, the default) or, as `raise`, fails, which for a
multimodal model takes another random row in its place. `left` and `right` never take away the model's placeholder
tokens, so that markers and text around them go first. `split`, for pre-training only, makes several rows, of which the
row here is the first.

Compared with its own templates and `_encode_truncated` on 17,693 drawn records, in 58 templates and five tokenizers,
images and their processors stood in for: on 11,185 every id and label was the same, on 6,225 the length that is too
long, on 283 both refused. Not run: images of internvl_hf and llava_llama3_1_hf, cuts of llava_onevision_hf.

Not modelled: tools, videos, the jinja backend, loss scales of agents, `loss` in a message, templates in OTHERS.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from lorachk.facts.encoding.cutting import Marks
from lorachk.facts.encoding.steps import Steps, Stepwise
from lorachk.facts.encoding.stretches import NONE, after_stop, gathered
from lorachk.facts.encoding.swift_contexts import Context, joined, label_separators, loss_scale
from lorachk.facts.encoding.swift_images import HOLE, LAYOUTS, Images, truncated
from lorachk.facts.encoding.swift_templates import OTHERS, TEMPLATES, Meta
from lorachk.facts.encoding.swift_turns import Rounds, rounds
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

_SLOT = re.compile(r"\{(bos|eos)\}")
# The template of a family's models (swift/model/models), where all have the same.
_BY_FAMILY = {
    "minicpmv26": "minicpmv2_6",
    "minicpmv4": "minicpmv4",
    "minicpmv45": "minicpmv4_5",
    "minicpmv46": "minicpmv4_6",
    "minicpmo": "minicpmo",
    "llava": "llava1_5_hf",
    "llava_onevision": "llava_onevision_hf",
    "gemma3": "gemma3_vision",
    **{name: name for name in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5")},
}
_STANDIN = re.compile("\0(\\d+)\0")
_TRUNCATIONS = ("delete", "raise", "left", "right", "split")


def make(tokenizer: Tokens, family: str | None, settings: Settings) -> Swift:
    """The encoder of the template in the settings, else of the family's. Raises Unencodable."""
    name = settings.template or _BY_FAMILY.get(family or "")
    if name is None:
        raise Unencodable("no template is given, and ms-swift has several for models of this family", None)
    if name in OTHERS:
        raise Unencodable(f"ms-swift's template {name} is not modelled", None)
    if name not in TEMPLATES:
        near = get_close_matches(name, [*TEMPLATES, *OTHERS], 1, 0.4)
        raise Unencodable(f"template_type {name} does not exist." + (f" The nearest is {near[0]}." if near else ""))
    if settings.truncation not in (None, *_TRUNCATIONS):
        raise Unencodable(f"Invalid truncation_strategy: {settings.truncation}")
    return Swift(tokenizer, TEMPLATES[name], settings)


class Swift(Stepwise):
    """Encoder of one template."""

    def __init__(self, tokens: Tokens, meta: Meta, settings: Settings) -> None:
        self.tokens = tokens
        self.meta = meta
        self.settings = settings
        self.strategy, self._untrained = loss_scale(settings.loss_scale or "default")
        if settings.system is not None and meta.system is None:
            raise Unencodable("The template does not support `system`")
        self.images: Images | None = None
        self._no_images = Unencodable("the template takes no images: the tags are trained as text", "changed")
        if meta.images:
            try:
                self.images = Images(LAYOUTS[meta.images], tokens)
            except Unencodable as problem:  # of no matter to records without images
                self._no_images = problem
        self._suffix = self._filled(meta.suffix, "")
        self._start, self._end = self._around() if meta.add_bos else ([], [])
        stops = {tokens.id_of(meta.suffix.strip()), tokens.id_of(meta.suffix), tokens.eos_id, *self._end[:1]}
        images = self.images
        self.marks = Marks(
            images.starts if images else NONE,
            images.ends if images else NONE,
            frozenset((images.placeholder,)) if images else NONE,
            frozenset(stop for stop in stops if stop is not None),
            everywhere=not (images and images.layout.placeholder == "<unk>"),
        )
        closing = [token for part in self._suffix for token in (tokens.encode(part) if isinstance(part, str) else part)]
        self._tail = after_stop(closing, self.marks.eos)

    def _around(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and after a text."""
        whole, single = self.tokens.encode("a", special=True), self.tokens.encode("a")
        if len(single) != 1 or single[0] not in whole:
            raise Unencodable("AssertionError: the tokenizer makes more than one token of the letter a")
        place = whole.index(single[0])
        return whole[:place], whole[place + 1 :]

    def steps(self, messages: list[Message], blocks: list[ImageBlock]) -> Steps:
        """See Stepwise."""
        if self.images is None and blocks:
            raise self._no_images
        found = rounds(messages, self.meta, self.settings, self.strategy)
        contexts = joined(self._tagged(self._laid_out(found)))
        suffix = joined([Context(part, False) for part in self._suffix])
        texts = [each.content for each in (*contexts, *suffix) if isinstance(each.content, str)]
        answer = yield [Text(text) for text in texts]
        ids_of = iter(answer)
        ids: list[int] = []
        trained: list[bool] = []
        holes: list[int] = []
        for content, weight in contexts:
            if content is None:
                holes.append(len(ids))
            more = [-1] if content is None else next(ids_of).ids if isinstance(content, str) else content
            ids += more
            trained += [weight] * len(more)
        ending = [
            token
            for content, _ in suffix
            for token in (next(ids_of).ids if isinstance(content, str) else content or [])
        ]
        label_separators(ids, trained, ending)
        if trained:
            trained[0] = False
        return self._expanded(ids, trained, holes, blocks)

    def _laid_out(self, found: Rounds) -> list[Context]:
        meta, everything = self.meta, self.strategy == "all"
        contexts: list[Context] = [Context(self._start, everything)] if self._start else []
        system = found.system
        opening = (meta.system or "") if system else meta.prefix
        contexts += [Context(part, everything) for part in self._filled(opening, system or "")]
        for number, (question, answer) in enumerate(found.rounds):
            last = number == len(found.rounds) - 1
            contexts += [Context(part, everything) for part in self._filled(meta.prompt, question, number)]
            if answer is None:
                contexts += [Context(found.prefix, everything)] if found.prefix else []
                continue
            trained = self.strategy != "last_round" or last
            contexts += self._answer(answer, trained)
            if not last:
                contexts += [Context(part, everything) for part in self._filled(meta.chat_sep or "", "")]
            elif not self._end and not answer[-1].endswith(self._stop_words()):
                contexts += [piece for part in self._suffix for piece in self._scaled(part)]
        if self._end:
            contexts.append(Context(self._end, True))
        return contexts

    def _stop_words(self) -> tuple[str, ...]:
        suffix = _SLOT.split(self.meta.suffix)[-1].strip()
        words = (*self.meta.stop, suffix, self.tokens.eos_token or "")
        return tuple(word for word in words if word)

    def _answer(self, answer: Sequence[str], trained: bool) -> list[Context]:
        if not trained:
            return [Context(text, False) for text in answer]
        return [piece for text in answer for piece in self._scaled(text)]

    def _scaled(self, text: str | list[int]) -> list[Context]:
        """A trained text, without what the loss scale takes off its front."""
        if isinstance(text, str):
            for pattern in self._untrained:
                if found := pattern.match(text):
                    rest = text[found.end() :]  # compared again, so that a second mark takes all that is left
                    return [Context(found.group(), False), Context(rest, pattern.match(rest) is None)]
        return [Context(text, True)]

    def _filled(self, slot: str, content: str, number: int | None = None) -> list[str | list[int]]:
        parts: list[str | list[int]] = []
        for position, part in enumerate(_SLOT.split(slot)):
            if position % 2:
                token = self.tokens.bos_id if part == "bos" else self.tokens.eos_id
                if token is None:
                    raise Unencodable(f"the tokenizer has no {part.upper()} token, which the template writes")
                parts.append([token])
                continue
            text = part.replace("{}", content)
            if number is not None:
                text = text.replace("{{ROUND0}}", str(number)).replace("{{ROUND1}}", str(number + 1))
            parts += [text] if text else []
        return parts

    def _tagged(self, contexts: list[Context]) -> list[Context]:
        """Stand-ins become the layout's texts, which are not trained."""
        if self.images is None:
            return contexts
        out: list[Context] = []
        for context in contexts:
            if not isinstance(context.content, str) or HOLE not in context.content:
                out.append(context)
                continue
            for position, part in enumerate(_STANDIN.split(context.content)):
                if position % 2 == 0:
                    out += [Context(part, context.trained)] if part else []
                else:
                    out += [Context(None if tag == HOLE else tag, False) for tag in self.images.layout.tag]
        return out

    def _expanded(self, ids: list[int], trained: list[bool], holes: list[int], blocks: list[ImageBlock]) -> Encoded:
        images = self.images
        if images is None or not blocks:
            return Encoded(ids, trained, [])
        layout = images.layout
        places = holes if layout.token is None else [n for n, token in enumerate(ids) if token == images.token]
        if len(places) > len(blocks):
            if layout.strict:
                raise Unencodable(f"IndexError: {len(places)} tokens {layout.token}, {len(blocks)} images", self.fate)
            if not layout.every:
                places = places[: len(blocks)]
        out: list[int] = []
        labels: list[bool] = []
        spans: list[Span] = []
        last = 0
        for number, place in enumerate(places):
            out += ids[last:place]
            labels += trained[last:place]
            image = min(number, len(blocks) - 1)
            more = images.tokens_of(image, blocks[image])
            spans.append(Span(len(out), len(out) + len(more)))
            out += more
            labels += [False] * len(more)
            last = place + 1
        out += ids[last:]
        labels += trained[last:]
        return Encoded(out, labels, [_with_markers(span, out, images) for span in spans])

    @property
    def fate(self) -> str:
        """What becomes of a row whose encoding fails: LazyLLMDataset takes another, else it is deleted before."""
        return "replaced" if self.images and not self.settings.packing else "dropped"

    def cut(self, encoded: Encoded, blocks: list[ImageBlock], limit: int | None) -> Cut:
        """Apply max_length by the truncation strategy."""
        total = len(encoded.ids)
        whole = [Span(0, total)]
        if limit is None or total <= limit:
            return self._judged(gathered(encoded, blocks, self.marks, whole, tail=self._tail), blocks)
        strategy = self.settings.truncation or "delete"
        if strategy in ("delete", "raise"):
            row = gathered(encoded, blocks, self.marks, whole, tail=self._tail)
            reason = f"Current length of row({total}) is larger than the max_length({limit})."
            return row._replace(fate=self.fate, reason=reason)
        spans = [Span(0, limit)] if strategy == "split" else truncated(encoded.ids, limit, strategy, self.images)
        first = frozenset((spans[0].start,)) if spans else NONE
        row = gathered(encoded, blocks, self.marks, spans, tail=self._tail, unlabelled=first)
        if strategy == "split":
            return row._replace(fate="changed", reason=f"split into {-(-total // limit)} rows")
        return self._misplaced(self._judged(row, blocks), encoded, spans)

    def _misplaced(self, row: Cut, encoded: Encoded, spans: list[Span]) -> Cut:
        """MiniCPM-V up to 4.5: where the features go was noted before the cut (`image_bound`)."""
        if self.marks.everywhere or not encoded.images:
            return row
        last = len(encoded.ids) - 1
        while encoded.ids[last] not in self.marks.placeholders:
            last -= 1
        if spans[0].end > last and spans[0].start == 0:
            return row
        reason = "image_bound counts tokens that were cut: features are put in the places of other tokens"
        return row._replace(fate="crash" if last >= row.kept else "changed", reason=reason)

    def _judged(self, row: Cut, blocks: list[ImageBlock]) -> Cut:
        if blocks and self.marks.everywhere and row.features != row.features_wanted:
            reason = f"image features and image tokens do not match: {row.features_wanted} and {row.features}"
            return row._replace(fate="crash", reason=reason)
        if row.kept < row.total:
            return row._replace(fate="changed", reason=f"{row.total - row.kept} of {row.total} tokens are cut off")
        return row


def _with_markers(span: Span, ids: list[int], images: Images) -> Span:
    """A run of placeholders with the markers right around it."""
    start, end = span
    start -= start > 0 and ids[start - 1] in images.starts
    end += end < len(ids) and ids[end] in images.ends
    return Span(start, end)
