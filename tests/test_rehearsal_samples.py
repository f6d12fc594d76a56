"""Samples: the first usable records of any dialect, with their images, from the head of a file."""

import json

import pytest
from PIL import Image

from lorachk.rehearsal.samples import first_samples, head_records, read_sample


@pytest.fixture
def folder(tmp_path):
    for name, size in (("a.jpg", (64, 48)), ("b.jpg", (2000, 1000))):
        Image.new("RGB", size, "red").save(tmp_path / name)
    return tmp_path


def kinds(sample):
    return [[p["type"] for p in m["content"]] for m in sample.messages]


ANSWER = {"role": "assistant", "content": "A cat."}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"image": "a.jpg", "conversations": [{"role": "user", "content": "<image>\nWhat?"}, ANSWER]}, 1),
        ({"image": "a.jpg", "conversations": [{"role": "user", "content": "What?"}, ANSWER]}, 1),
        (
            {
                "image": {"<image_00>": "a.jpg", "<image_01>": "b.jpg"},
                "conversations": [{"role": "user", "content": "<image_00> and <image_01>?"}, ANSWER],
            },
            2,
        ),
        (
            {
                "image": "a.jpg",
                "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}],
            },
            1,
        ),
        ({"images": ["a.jpg", "b.jpg"], "messages": [{"role": "user", "content": "<image><image>?"}, ANSWER]}, 2),
        (
            {
                "images": ["a.jpg"],
                "messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}, ANSWER],
            },
            1,
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image", "image": "a.jpg"}]}, ANSWER]}, 1),
        ({"messages": [{"role": "user", "content": "Hi"}, ANSWER]}, 0),
    ],
)
def test_every_dialect_is_read(folder, record, expected):
    """A dialect that is not read is rehearsed with random text instead of the user's images."""
    sample = read_sample(record, folder, None)
    assert len(sample.images) == expected == sum(k.count("image") for k in kinds(sample))


def test_large_images_are_made_smaller_but_not_distorted(folder):
    sample = read_sample({"image": "b.jpg", "conversations": [{"role": "user", "content": "?"}, ANSWER]}, folder, None)
    assert sample.images[0].size == (672, 336)


@pytest.mark.parametrize(
    "record",
    [
        {"image": "missing.jpg", "conversations": [{"role": "user", "content": "?"}, ANSWER]},
        {"conversations": "not a list"},
        {"conversations": [{"role": "narrator", "content": "?"}, ANSWER]},
        {"images": ["a.jpg", "b.jpg"], "messages": [{"role": "user", "content": "one <image>"}, ANSWER]},
        {"messages": [{"role": "user", "content": None}, ANSWER]},
        {"messages": ["text", "text"]},
    ],
)
def test_broken_records_are_passed_over(folder, record):
    """What is wrong with records is for the data rules; a rehearsal that died of one would say nothing else."""
    assert read_sample(record, folder, None) is None


@pytest.mark.parametrize("container", ["array", "lines"])
def test_the_head_of_a_cut_file_is_enough(tmp_path, container):
    """Datasets have gigabytes; only the first records are needed."""
    records = [{"id": i} for i in range(5)]
    text = json.dumps(records) if container == "array" else "\n".join(map(json.dumps, records))
    path = tmp_path / "train.json"
    path.write_text(text[: len(text) - 6], encoding="utf-8")
    assert list(head_records(path)) == records[:4]


def test_text_only_records_stand_between_only_where_the_trainer_keeps_them(folder):
    picture = {"image": "a.jpg", "conversations": [{"role": "user", "content": "?"}, ANSWER]}
    text = {"conversations": [{"role": "user", "content": "Hi"}, ANSWER]}
    path = folder / "train.json"
    path.write_text(json.dumps([text, text, picture, picture]), encoding="utf-8")
    only = first_samples([str(path)], None, with_images=True, mixed=False, count=4)
    assert [len(s.images) for s in only] == [1, 1]
    mixed = first_samples([str(path)], None, with_images=True, mixed=True, count=4)
    assert [len(s.images) for s in mixed] == [1, 0, 1, 0]


def test_records_of_any_container_and_dialect_are_trained_on(tmp_path):
    """A rehearsal on random tokens says less; so do records that only the dataset rules could read."""
    import gzip

    lines = [json.dumps({"instruction": f"Say {i}", "input": "", "output": f"{i}"}) for i in range(3)]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    found = first_samples([str(tmp_path / "a.jsonl.gz")], None, with_images=False, mixed=False, count=2)
    assert [[m["role"] for m in s.messages] for s in found] == [["user", "assistant"]] * 2
    assert found[1].messages[1]["content"][0]["text"] == "1"
    assert first_samples([str(tmp_path / "none.json")], None, with_images=False, mixed=False, count=2) == []
