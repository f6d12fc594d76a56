"""A folder's tokenizer is what transformers makes of it; a broken folder says which file and where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.facts.encoding.tokenizer import TokenizerProblem, open_tokenizer
from lorachk.facts.encoding.types import Text, Unencodable
from tests.encoding import chat_templates, folders

MODELS = Path(__file__).parents[2] / "fixtures/models"
FIXTURES = sorted(path.parent.name for path in MODELS.glob("*/tokenizer.json"))
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            ["<|im_end|>", "<|image_pad|>", "assistant", " assistant", "e\u0301", "\r\n\n ", "<new>", "<s>", "12"]
        ),
    ),
    max_size=6,
).map("".join)
NEW = {"content": "<new>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False, "special": False}


def rewrite(folder: Path, **config):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


def variants(base: Path) -> dict[str, Path]:
    """Folders that say the same things in the ways files say them."""
    write = folders.write
    made = {
        "plain": write(base / "plain"),
        "bos": write(base / "bos", (*folders.QWEN, "<s>"), bos="<s>", adds_bos=True),
        "objects": rewrite(write(base / "objects"), eos_token={"__type": "AddedToken", **NEW, "content": "<end>"}),
        "not in vocabulary": write(base / "missing", eos="<eos>", unk="<unk>"),
        "base word": write(base / "base", words=("<s>",), bos="<s>"),
        "extra": rewrite(write(base / "extra"), extra_special_tokens=["<new>", "<more>"]),
        "extra named": rewrite(write(base / "named"), extra_special_tokens={"image_token": "<|image_pad|>"}),
        "additional": rewrite(write(base / "additional"), additional_special_tokens=["<new>"]),
        "qwen2": write(base / "qwen2", class_name="Qwen2Tokenizer", unk=None),
        "llama byte level": write(base / "llama", (*folders.LLAMA3,), class_name="PreTrainedTokenizerFast",
                                  bos="<|begin_of_text|>", eos="<|eot_id|>", pad=None, adds_bos=True),
    }  # fmt: skip
    decoder = write(base / "decoder")
    made["decoder"] = rewrite(
        decoder, added_tokens_decoder={"900": NEW, "901": {**NEW, "content": "<s>", "special": True}}
    )
    maps = write(base / "maps")
    (maps / "special_tokens_map.json").write_text(
        json.dumps({"pad_token": "<|im_start|>", "unk_token": {"content": "<unk>"}})
    )
    (maps / "added_tokens.json").write_text(json.dumps({"<new>": 950, "<|im_end|>": 702}))
    made["maps"] = maps
    vocabulary = write(base / "vocabulary", class_name="Qwen2Tokenizer")
    data = json.loads((vocabulary / "tokenizer.json").read_text())
    (vocabulary / "vocab.json").write_text(json.dumps(data["model"]["vocab"]))
    merges = [m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]]
    (vocabulary / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (vocabulary / "tokenizer.json").unlink()
    made["vocab and merges"] = rewrite(
        vocabulary,
        added_tokens_decoder={str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in data["added_tokens"]},
    )
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return variants(tmp_path_factory.mktemp("tokenizers"))


NAMES = ("plain", "bos", "objects", "not in vocabulary", "base word", "extra", "extra named", "additional", "qwen2",
         "llama byte level", "decoder", "maps", "vocab and merges")  # fmt: skip


@pytest.fixture(scope="module", params=[*NAMES, *FIXTURES])
def both(request, made):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = made.get(request.param) or MODELS / request.param
    # Remote code is not run: its classes for these add names for tokens, nothing else.
    remote = "auto_map" in (folder / "tokenizer_config.json").read_text()
    kind = PreTrainedTokenizerFast if remote else AutoTokenizer
    return open_tokenizer(folder), kind.from_pretrained(folder)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_ids_are_transformers_own(both, texts):
    mine, theirs = both
    plain = [list(theirs(text, add_special_tokens=False)["input_ids"]) for text in texts]
    special = [list(theirs(text)["input_ids"]) for text in texts]
    found = mine.encode_all([*map(Text, texts), *(Text(text, True) for text in texts)])
    assert [ids.ids for ids in found] == plain + special
    assert [mine.encode(text, special=True) for text in texts] == special


def test_what_is_said_of_it_is_transformers_own(both):
    mine, theirs = both
    assert mine.size == len(theirs)
    assert mine.largest == max(theirs.get_vocab().values())
    for name in ("bos", "eos", "pad", "unk"):
        assert getattr(mine, f"{name}_token") == getattr(theirs, f"{name}_token")
        assert getattr(mine, f"{name}_id") == getattr(theirs, f"{name}_token_id")
    assert mine.tokens == {k: str(v) for k, v in theirs.special_tokens_map.items()}
    assert mine.adds_bos == (theirs("a")["input_ids"][0] == theirs.bos_token_id)
    assert mine.id_of("no such token") is None
    chosen = theirs.chat_template
    assert mine.chat_template == (chosen.get("default") if isinstance(chosen, dict) else chosen)


def test_segments_can_be_encoded_apart(both):
    mine, _ = both
    if mine.independent and mine.is_special("<|im_end|>"):
        whole = mine.encode("e\u0301 a<|im_end|> b\n<|im_end|>")
        end = mine.encode("<|im_end|>")
        assert whole == mine.encode("e\u0301 a") + end + mine.encode(" b\n") + end


def test_metaspace_marks_the_beginning(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    for scheme, free in (("first", False), ("always", True)):
        tokenizer = Tokenizer(models.BPE({"▁": 0, "a": 1}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        assert open_tokenizer(tmp_path).independent is free


def test_templates_are_chosen_as_transformers_chooses(tmp_path):
    from transformers import PreTrainedTokenizerFast

    named = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]
    message = [{"role": "user", "content": "x"}]
    folder = rewrite(folders.write(tmp_path / "a"), chat_template=named)
    for step in ("list", "file", "additional"):
        if step == "file":
            (folder / "chat_template.jinja").write_bytes(b"F\r\n\r\nG{{ messages[0].content }}")
        if step == "additional":
            (folder / "additional_chat_templates").mkdir()
            (folder / "additional_chat_templates/tool_use.jinja").write_text("AT")
        mine, theirs = open_tokenizer(folder), PreTrainedTokenizerFast.from_pretrained(folder)
        for variables in ({}, {"tools": []}, {"tools": None}, {"chat_template": "own {{ bos_token }}"}):
            expected = theirs.apply_chat_template(message, tokenize=False, **variables)
            assert mine.render(message, **variables) == expected, (step, variables)
    assert mine.template_file == str(folder / "chat_template.jinja")
    assert mine.processor_template == "F\n\nG{{ messages[0].content }}"


def test_processors_templates(tmp_path):
    folder = folders.write(tmp_path / "a", template="T")
    with pytest.raises(Unencodable, match="the processor has no chat template"):
        open_tokenizer(folder).render([{"role": "user", "content": "x"}], processor=True)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "P"}))
    mine = open_tokenizer(folder)
    assert mine.render([{"role": "user", "content": "x"}], processor=True) == "P"
    assert mine.render([{"role": "user", "content": "x"}]) == "T"


def test_no_template_and_broken_templates_are_values(tmp_path):
    mine = open_tokenizer(folders.write(tmp_path / "a"))
    with pytest.raises(Unencodable, match="a: the tokenizer has no chat template"):
        mine.render([{"role": "user", "content": "x"}])
    broken = open_tokenizer(folders.write(tmp_path / "b", template="{% for %}"))
    with pytest.raises(
        Unencodable, match=r"tokenizer_config.json: the chat template is broken, line 1 of the template"
    ):
        broken.render([{"role": "user", "content": "x"}])
    several = rewrite(folders.write(tmp_path / "c"), chat_template=[{"name": "rag", "template": "R"}])
    with pytest.raises(Unencodable, match=r"several chat templates \(rag\)"):
        open_tokenizer(several).render([{"role": "user", "content": "x"}])
    with pytest.raises(TokenizerProblem, match="entries have no name"):
        open_tokenizer(rewrite(folders.write(tmp_path / "d"), chat_template=[{"name": "rag"}]))


def test_a_lone_surrogate_is_a_value(made):
    with pytest.raises(Unencodable, match="surrogate"):
        open_tokenizer(made["plain"]).encode("a\ud800")


def broken(folder: Path, base: Path, name: str) -> Path:
    shutil.copytree(base, folder)
    path = folder / "tokenizer.json"
    text = path.read_text()
    if name == "truncated":
        path.write_text(text[: len(text) // 2])
    elif name == "empty":
        path.write_text("")
    elif name == "syntax":
        path.write_text(text.replace('"model"', "model", 1))
    elif name == "lfs":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    elif name == "other":
        path.write_text('{"architectures": []}')
    elif name == "list":
        path.write_text("[1]")
    elif name == "kind":
        path.write_text(text.replace('"type": "BPE"', '"type": "XYZ"').replace('"type":"BPE"', '"type":"XYZ"'))
    elif name == "bytes":
        path.write_bytes(b"\xff\xfe\x00")
    elif name == "config":
        (folder / "tokenizer_config.json").write_text('{\n "a": 1,\n}')
    elif name == "token":
        rewrite(folder, added_tokens_decoder={"x": {}})
    elif name == "sentencepiece":
        path.rename(folder / "tokenizer.model")
    elif name == "nothing":
        path.unlink()
    return folder


BROKEN = {
    "truncated": r"tokenizer\.json:\d+:\d+: broken JSON",
    "empty": r"tokenizer\.json: the file is empty",
    "syntax": r"tokenizer\.json:\d+:\d+: broken JSON",
    "lfs": "git lfs pull",
    "other": "not a tokenizer: it has no model",
    "list": "not a JSON object",
    "kind": r"tokenizer\.json.*the tokenizers package cannot read it",
    "bytes": "not UTF-8 at byte 0",
    "config": r"tokenizer_config\.json:3:1: broken JSON",
    "token": "added_tokens_decoder: 'x'",
    "sentencepiece": r"there is tokenizer\.model \(PreTrainedTokenizer\) but no tokenizer\.json.*save_pretrained",
    "nothing": r"no tokenizer: there is no tokenizer\.json",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folders_name_file_and_reason(name, made, tmp_path):
    folder = broken(tmp_path / "model", made["plain"], name)
    with pytest.raises(TokenizerProblem, match=BROKEN[name]) as raised:
        open_tokenizer(folder)
    assert raised.value.file.startswith(str(folder))


def test_no_folder_and_a_file():
    with pytest.raises(TokenizerProblem, match="no such folder"):
        open_tokenizer("/no/such")
    with pytest.raises(TokenizerProblem, match="no such folder"):
        open_tokenizer(__file__)


def test_identity_follows_the_files(made, tmp_path):
    folder = shutil.copytree(made["plain"], tmp_path / "model")
    first = open_tokenizer(folder).identity
    assert first == open_tokenizer(made["plain"]).identity
    rewrite(folder, chat_template=chat_templates.CHATML)
    assert open_tokenizer(folder).identity != first
