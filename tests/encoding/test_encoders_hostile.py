"""Whatever is in a record, an encoder encodes it or says why not; and nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.facts.encoding.blocks import script_text
from lorachk.facts.encoding.tokenizer import open_tokenizer
from lorachk.facts.encoding.trainers import encoder_for
from lorachk.facts.encoding.types import Encoded, ImageBlock, Message, Settings, Unencodable
from tests.encoding import chat_templates, folders

CASES = {
    "minicpmv qwen": ("minicpmv", "minicpmv26", Settings(llm_type="qwen")),
    "minicpmv llama3": ("minicpmv", "minicpmv25", Settings(llm_type="llama3")),
    "minicpmv": ("minicpmv", "minicpmv2", Settings()),
    "trl": ("trl", "text", Settings()),
    "trl images": ("trl", "qwen2_5_vl", Settings(vision=True)),
    "trl unknown processor": ("trl", "paligemma", Settings(vision=True)),
    "hf": ("hf", "llava", Settings()),
    "axolotl": ("axolotl", "text", Settings(train_on_eos="all")),
    "qwen-vl": ("qwen-vl", "qwen2_5_vl", Settings()),
    "qwen-vl-series": ("qwen-vl-series", "qwen2_vl", Settings()),
}
WORDS = [
    "hi",
    "",
    "\n",
    "<image>",
    "</image>",
    "<|im_end|>",
    "<|image_pad|>",
    "assistant",
    "\ud800",
    "\0",
    "{{ 1 }}",
    "<unk>",
]
PARTS = st.lists(st.one_of(st.sampled_from([*WORDS, 0, 1]), st.text(max_size=5)), max_size=4).map(tuple)
MESSAGES = st.lists(
    st.builds(
        Message,
        st.sampled_from([None, "user", "assistant", "system", "tool", "human", "\ud800", ""]),
        st.none(),
        PARTS,
        st.booleans(),
        st.booleans(),
    ),
    max_size=5,
)


@pytest.fixture(scope="module", params=CASES)
def encoder(request, tmp_path_factory):
    special = (*folders.QWEN, *folders.MINICPM26, *folders.LLAMA3, "<s>")
    folder = folders.write(
        tmp_path_factory.mktemp("hostile"),
        tuple(dict.fromkeys(special)),
        bos="<s>",
        unk="<unk>",
        template=chat_templates.TYPED,
    )
    (folder / "chat_template.jinja").write_text(chat_templates.TYPED)
    trainer, family, used = CASES[request.param]
    found = encoder_for(trainer, family, open_tokenizer(folder), used)
    assert not isinstance(found, str), found
    return found


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(batch=st.lists(st.tuples(MESSAGES, st.booleans()), max_size=4), limit=st.one_of(st.none(), st.integers(0, 60)))
def test_anything_is_encoded_or_refused(encoder, batch, limit):
    text = script_text(2, None, 0, new_schema=True)
    images = [ImageBlock(4, 2, 1, 1, 1, text=text), ImageBlock(4, 2, 1, 1, 1, text=text)]
    records = []
    for messages, pictured in batch:
        if not pictured:
            messages = [m._replace(parts=tuple(p for p in m.parts if isinstance(p, str))) for m in messages]
        records.append((messages, images if pictured else []))
    for (_, blocks), one in zip(records, encoder.encode_all(records), strict=True):
        if isinstance(one, Unencodable):
            assert str(one)
            assert one.fate in ("crash", "replaced", "dropped", "changed", None)
            continue
        assert isinstance(one, Encoded)
        assert len(one.ids) == len(one.supervised)
        assert all(0 <= span.start <= span.end <= len(one.ids) for span in one.images)
        cut = encoder.cut(one, blocks, limit)
        assert cut.text_tokens + cut.image_tokens == cut.total == len(one.ids)
        assert 0 <= cut.supervised <= cut.supervised_before <= cut.total
        assert cut.kept <= cut.total
        assert (cut.ends_with_eos is None) == (cut.supervised == 0)


def test_nothing_heavy_is_imported():
    code = (
        "import sys; import lorachk.facts.encoding.trainers, lorachk.facts.encoding.tokenizer; "
        "light = {'jinja2', 'tokenizers', 'numpy'} & set(sys.modules); assert not light, light; "
        "from lorachk.facts.encoding import trl, axolotl, minicpmv, qwen_vl, qwen_vl_series, messages, blocks; "
        "t = lorachk.facts.encoding.tokenizer.open_tokenizer('fixtures/models/qwen2-tiny'); "
        "t.render([{'role': 'user', 'content': 'x'}]); "
        "heavy = {'torch', 'transformers', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
