"""axolotl's `type: chat_template` for text (axolotl-ai-cloud/axolotl 067b021, prompt_strategies/chat_template.py).

The record is rendered once. For every turn that is trained (roles_to_train, all with train_on_inputs) the conversation
up to it is rendered twice, with its content and with "[[dummy_message]]" in its place: where the two differ is the
turn. Then the first EOS behind its end is trained, when it follows within three tokens (train_on_eos: turn; all: also
behind turns that are not trained; last: only the last one). A turn whose ends cannot be told apart (empty, or as the
dummy) is not trained, and the search for its EOS starts at -1, the very last token.

Records over sequence_len are dropped (excess_length_strategy truncate or raise), then those without a label.
Images go through the collator's processing strategies, which are not modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lorachk.facts.encoding.cutting import Marks, ids_of, left
from lorachk.facts.encoding.processor import STOPS, blanks
from lorachk.facts.encoding.steps import Steps, Stepwise
from lorachk.facts.encoding.types import Cut, Encoded, ImageBlock, Message, Settings, Text, Tokens, Unencodable

_DUMMY = "[[dummy_message]]"
_ROLES = {"human": "user", "gpt": "assistant"}
_NEAR = 3  # tokens between a turn's end and the EOS that belongs to it
_LEAST = 2  # tokens; shorter records are dropped (min_sample_len)


def make(tokenizer: Tokens, family: str | None, settings: Settings) -> Axolotl:
    """The text strategy. Raises Unencodable for an option it does not know."""
    del family
    if settings.train_on_eos not in (None, "turn", "all", "last", "none"):
        raise Unencodable(f"train_on_eos {settings.train_on_eos!r} is none of turn, all, last")
    name = settings.template or "tokenizer_default"
    if settings.chat_template is None and not name.startswith("tokenizer_default"):
        raise Unencodable(f"axolotl's own chat template {name} is not held here", None)
    return Axolotl(tokenizer, settings)


class Axolotl(Stepwise):
    """ChatTemplateStrategy."""

    def __init__(self, tokens: Tokens, settings: Settings) -> None:
        self.tokens = tokens
        self.settings = settings
        given = ("assistant",) if settings.roles_to_train is None else settings.roles_to_train
        self.roles = {_ROLES.get(role, role) for role in given}
        self.eos = settings.train_on_eos or "turn"
        self.marks = Marks(eos=ids_of(tokens, tokens.eos_token, *STOPS), blank=blanks(tokens))
        self._variables: dict[str, Any] = {}
        if settings.chat_template is not None:
            self._variables["chat_template"] = settings.chat_template

    def steps(self, messages: list[Message], blocks: list[ImageBlock]) -> Steps:
        """See Stepwise."""
        if blocks:
            raise Unencodable("how axolotl's collator encodes images is not modelled", None)
        if any(message.role is None for message in messages):
            raise Unencodable("type: chat_template reads a conversation; other types are not modelled", None)
        turns = [{"role": _ROLES.get(m.role or "", m.role), "content": _text(m)} for m in messages]
        trained = [bool(self.settings.train_on_inputs) or turn["role"] in self.roles for turn in turns]
        looked = [n for n in range(len(turns)) if trained[n] or self.eos == "all"]
        asked = [self._rendered(turns)]
        for number in looked:
            last = len(turns) - 1
            dummy = {"role": turns[number]["role"], "content": _DUMMY}
            asked.append(self._rendered([*turns[:number], dummy], last))
            asked.append(self._rendered(turns[: number + 1], last))
        found = yield [Text(text) for text in asked]
        ids = found[0].ids
        labels = [False] * len(ids)
        last_eos = -1
        for place, number in enumerate(looked):
            start, end = _turn(found[1 + 2 * place].ids, found[2 + 2 * place].ids)
            if trained[number] and start != -1:
                labels[start:end] = [True] * len(labels[start:end])
            eos = self._first_eos(ids, end)
            if eos != -1 and abs(eos - end) <= _NEAR:
                last_eos = eos
                if self.eos == "all" or (self.eos == "turn" and trained[number]):
                    labels[eos] = True
        if self.eos == "last" and last_eos != -1:
            labels[last_eos] = True
        return Encoded(ids, labels, [])

    def _rendered(self, turns: list[dict[str, Any]], last: int = 0) -> str:
        more = {"real_last_index": last} if last else {}
        return self.tokens.render(turns, **self._variables, **more)

    def _first_eos(self, ids: list[int], start: int) -> int:
        """The first EOS from `start` on, which counts from the end when it is -1, as range() and [] do."""
        for position in range(start, len(ids)):
            if ids[position] == self.tokens.eos_id:
                return position
        return -1

    def cut(self, encoded: Encoded, blocks: list[ImageBlock], limit: int | None) -> Cut:
        """drop, truncate or raise, then no label: dropped."""
        how = self.settings.truncation or "drop"
        over = limit is not None and len(encoded.ids) > limit
        found = left(encoded, blocks, self.marks, 0, limit if how == "truncate" else None)
        if len(encoded.ids) < _LEAST:
            return found._replace(fate="dropped", reason="shorter than two tokens")
        if over and how == "raise":
            return found._replace(fate="crash", reason="longer than sequence_len")
        if over and how == "drop":
            return found._replace(kept=0, supervised=0, ends_with_eos=None, fate="dropped", reason="over sequence_len")
        if not found.supervised:
            return found._replace(fate="dropped", reason="no trainable tokens")
        if over:
            return found._replace(fate="changed", reason="longer than the token limit: the end is cut off")
        return found


def _turn(dummy: Sequence[int], full: Sequence[int]) -> tuple[int, int]:
    """Where a turn's content stands in `full`: first and behind the last token that differ; -1, -1 where none is.

    Both ends are looked for within the length of the shorter one, so the end can lie before the start.
    """
    least = min(len(dummy), len(full))
    start = next((at for at in range(least) if dummy[at] != full[at]), None)
    if start is None:
        return -1, -1
    end = next((len(full) - at for at in range(least) if dummy[-1 - at] != full[-1 - at]), None)
    if end is None or end <= start:
        return -1, -1
    return start, end


def _text(message: Message) -> str:
    return "".join(part for part in message.parts if isinstance(part, str))
