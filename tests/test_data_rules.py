"""The dataset rules as a whole: silent on sound data of every dialect, and quick when everything is wrong.

Examples of single rules stand on their pages (test_rules.py).
"""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from lorachk import cli
from lorachk.engine.finding import Report
from lorachk.engine.judge import judge
from lorachk.engine.rules import builtin_rules, load_rules
from lorachk.engine.select import Selection
from lorachk.engine.store import Limits, Store
from lorachk.facts.tables import tables

PAGES = [p for p in load_rules([builtin_rules()]).pages if p.code.startswith("D")]

# What people write: letters of any script, markup, formulas, code. No placeholder, no special token of a model.
_ODDITIES = ["a < b", "<b>bold</b>", "<s>struck", "</p>", "x[0]", "[INST", "<|", "|>", "< image >", "user:", "## ##"]
_WORDS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="<>[]|"), min_size=1, max_size=20
)
# "assistant" starts a label for Qwen2.5-VL, "ASSISTANT:" and </s> end one for LLaVA: findings, not false alarms.
_TOLD = ("assistant", "USER", "ASSISTANT", "</s>")
_TEXT = (
    st.lists(_WORDS | st.sampled_from(_ODDITIES), min_size=1, max_size=5)
    .map(" ".join)
    .filter(lambda text: text.strip() != "" and not any(word in text for word in _TOLD))
)
_PAIRS = st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=3)


def _turns(pairs: list[tuple[str, str]], style: str, first: str) -> list[dict[str, str]]:
    role, content, user, assistant = {
        "from": ("from", "value", "human", "gpt"),
        "qwen": ("from", "value", "user", "assistant"),
        "role": ("role", "content", "user", "assistant"),
    }[style]
    made = []
    for number, (question, answer) in enumerate(pairs):
        made.append({role: user, content: f"{'' if number else first}{question}"})
        made.append({role: assistant, content: answer})
    return made


def minicpmv(pairs: Any, images: list[str]) -> dict[str, Any]:
    """One image, or several by name."""
    if len(images) == 1:
        return {"image": images[0], "conversations": _turns(pairs, "role", "<image>\n")}
    keys = [f"<image_{n:02d}>" for n in range(len(images))]
    return {"image": dict(zip(keys, images, strict=True)), "conversations": _turns(pairs, "role", "".join(keys))}


def from_value(pairs: Any, images: list[str]) -> dict[str, Any]:
    """LLaVA's own: one image."""
    return {"image": images[0], "conversations": _turns(pairs, "from", "<image>\n")}


def several(pairs: Any, images: list[str]) -> dict[str, Any]:
    """Qwen2.5-VL's: one placeholder each."""
    return {"image": images, "conversations": _turns(pairs, "from", "<image>" * len(images))}


def messages(pairs: Any, images: list[str]) -> dict[str, Any]:
    """ms-swift's and LLaMA-Factory's."""
    return {"messages": _turns(pairs, "role", "<image>" * len(images)), "images": images}


def parts(pairs: Any, images: list[str]) -> dict[str, Any]:
    """Hugging Face's typed content."""
    turns: list[dict[str, Any]] = []
    for turn in _turns(pairs, "role", ""):
        seen = [{"type": "image"}] * (0 if turns else len(images))
        turns.append({"role": turn["role"], "content": [*seen, {"type": "text", "text": turn["content"]}]})
    return {"messages": turns, "images": images}


def inline(pairs: Any, images: list[str]) -> dict[str, Any]:
    """The first Qwen-VL's."""
    shown = "".join(f"Picture {n}: <img>{image}</img>\n" for n, image in enumerate(images, 1))
    return {"conversations": _turns(pairs, "qwen", shown)}


def text_only(pairs: Any, _images: list[str]) -> dict[str, Any]:
    """Plain chat."""
    return {"messages": _turns(pairs, "role", "")}


def alpaca(pairs: Any, _images: list[str]) -> dict[str, Any]:
    """instruction, input, output."""
    return {"instruction": pairs[0][0], "input": "", "output": pairs[0][1]}


WRITTEN = [
    *((minicpmv, "minicpmv"), (minicpmv, None), (from_value, "llava"), (from_value, "internvl"), (from_value, None)),
    *((several, "qwen-vl"), (several, "vlm-r1"), (several, None), (messages, "ms-swift"), (messages, None)),
    *((parts, "trl"), (parts, None), (inline, "qwen-vl-chat"), (inline, None)),
    *((text_only, "trl"), (text_only, "ms-swift"), (text_only, None), (alpaca, "ms-swift"), (alpaca, None)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three pictures."""
    made = tmp_path_factory.mktemp("sound")
    for name in "abc":
        Image.new("RGB", (64, 48), "white").save(made / f"{name}.png")
    return made


@pytest.mark.parametrize(("write", "trainer"), WRITTEN, ids=[f"{w.__name__}-{t}" for w, t in WRITTEN])
# A run takes longer than making it up: few files of many records; and no time is spent on making them smaller.
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.reuse, Phase.generate))
@given(conversations=st.lists(_PAIRS, min_size=10, max_size=30, unique_by=str), data=st.data())
def test_sound_records_give_nothing(folder: Path, write: Any, trainer: str | None, conversations: Any, data: Any):
    """A false alarm on good data, and nobody reads the true ones any more."""
    most = 1 if trainer in ("llava", "internvl", "vlm-r1") or write is from_value else 3
    records = []
    for pairs in conversations:
        if trainer == "vlm-r1":
            pairs = pairs[:1]  # what comes after is not read, D203
        count = data.draw(st.integers(1, most))
        records.append(write(pairs, [str(folder / f"{name}.png") for name in "abc"[:count]]))
    lines = trainer in ("internvl", "vlm-r1")
    file = folder / ("train.jsonl" if lines else "train.json")
    written = [json.dumps(record, ensure_ascii=False) for record in records]
    file.write_text("\n".join(written) if lines else f"[{','.join(written)}]", encoding="utf-8")
    arguments = ["data", str(file), "--format", "json", "--select", "D", "--isolated"]
    if trainer:
        arguments += ["--trainer", trainer]
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        cli.main(arguments)
    assert out.getvalue(), err.getvalue()
    report = json.loads(out.getvalue())
    # Two conversations may come out alike where only part of them is written (alpaca, VLM-R1): that is told, too.
    told = [f["message"] for f in report["findings"] if f["rule"] not in ("D208", "D209")]
    assert told == []
    assert report["broken"] == []


_WRONG = (
    "INSERT INTO run (data) VALUES (['t.json'])",
    "INSERT INTO dataset (path, split, container) VALUES ('t.json', 'train', 'array')",
    """INSERT INTO record (path, record, split, dialect, style, image_field, image_count, video_count,
         placeholder_count, turns_with_placeholder, turn_count, verdict, reason, digest, repeated_key)
       SELECT 't.json', n, 'train', ['minicpmv', 'llava', 'messages', 'minicpmv-multi'][1 + n % 4],
         ['role/content', 'from/value'][1 + n % 2], 'list', 1, 0, 3, 1, 12, ['replaced', 'crash', 'changed'][1 + n % 3],
         'a reason', hash(n % 1000), 'image' FROM range(20000) r(n)""",
    """INSERT INTO turn (path, record, turn, role, speaker, previous, content_type, characters, blank, placeholders,
         keys, literals)
       SELECT 't.json', n, t, 'Bot', CASE WHEN t % 3 > 0 THEN 'assistant' END, 'assistant', 'string', 0, true, 2,
         ['<image_09>'], ['</image>', '<|image_pad|>', '<|im_end|>'] FROM range(20000) r(n), range(12) s(t)""",
    """INSERT INTO image (path, record, position, key, pointer, resolved)
       SELECT 't.json', n, 0, '<image_00>', '/image/<image_00>', '/a.jpg' FROM range(20000) r(n)""",
)


def test_every_rule_ends_when_every_record_is_wrong():
    """DuckDB 2.0.0 hangs when a bare LIMIT is full before a common table expression that is read twice."""
    with Store(Limits(memory="500MB", seconds=20)) as store:
        for sql in _WRONG:
            store._db.execute(sql)
        store.collected |= set(tables())
        report = Report("data")
        judge(store, PAGES, Selection(), report)
    assert report.broken == []
    found = {f.rule for f in report.findings}
    assert {"D105", "D106", "D109", "D110", "D114", "D202", "D203", "D206", "D209", "D213", "D216", "D220"} <= found


def test_no_two_rules_have_one_name():
    """`allow` and --ignore take names."""
    names = [page.name for page in PAGES]
    assert len(set(names)) == len(names)
