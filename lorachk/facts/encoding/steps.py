"""Encoders written as steps, so that the texts of many records are tokenised in one call.

An encoder's `steps` is a generator: it yields the texts it needs tokenised and is sent their ids, as often as it needs
to, and returns the encoded record. Many of them then run side by side, one tokenizer call for all that wait.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from lorachk.facts.encoding.types import Encoded, Ids, ImageBlock, Message, Text, Tokens, Unencodable

Steps = Generator[list[Text], list[Ids], Encoded]


class Stepwise:
    """Base of encoders: `encode` and `encode_all` on top of `steps`."""

    tokens: Tokens

    def steps(self, messages: list[Message], blocks: list[ImageBlock]) -> Steps:
        """Texts out, ids in, the encoded record at last. Raises Unencodable."""
        raise NotImplementedError

    def encode(self, messages: list[Message], blocks: list[ImageBlock]) -> Encoded:
        """One record. Raises Unencodable."""
        found = self.encode_all([(messages, blocks)])[0]
        if isinstance(found, Unencodable):
            raise found
        return found

    def encode_all(self, records: Sequence[tuple[list[Message], list[ImageBlock]]]) -> list[Encoded | Unencodable]:
        """Many records; what cannot be encoded is an Unencodable in its place."""
        results: dict[int, Encoded | Unencodable] = {}
        waiting: list[tuple[int, Steps, list[Text]]] = []
        for number, (messages, blocks) in enumerate(records):
            _advance(number, self.steps(messages, blocks), None, waiting, results)
        while waiting:
            asked, waiting = waiting, []
            answers = _tokenised(self.tokens, [texts for _, _, texts in asked])
            for (number, steps, _), answer in zip(asked, answers, strict=True):
                _advance(number, steps, answer, waiting, results)
        return [results[number] for number in range(len(records))]


def _advance(
    number: int,
    steps: Steps,
    answer: list[Ids] | Unencodable | None,
    waiting: list[tuple[int, Steps, list[Text]]],
    results: dict[int, Encoded | Unencodable],
) -> None:
    try:
        if isinstance(answer, Unencodable):
            results[number] = answer
            steps.close()
            return
        waiting.append((number, steps, next(steps) if answer is None else steps.send(answer)))
    except StopIteration as stop:
        results[number] = stop.value
    except Unencodable as problem:
        results[number] = problem


def _tokenised(tokens: Tokens, asked: list[list[Text]]) -> list[list[Ids] | Unencodable]:
    """The answer to each record's texts. A text that cannot be tokenised spoils its own record only."""
    try:
        found = iter(tokens.encode_all([text for texts in asked for text in texts]))
    except Unencodable:
        return [_alone(tokens, texts) for texts in asked]
    return [[next(found) for _ in texts] for texts in asked]


def _alone(tokens: Tokens, texts: list[Text]) -> list[Ids] | Unencodable:
    try:
        return tokens.encode_all(texts)
    except Unencodable as problem:
        return problem
