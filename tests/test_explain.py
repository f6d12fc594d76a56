"""From an error text to its rule: what people paste is never exactly what the page says."""

from __future__ import annotations

import pytest

from lorachk.engine.explain import by_code, by_symptom
from lorachk.engine.rules import builtin_rules, load_pages

PAGES = load_pages([builtin_rules()])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("CheckpointError: Recomputed values for the following tensors have different metadata", "Z101"),
        ("  File dataset.py\ndata fetch error\ndata fetch error", "D106"),
        ("TypeError: '>' not supported between instances of 'str' and 'int'", "Z104"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.74 GiB. GPU 3 has a total", "V101"),
        ("RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn", "G102"),
        ("ValueError: Target modules {'q_proj', 'v_proj'} not found in the base model. Please check", "P101"),
        ("AssertionError: Check batch related parameters. train_batch_size is not equal to 256 != 2 * 18 * 7", "Z102"),
        ("a view of a leaf Variable that requires grad is being used in an in-place operation.", "G101"),
    ],
)
def test_an_error_text_leads_to_its_rule(text, code):
    assert code in [page.code for page in by_symptom(PAGES, text)[:2]]  # some errors have two causes


@pytest.mark.parametrize("text", ["", "hello world", "error", "the following", "\x1b[31m"])
def test_text_that_says_nothing_leads_nowhere(text):
    assert by_symptom(PAGES, text) == []


def test_codes_and_names_are_found_in_any_case():
    assert by_code(PAGES, " z101 ") is by_code(PAGES, "zero3-non-reentrant-checkpointing")
