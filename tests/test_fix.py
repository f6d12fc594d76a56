"""The repaired copy: what is kept byte by byte, what is mended, and what must never happen to a user's file."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.engine.fix import Changed, Outcome, fix_file
from lorachk.errors import UsageError
from lorachk.facts.records.verdicts import loader
from lorachk.fixes.fixer import Around
from lorachk.fixes.style import array_glue, dumped

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


def chat(*texts: object, keys: tuple[str, str] = ("role", "content"), names: str = "user assistant") -> list[object]:
    """Turns of two speakers in turn."""
    speakers = names.split()
    return [dict(zip(keys, (speakers[i % 2], text), strict=True)) for i, text in enumerate(texts)]


def shared(*texts: object, names: str = "human gpt") -> list[object]:
    return chat(*texts, keys=("from", "value"), names=names)


def around(folder: Path, trainer: str | None = None) -> Around:
    return Around(trainer, loader=loader(trainer), folders=(str(folder),))


def fixed(folder: Path, content: bytes | str, trainer: str | None = None, **options: object) -> tuple[Outcome, bytes]:
    source, target = folder / "train.json", folder / "fixed.json"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = around(folder, trainer)
    options.setdefault("container", found.loader.container if found.loader else None)
    outcome = fix_file(source, target, found, **options)  # type: ignore[arg-type]
    return outcome, target.read_bytes()


def codes(outcome: Outcome) -> set[str]:
    return {f.code for f in (*outcome.fixes, *outcome.file)}


@pytest.mark.parametrize(
    "text",
    [
        '[{"messages": []}]',
        '[\n    {"messages": [],\n     "score": 1.50},\n\n    {"b":1e3}\n]\n',
        '[\r\n  {"text": "caf\\u00e9"},\r\n  {"text": "é"}\r\n]\r\n',
        '[{"a": 1},{"a": 2},{"a": 3}]',
    ],
)
def test_a_file_without_faults_comes_back_as_it_was(tmp_path, text):
    outcome, copy = fixed(tmp_path, text)
    assert not outcome.anything
    assert copy.decode().strip() == text.strip().replace("\n\n", "\n") or json.loads(copy) == json.loads(text)
    for record in ('"score": 1.50', '{"b":1e3}', '"caf\\u00e9"'):
        assert (record in text) == (record.encode() in copy), "numbers and escapes of a good record are not rewritten"


def test_records_that_are_not_changed_keep_their_bytes(tmp_path):
    odd = '{"messages":[{"role":"user" , "content":"a\\u00e9"},{"role":"assistant","content":"1.0"}], "n": 1.00}'
    text = f"[\n  {odd},\n  {json.dumps({'messages': chat('x', 'y', names='USER assistant')})}\n]\n"
    outcome, copy = fixed(tmp_path, text)
    assert codes(outcome) == {"D105"}
    assert (outcome.read, outcome.changed, outcome.dropped) == (2, 1, 0)
    assert odd.encode() in copy
    assert copy.decode() == text.replace("USER", "user")


def test_a_changed_record_is_indented_like_the_file(tmp_path):
    record = {
        "image": ["a.jpg"],
        "conversations": chat("é", "b"),
    }
    text = json.dumps([GOOD | {"id": 1}, record], indent=4, ensure_ascii=False)
    _, copy = fixed(tmp_path, text, "minicpmv")
    wanted = json.dumps([{**GOOD, "id": 1}, {**record, "image": "a.jpg"}], indent=4, ensure_ascii=False)
    wanted = wanted.replace('"messages"', '"conversations"').replace("é", "<image>\\né")
    assert copy.decode().strip() == wanted


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("[{'messages': [{'role': 'user', 'content': 'it\\'s'}]},]", "single quotes"),
        ('[{"a": [1, 2,]}, {"a": []},]', "trailing commas"),
        ('[{"a": 1} {"a": 2}]', "no comma between records"),
        ('\ufeff[{"a": 1}]', "byte order mark"),
        ('{"data": [{"a": 1}, {"a": 2}]}', "an object around the list"),
        ('[{"a": NaN}, {"a": -Infinity}]', "numbers that are none"),
        ('[{"a": 1}, {"a": 2}, {"a": "cut o', "the file was cut off"),
        ('{"a": 1}\n{"a": 2}\n{"a": 3\n', "lines, one repaired, one lost"),
        ('[{"a": True, "b": None}]', "Python's words"),
    ],
)
def test_json_that_could_be_read_is_json_afterwards(tmp_path, broken, why):
    outcome, copy = fixed(tmp_path, broken)
    text = copy.decode("utf-8")
    values = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(v, dict) for v in values)
    assert codes(outcome) & {"D101", "D201"}
    assert len(values) == outcome.written == outcome.read


def test_utf16_becomes_utf8(tmp_path):
    text = json.dumps([{"text": "größe"}], ensure_ascii=False)
    outcome, copy = fixed(tmp_path, text.encode("utf-16"))
    assert copy.decode("utf-8").strip() == text
    assert codes(outcome) == {"D101"}


def test_what_cannot_be_read_is_counted(tmp_path):
    outcome, _ = fixed(tmp_path, '[{"a": 1}, {"a": 2}, {"a": "cut o')
    assert any("1 record that cannot be read is left out" in f.what for f in outcome.file)
    outcome, copy = fixed(tmp_path, '{"a": 1}\n{"a" 2}\n\n{"a": 3}\n')
    assert any("1 record that cannot be read is left out" in f.what for f in outcome.file)
    assert copy == b'{"a": 1}\n{"a": 3}\n'


def test_bytes_that_are_no_utf8_are_not_guessed(tmp_path):
    _, copy = fixed(tmp_path, b'[{"a": "\xff"}, {"a": 2}]')
    assert b'"\xff"' in copy
    assert b'{"a": 2}' in copy


def test_the_container_is_the_one_that_the_trainer_reads(tmp_path):
    record = json.dumps({"image": "a.jpg", "conversations": shared("<image>\nx", "y")})
    outcome, copy = fixed(tmp_path, f"{record}\n{record}\n", "llava")
    assert json.loads(copy) == [json.loads(record)] * 2
    assert codes(outcome) == {"D101"}
    outcome, copy = fixed(tmp_path, json.dumps([json.loads(record)] * 2, indent=2), "llava", container="lines")
    assert copy.decode() == f"{record}\n{record}\n"


def test_keys_and_roles_are_those_of_the_trainer(tmp_path):
    theirs = [{"image": "a.jpg", "conversations": shared("<image>\nx", "y")}]
    ours = [
        {
            "image": "a.jpg",
            "conversations": chat("<image>\nx", "y"),
        }
    ]
    assert json.loads(fixed(tmp_path, json.dumps(theirs), "minicpmv")[1]) == ours
    assert json.loads(fixed(tmp_path, json.dumps(ours), "llava")[1]) == theirs


def test_several_images_of_a_list_become_an_object(tmp_path):
    record = {"image": ["a.jpg", "b.jpg"], "conversations": chat("<image><image>\nSame?", "No")}
    (made,) = json.loads(fixed(tmp_path, json.dumps([record]), "minicpmv")[1])
    assert made["image"] == {"<image_00>": "a.jpg", "<image_01>": "b.jpg"}
    assert made["conversations"][0]["content"] == "<image_00><image_01>\nSame?"


@pytest.mark.parametrize(
    ("there", "written", "meant"),
    [
        (["photos/cat.png"], "photos/cat.jpg", "photos/cat.png"),
        (["photos/Cat.JPG"], "photos/cat.jpg", "photos/Cat.JPG"),
        (["photos/cat.jpg"], "photos\\cat.jpg", "photos/cat.jpg"),
        (["photos/cat.png", "photos/cat.webp"], "photos/cat.jpg", None),
        (["photos/dog.jpg"], "photos/cat.jpg", None),
        (["photos/cat.jpg", "photos/cat.png"], "photos/cat.jpg", None),
        (["photos/cat.txt"], "photos/cat.jpg", None),
    ],
)
def test_a_path_is_mended_only_when_one_file_was_meant(tmp_path, there, written, meant):
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    record = {"images": [written], **GOOD}
    (made,) = json.loads(fixed(tmp_path, json.dumps([record]))[1])
    assert made["images"] == [meant or written]


def test_nothing_unsafe_happens_unasked(tmp_path):
    text = json.dumps([GOOD, GOOD, {"messages": chat("<|im_end|>", "b", names="assistant user")}])
    outcome, copy = fixed(tmp_path, text)
    assert not outcome.anything
    assert json.loads(copy) == json.loads(text)
    outcome, copy = fixed(tmp_path, text, with_unsafe=True)
    assert outcome.dropped == 1
    assert json.loads(copy)[1]["messages"][0] == {"role": "assistant", "content": ""}
    assert not any(fix.safe for fix in outcome.fixes)


def test_turns_of_one_role_are_joined_only_when_asked(tmp_path):
    record = {"conversations": [*shared("a"), *shared("b", "c")]}
    (made,) = json.loads(fixed(tmp_path, json.dumps([record]), "llava", with_unsafe=True)[1])
    assert made["conversations"] == [{"from": "human", "value": "a\nb"}, {"from": "gpt", "value": "c"}]


def test_roles_that_changed_places_change_back_only_when_asked(tmp_path):
    record = {"conversations": shared("It is a cat.", "What is it?", names="gpt human")}
    assert json.loads(fixed(tmp_path, json.dumps([record]), "llava")[1]) == [record]
    (made,) = json.loads(fixed(tmp_path, json.dumps([record]), "llava", with_unsafe=True)[1])
    assert [t["from"] for t in made["conversations"]] == ["human", "gpt"]


def test_a_copy_without_records_is_not_written(tmp_path):
    record = {
        "image": "gone.jpg",
        "conversations": chat("a", "b"),
    }
    with pytest.raises(UsageError, match="no record would be left"):
        fixed(tmp_path, json.dumps([record]), "minicpmv", with_unsafe=True)
    assert [p.name for p in tmp_path.iterdir()] == ["train.json"]


def test_a_copy_that_fails_half_way_leaves_nothing(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps([GOOD] * 3))

    def stop(done: int, total: int | None, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fix_file(tmp_path / "train.json", tmp_path / "fixed.json", around(tmp_path), progress=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["train.json"]


def test_changes_are_told_without_writing(tmp_path):
    (tmp_path / "train.json").write_text('[{"a": NaN}]')
    seen: list[Changed] = []
    fix_file(tmp_path / "train.json", None, around(tmp_path), on_change=seen.append)
    assert [(c.number, c.line, c.after) for c in seen] == [(0, 1, {"a": None})]
    assert [p.name for p in tmp_path.iterdir()] == ["train.json"]


_TRAINERS = [None, "minicpmv", "llava", "ms-swift", "llamafactory", "qwen-vl", "internvl"]
_turns = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "USER", "assistant", "system", "gpt", "x", 1, None]),
            "from": st.sampled_from(["human", "Human ", "gpt", "tool"]),
            "content": st.sampled_from(
                ["a", "<image>\nb", "<image_00> <|im_end|>", "", None, ["p", {"type": "image"}]]
            ),
            "value": st.sampled_from(["a", "<image>", "\ud800"]),
        },
    ),
    max_size=4,
)
_records = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {},
            optional={
                "image": st.sampled_from(["a.jpg", ["a.jpg"], ["a", "b"], {"<image_00>": "a"}, None, 1e400, [["x"]]]),
                "images": st.sampled_from(["a.jpg", ["a.jpg"], [{"path": "a"}], {}]),
                "conversations": _turns,
                "messages": _turns,
                "conversation": _turns,
            },
        ),
        st.sampled_from([None, 1, "x", [], {}]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=_records,
    trainer=st.sampled_from([None, "minicpmv", "llava", "ms-swift", "llamafactory", "qwen-vl"]),
    lines=st.booleans(),
)
def test_whatever_comes_in_is_fixed_once_and_for_all(tmp_path, records, trainer, lines):
    text = "\n".join(json.dumps(r) for r in records) if lines else json.dumps(records, indent=2)
    try:
        outcome, copy = fixed(tmp_path, text, trainer)
    except UsageError:
        return
    assert outcome.written == outcome.read, "safe fixes leave no record out"
    again, same = fixed(tmp_path, copy, trainer)
    assert same == copy
    assert not again.fixes, "a second fix finds nothing that the first one left or made"


def test_glue_is_taken_from_the_file():
    assert array_glue(b'[{"a":1},{"a":2}]', b'{"a":1}', b'{"a":2}') == (b"[", b",", b"]\n")
    assert array_glue(b'[\n\t{"a":1},\n\t{"a":2}\n]', b'{"a":1}', b'{"a":2}') == (b"[\n\t", b",\n\t", b"\n]\n")
    assert dumped({"a": [1]}, b'{\n\t\t"a": []\n\t}', one_line=False)[0] == b'{\n\t\t"a": [\n\t\t\t1\n\t\t]\n\t}'


# -- the command


@pytest.fixture
def lorachk(run_in, tmp_path):
    return partial(run_in, tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fix", "train.json"], "--output"),
        (["--unsafe-fixes", "train.json"], "add --fix or --diff"),
        (["--fix", "--output", "train.json", "train.json"], "is the dataset itself"),
        (["--fix", "--output", "./same.json", "train.json"], "is the dataset itself"),
        (["--fix", "--output", "link.json", "train.json"], "is the dataset itself"),
        (["--fix", "--output", "out.json", "trian.json"], "train.json"),
        (["--fix", "--output", "nowhere/out.json", "train.json"], "nowhere"),
        (["--fix", "--output", "out.json", "train.json", "empty.json"], "one file at a time"),
        (["--fix", "--output", "out.json", "--facts", "f.duckdb"], "no text"),
        (["--fix", "--output", "out.json.gz", "train.json"], "plain JSON"),
        (["--fix", "--output", "out.json", "empty.json"], "empty"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_the_original_is_never_touched(lorachk, tmp_path, words, says):
    source = tmp_path / "train.json"
    source.write_text('[{"a": NaN}]')
    os.link(source, tmp_path / "same.json")
    (tmp_path / "link.json").symlink_to(source)
    (tmp_path / "empty.json").touch()
    code, out, err = lorachk("data", "--isolated", *words)
    assert code == 2, out
    assert says in err
    assert source.read_text() == '[{"a": NaN}]'
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(("out", "."))]


def test_the_command_says_what_it_did_and_what_is_left(lorachk, tmp_path):
    records = [
        {"messages": chat("a", "b", names="USER assistant")},
        {"messages": [*chat("a"), *chat("b", "c")]},
    ]
    (tmp_path / "train.json").write_text(json.dumps(records))
    words = ("data", "--isolated", "--fix", "--fail-on", "warning", "train.json", "--output")
    code, out, err = lorachk(*words, "fixed.json")
    assert code == 1
    assert "D105  1 record: roles are named as the trainer names them" in out
    assert "D205" in out
    assert "fixed.json" in out
    assert "--unsafe-fixes may mend more of D205" in err
    code, out, _ = lorachk(*words, "f2.json", "--unsafe-fixes")
    assert code == 0
    assert "(unsafe)" in out


def test_a_registry_is_not_taken_for_a_dataset(lorachk, tmp_path):
    registry = {"docs": {"file_name": "docs.json", "formatting": "sharegpt", "columns": {"messages": "talk"}}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(registry))
    (tmp_path / "docs.json").write_text(json.dumps([{"talk": shared("a", "b"), "score": 1}])[:-1] + ",]")
    words = ("data", "--isolated", "--trainer", "llamafactory", "--fix", "dataset_info.json", "--output")
    code, _, err = lorachk(*words, "dataset_info.json")
    assert code == 2
    assert "is the dataset itself" in err
    lorachk(*words, "fixed.json")
    assert json.loads((tmp_path / "fixed.json").read_text()) == [{"talk": shared("a", "b"), "score": 1}]


def test_the_diff_writes_nothing_and_obeys_no_hostile_text(lorachk, tmp_path):
    hostile = "\x1b[2J::error::x\n##[group]y\u202e"
    record = {"messages": chat(hostile, "b", names="USER assistant")}
    (tmp_path / "train.json").write_text(json.dumps([record]))
    code, out, _ = lorachk("data", "--isolated", "--diff", "train.json")
    assert code == 1
    assert '-      "role": "USER",' in out
    assert '+      "role": "user",' in out
    assert not {"\x1b", "\u202e"} & set(out)
    assert "##[" not in out
    assert [p.name for p in tmp_path.iterdir()] == ["train.json"]
    (tmp_path / "train.json").write_text(json.dumps([GOOD]))
    assert lorachk("data", "--isolated", "--diff", "train.json")[0] == 0
