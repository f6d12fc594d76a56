"""Facts about the lengths of records, as the collector of the dataset would leave them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lorachk.engine.store import Store

Rows = list[dict[str, Any]]
LIMIT = 2048


def exact(record: int, image: int, text: int, labels: int, limit: int | None = LIMIT, path: str = "train.json") -> dict:
    """A record that was tokenised."""
    tokens = image + text
    kept = tokens if limit is None else min(tokens, limit)
    return {
        "path": path,
        "record": record,
        "max_length": limit,
        "image_tokens": image,
        "text_tokens": text,
        "text_tokens_min": text,
        "text_tokens_max": text,
        "tokens": tokens,
        "kept": kept,
        "supervised_before": labels,
        "supervised": max(labels - (tokens - kept), 0),
        "cut": None if limit is None else tokens > limit,
    }


def bounded(record: int, image: int | None, low: int, high: int, cut: bool | None, limit: int | None = LIMIT) -> dict:
    """A record that was not."""
    return {
        "path": "train.json",
        "record": record,
        "max_length": limit,
        "image_tokens": image,
        "text_tokens_min": low,
        "text_tokens_max": high,
        "cut": cut,
    }


def mixed(count: int = 400, limit: int = LIMIT) -> tuple[Rows, Rows]:
    """Encodings and images of a plausible dataset: a long tail, one record in four with bounds only."""
    draw = random.Random(7)
    encodings, images = [], []
    for record in range(count):
        tokens = 0
        for position in range(draw.choice([0, 1, 1, 2])):
            width, height = draw.choice([(224, 224), (640, 480), (1024, 768), (1344, 1008)])
            pieces = max(1, width * height // 200_000 + (width > 448))
            images.append(picture(record, position, width, height, pieces, 66 * pieces + 3))
            tokens += 66 * pieces + 3
        text = 20 + int(draw.lognormvariate(5.3, 0.8))
        if draw.random() < 0.75:
            encodings.append(exact(record, tokens, text, text // 3, limit))
        else:
            low, high = tokens + 8, tokens + 4 * text
            encodings.append(
                bounded(record, tokens, 8, 4 * text, low > limit or (False if high <= limit else None), limit)
            )
    return encodings, images


def picture(record: int, position: int, width: int, height: int, pieces: int | None, tokens: int | None) -> dict:
    """One image of a record."""
    place = {"path": "train.json", "record": record, "position": position}
    return {**place, "width": width, "height": height, "pieces": pieces, "tokens": tokens}


@contextmanager
def facts(encodings: Rows, images: Rows = (), records: Rows | None = None) -> Iterator[Store]:
    """A store with these tables; each encoding has a record, twelve lines apart."""
    if records is None:
        names = ("path", "record")
        records = [
            {**{n: e[n] for n in names}, "line": 1 + 12 * e["record"], "split": "train", "verdict": "kept"}
            for e in encodings
        ]
    with Store() as store:
        store.add("dataset", [{"path": p} for p in dict.fromkeys(e["path"] for e in encodings)])
        store.add("record", records)
        store.add("encoding", encodings)
        store.add("image", images)
        yield store


def select(store: Store) -> Callable[[str], list[tuple[Any, ...]]]:
    """How the engine asks."""
    return lambda sql: store.query(sql).rows
