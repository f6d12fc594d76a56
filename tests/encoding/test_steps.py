"""Many records share tokenizer calls, and one that fails spoils no other."""

from __future__ import annotations

import pytest

from lorachk.facts.encoding.steps import Stepwise
from lorachk.facts.encoding.tokenizer import open_tokenizer
from lorachk.facts.encoding.trainers import encoder_for
from lorachk.facts.encoding.types import Encoded, Message, Text, Unencodable
from tests.encoding import folders


class Words(Stepwise):
    """Each turn tokenised by itself, in as many rounds as it has turns."""

    def __init__(self, tokens):
        self.tokens = tokens

    def steps(self, messages, blocks):
        ids = []
        for message in messages:
            if message.role == "refused":
                raise Unencodable("refused", "dropped")
            found = yield [Text(part) for part in message.parts]
            ids += [i for one in found for i in one.ids]
        return Encoded(ids, [True] * len(ids), [])


def test_batches_give_what_single_records_give(tmp_path):
    tokenizer = open_tokenizer(folders.write(tmp_path))
    calls = []
    encode_all = tokenizer.encode_all
    tokenizer.encode_all = lambda texts: calls.append(len(texts)) or encode_all(texts)
    words = Words(tokenizer)
    records = [
        ([Message("user", "user", ("hello", " you")), Message("user", "user", ("x",))], []),
        ([Message("refused", None, ())], []),
        ([Message("user", "user", ("one",)), Message("refused", None, ())], []),
        ([], []),
        ([Message("user", "user", ("a cat",))], []),
    ]
    found = words.encode_all(records)
    assert calls == [4, 1]
    assert [str(x) for x in found if isinstance(x, Unencodable)] == ["refused"] * 2
    for record, one in zip(records, found, strict=True):
        if isinstance(one, Encoded):
            assert one == words.encode(*record)
            assert one.ids == [i for m in record[0] for p in m.parts for i in tokenizer.encode(p)]
    with pytest.raises(Unencodable) as raised:
        words.encode(*records[1])
    assert raised.value.fate == "dropped"


def test_a_text_that_cannot_be_tokenised_spoils_its_own_record(tmp_path):
    words = Words(open_tokenizer(folders.write(tmp_path)))
    good, bad = ([Message("user", "user", ("ok",))], []), ([Message("user", "user", ("\ud800",))], [])
    first, second, third = words.encode_all([good, bad, good])
    assert first == third == words.encode(*good)
    assert isinstance(second, Unencodable)


def test_registry_gives_an_encoder_or_a_reason(tmp_path):
    tokenizer = open_tokenizer(folders.write(tmp_path))
    assert encoder_for(None, None, tokenizer) == "the trainer is not known"
    assert encoder_for("mine", None, tokenizer) == "how mine encodes is not modelled"
    assert "reinforcement" in str(encoder_for("vlm-r1", None, tokenizer))
