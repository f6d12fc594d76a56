"""Counting word by word gives what tokenising the whole text gives, with every kind of tokenizer that is counted so."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from lorachk.facts.encoding.words import Words, refused

MODELS = Path(__file__).parents[2] / "fixtures" / "models"
FOLDERS = sorted(p.parent.name for p in MODELS.glob("*/tokenizer.json"))


@cache
def rust(name: str) -> Tokenizer:
    return Tokenizer.from_file(str(MODELS / name / "tokenizer.json"))


@cache
def words(name: str) -> Words:
    return Words(rust(name))


_PIECES = [
    "the",
    "The",
    "it's",
    "don't",
    "3.14",
    "12345",
    "字",
    "é",
    "😀",
    ".",
    "...",
    '"q"',
    "'s",
    "(",
    "--",
    "<image>",
    "<|im_end|>",
    "</s>",
    "<s>",
    "▁",
    "_",
    "-",
    "\\n",
    "<unk>",
    "http://x/y?z=1",
    "</image>",
    "<|eot_id|>",
]
_SPACES = ["a\nb", "\n", "\n\n", "\t", "  ", " ", "", "e\u0301", "\u0301", "\u00a0", "\r\n", "\u3000", "x" * 80]
_pieces = st.sampled_from([*_PIECES, *_SPACES])
_texts = st.lists(_pieces | st.text(max_size=6), max_size=14).map(" ".join) | st.text(max_size=40)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_tokenizers_of_all_families_can_be_counted_so(name):
    """One that cannot is tokenised in full, which takes ten times as long on a large dataset."""
    assert refused(rust(name)) is None


@pytest.mark.parametrize("name", FOLDERS)
@settings(max_examples=120, deadline=None)
@given(_texts)
def test_words_add_up(name, text):
    counted = words(name)
    if any("\ud800" <= c <= "\udfff" for c in text):
        return
    assert counted.count(text) == len(rust(name).encode(text, add_special_tokens=False).ids)
    before = len(rust(name).encode("a", add_special_tokens=False).ids)
    whole = len(rust(name).encode(f"a {text}", add_special_tokens=False).ids)
    assert counted.count(text, blank=True) == whole - before


def test_what_does_not_add_up_is_refused():
    bpe = models.BPE({"a": 0, "b": 1, "▁": 2, "a▁": 3, "a▁b": 4}, [("a", "▁"), ("a▁", "b")])
    joined = Tokenizer(bpe)
    joined.normalizer = normalizers.Replace(" ", "▁")
    assert "with a blank inside" in (refused(joined) or "")
    trailing = Tokenizer(models.BPE({"a": 0}, []))
    trailing.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "merged_with_previous"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    assert "joins a blank" in (refused(trailing) or "")
    one = Tokenizer(models.BPE({"a": 0}, []))
    one.pre_tokenizer = pre_tokenizers.ByteLevel(False, use_regex=False)
    assert "joins a blank" in (refused(one) or "")
    assert "not BPE" in (refused(Tokenizer(models.Unigram([("a", 0.0)]))) or "")
    assert "Lowercase" in (refused(_lower()) or "")


def _lower() -> Tokenizer:
    made = Tokenizer(models.BPE({"a": 0}, []))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(False)
    return made
