"""What really comes out: the ids and labels of a record before the limit, and every count of them at a limit."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

IGNORE = -100
STOPS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>")


@dataclasses.dataclass(frozen=True)
class Names:
    """Ids that are counted, by their names in the real tokenizer."""

    starts: frozenset[int]
    ends: frozenset[int]
    feature: frozenset[int]
    stops: frozenset[int]
    blanks: frozenset[int]


def names(
    tok: Any, feature: str | None, starts: Sequence[str], ends: Sequence[str], stops: Sequence[str] = STOPS
) -> Names:
    vocabulary = tok.get_vocab()

    def ids(*tokens: str | None) -> frozenset[int]:
        return frozenset(vocabulary[token] for token in tokens if token in vocabulary)

    blanks = {
        found[0]
        for white in ("\n", "\n\n", " ", " \n")
        if len(found := tok.encode(white, add_special_tokens=False)) == 1
    }
    return Names(ids(*starts), ids(*ends), ids(feature), ids(*stops, tok.eos_token), frozenset(blanks))


@dataclasses.dataclass
class Whole:
    """A record before the limit. `labels` stand at their own tokens."""

    ids: list[int]
    labels: list[int]
    image_tokens: int
    wanted: int
    places: list[int] | None = None  # of features; None: wherever the feature's token stands

    @functools.cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.ids, dtype=np.int64), np.array(self.labels, dtype=np.int64)


@dataclasses.dataclass
class Refused:
    """The trainer does not encode the record."""

    fate: str | None


def at(whole: Whole, named: Names, keep: slice | Sequence[int] | None, limit: int | None) -> dict[str, Any]:
    """The columns of `encoding`, when the tokens `keep` are left."""
    every, every_label = whole.arrays
    chosen = slice(None) if keep is None else keep
    ids, labels = every[chosen], every_label[chosen]
    labels = labels[labels != IGNORE]
    featured = (
        _among(ids, named.feature)
        if whole.places is None
        else int(np.isin(whole.places, np.arange(len(every))[chosen]).sum())
    )
    ended = None
    for label in labels[::-1]:
        ended = int(label) in named.stops
        if ended or int(label) not in named.blanks:
            break
    return {
        "tokens": len(whole.ids),
        "text_tokens": len(whole.ids) - whole.image_tokens,
        "image_tokens": whole.image_tokens,
        "kept": len(ids),
        "features": featured,
        "features_wanted": whole.wanted,
        "starts": _among(ids, named.starts),
        "ends": _among(ids, named.ends),
        "supervised_before": int((every_label != IGNORE).sum()),
        "supervised": len(labels),
        "ends_with_eos": ended,
        "cut": None if limit is None else len(whole.ids) > limit,
    }


def _among(ids: np.ndarray, wanted: frozenset[int]) -> int:
    return int(np.isin(ids, list(wanted)).sum())


def differences(
    found: Mapping[int, Mapping[str, Any]], wanted: Mapping[int, Mapping[str, Any]]
) -> list[tuple[int, str, Any, Any]]:
    """(record, column, what the table says, what really comes out) wherever the two differ."""
    assert found.keys() == wanted.keys()
    return [
        (record, column, found[record][column], value)
        for record, columns in wanted.items()
        for column, value in columns.items()
        if found[record][column] != value
    ]


def limits(totals: Sequence[int]) -> list[int | None]:
    """No limit, one that cuts few, and three that cut half, one token around a record in the middle."""
    ranked = sorted(totals)
    middle = ranked[len(ranked) // 2]
    few = ranked[int(len(ranked) * 0.95)]
    return list(dict.fromkeys((None, few, middle - 1, middle, middle + 1)))
