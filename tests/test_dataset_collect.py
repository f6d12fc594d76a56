"""The dataset collector: what reaches the tables, and what is stated unknown instead of being passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorachk.engine.store import Limits, Store
from lorachk.errors import UsageError
from lorachk.facts.collector import Context, NotCollected
from lorachk.facts.dataset import collect
from lorachk.facts.records.lengths import Span, TurnSize, bounds
from lorachk.run import Run


class Collected:
    """What the collector put into a store: rows of each table, and what it stated to be unknown."""

    def __init__(self, store: Store) -> None:
        self.tables = {t: store.rows(t) for t in sorted(store.collected)}
        self.unknowns = {r["fact"]: (r["reason"], r["count"]) for r in self.tables.pop("unknown", [])}


def collected(**run: Any) -> Collected:
    with Store(Limits(memory="500MB")) as store:
        collect(Context(Run(**run), store))
        return Collected(store)


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    Image.new("RGB", (1344, 1344)).save(tmp_path / "a.jpg")
    return tmp_path / "train.json"


def write(path: Path, *records: Any, indent: int | None = None) -> str:
    path.write_text(json.dumps(records, indent=indent))
    return str(path)


def test_all_tables_of_a_minicpmv_file(data: Path) -> None:
    path = write(data, {"image": "a.jpg", "conversations": turns("<image>\nq", "é")}, indent=1)
    sink = collected(data=[path], family="minicpmv26", max_length=2048)
    (record,), (image,), (encoding,) = sink.tables["record"], sink.tables["image"], sink.tables["encoding"]
    assert (record["dialect"], record["verdict"], record["line"], record["pointer"]) == ("minicpmv", "kept", 2, "/0")
    assert (image["tokens"], image["pieces"], image["decodes"], image["pointer"]) == (665, 10, True, "/image")
    assert encoding["image_tokens"] == 665
    assert (encoding["cut"], encoding["image_cut"]) == (False, False)
    second = sink.tables["turn"][1]
    assert (second["characters"], second["bytes"], second["speaker"]) == (1, 2, "assistant")
    assert (second["previous"], second["blank"]) == ("user", False)
    assert sink.tables["dataset"][0]["expected"] == "array"
    # What only a tokenizer tells.
    assert sink.unknowns.keys() == {"tokenizer", "encoding.tokens", "encoding.text_tokens", "encoding.supervised"}


def test_an_image_block_beyond_the_limit(data: Path) -> None:
    path = write(data, {"image": "a.jpg", "conversations": turns("q", "a")})
    sink = collected(data=[path], family="minicpmv26", max_length=600)
    assert sink.tables["encoding"][0]["image_cut"] is True
    assert sink.tables["record"][0]["verdict"] == "replaced"


def test_what_only_a_tokenizer_can_tell_is_unknown_and_not_passed(data: Path) -> None:
    path = write(data, {"image": "a.jpg", "conversations": turns("q" * 3000, "a")})
    sink = collected(data=[path], family="minicpmv26", max_length=2048)
    assert sink.tables["record"][0]["verdict"] is None
    assert sink.tables["encoding"][0]["cut"] is None
    assert sink.unknowns["record.verdict"][1] == 1
    assert sink.unknowns["encoding.cut"][1] == 1


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ({"family": "minicpmv26"}, "no token limit: give --max-length"),
        ({"max_length": 100}, "family is not known"),
        ({"family": "phi_vision", "max_length": 100}, "no visual-token arithmetic for phi_vision"),
        ({"family": "minicpmv26", "max_length": 100, "trainer": "llava"}, "how llava prepares the images"),
    ],
)
def test_no_encoding_without_limit_or_arithmetic(data: Path, run: dict[str, Any], reason: str) -> None:
    sink = collected(data=[write(data, {"image": "a.jpg", "conversations": turns("q", "a")})], **run)
    assert "encoding" not in sink.tables
    assert reason in sink.unknowns["encoding"][0]


def test_other_trainers_have_no_verdict(data: Path) -> None:
    sink = collected(data=[write(data, {"messages": turns("q", "a")})])
    assert sink.tables["record"][0]["verdict"] is None
    assert "no trainer given" in sink.unknowns["record.verdict"][0]


def test_text_chat_is_not_taken_for_minicpmv(data: Path) -> None:
    """conversations with role/content are common; without images nobody needs the MiniCPM-V loader."""
    sink = collected(data=[write(data, {"conversations": turns("q", "a")})])
    assert sink.tables["record"][0]["verdict"] is None


def test_urls_are_not_fetched_and_unknown(data: Path) -> None:
    record = {"images": ["https://x.org/a.png"], "messages": turns("<image>q", "a")}
    sink = collected(data=[write(data, record)])
    assert sink.tables["image"][0]["exists"] is None
    assert sink.unknowns["image.exists"][1] == 1


def test_a_dataset_of_another_kind_is_unknown(data: Path) -> None:
    """Rules on turns would else pass for a dataset nobody could read."""
    sink = collected(data=[write(data, {"question": "q", "reply": "a"})])
    assert "turn" not in sink.tables
    assert "conversation" in sink.unknowns["turn"][0]


def test_the_same_content_has_the_same_digest_whatever_its_id(data: Path) -> None:
    one = {"image": "a.jpg", "conversations": turns("q", "a")}
    path = write(data, {"id": 1, **one}, {"id": 2, **one}, {"id": 2, **one, "image": "b.jpg"})
    digests = [r["digest"] for r in collected(data=[path]).tables["record"]]
    assert digests[0] == digests[1] != digests[2]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such data file"):
        collected(data=[str(tmp_path / "x.json")])
    with pytest.raises(UsageError, match="is a folder"):
        collected(data=[str(tmp_path)])
    with pytest.raises(NotCollected, match="no dataset"):
        collected()
    sink = collected(data=["org/some-dataset"], trainer="trl")
    assert "hub" in sink.unknowns["record"][0]


def test_turns_of_lists_that_begin_empty(data: Path) -> None:
    """A thousand turns of which few name images must not stop the scan: most datasets of chat are such."""
    plain = {"messages": turns("q", "a")}
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, turns("q", "a")[1]]}
    keyed = {"messages": turns("<image_00> <|im_end|>", "a")}
    path = write(data, *[plain] * 600, parts, keyed)
    assert len(collected(data=[path], trainer="trl").tables["turn"]) == 1204


def test_hostile_records_do_not_stop_the_scan(data: Path) -> None:
    path = write(
        data,
        None,
        5,
        [],
        "x",
        {},
        {"image": {"a": 1, "<image_00>": None}, "conversations": [5, None, {"role": 3}]},
        {"conversations": [{"from": None, "value": {}}]},
        {"messages": [{"role": "user", "content": [1, {"type": 5}]}]},
        {"image": 10**40, "conversations": {}},
        {"images": [None, {"path": 3}], "messages": turns("a", "b")},
    )
    sink = collected(data=[path], trainer="minicpmv", family="minicpmv26", max_length=100)
    assert len(sink.tables["record"]) == 10
    assert {r["verdict"] for r in sink.tables["record"]} == {"replaced"}


def test_bounds_hold_for_a_byte_tokenizer_and_a_word_tokenizer() -> None:
    """The exact lengths of two extreme tokenizers lie within the bounds."""
    record = {"image": "a", "conversations": turns("<image>\nWas kostet das?", "Fünf Euro.", "Und das?", "Nichts.")}
    sizes = [
        TurnSize(t["role"], len(t["content"]), len(t["content"].encode()), t["content"].count("<image>"), [])
        for t in record["conversations"]
    ]
    found = bounds(sizes, [(None, Span(66, 66))])
    texts = [t["content"].replace("<image>", "") for t in record["conversations"]]
    bytes_ = sum(len(t.encode()) for t in texts) + 5 * 4 + 11 + 66
    words = 4 + 4 * 4 + 66
    assert found.total.low <= words <= bytes_ <= found.total.high
    assert found.image_ends[0].low <= 3 + 66 <= found.image_ends[0].high
