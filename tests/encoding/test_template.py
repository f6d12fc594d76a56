"""Chat templates come out as transformers renders them, and stay within limits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorachk.facts.encoding import template as template_module
from lorachk.facts.encoding.template import ChatTemplate, TemplateProblem
from lorachk.facts.encoding.tokenizer import open_tokenizer
from lorachk.facts.encoding.types import Text, Unencodable
from tests.encoding import chat_templates, folders

MODELS = Path(__file__).parents[2] / "fixtures/models"
FIXTURES = sorted(path.parent.name for path in MODELS.glob("*/tokenizer.json"))
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", " ", "\n hi \n", "<|im_end|>", "a<think>\nb</think>\n\nc", "{{ 7 }}", "<|image_pad|>", "assistant"]
    ),
)
ROLES = st.sampled_from(["user", "assistant", "system", "tool"])
ALTERNATING = st.lists(TEXTS, min_size=1, max_size=5).map(
    lambda texts: [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
)
ANY = st.lists(st.fixed_dictionaries({"role": ROLES, "content": TEXTS}), min_size=1, max_size=5)
TOOLS = [{"type": "function", "function": {"name": "höhe", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module", params=chat_templates.ALL)
def both(request, tmp_path_factory):
    from transformers import PreTrainedTokenizerFast

    special = (*folders.QWEN, "<s>", "<start_of_turn>", "<end_of_turn>", *folders.LLAMA3)
    folder = folders.write(
        tmp_path_factory.mktemp("template"), special, bos="<s>", template=chat_templates.ALL[request.param]
    )
    return open_tokenizer(folder), PreTrainedTokenizerFast.from_pretrained(folder)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.one_of(ALTERNATING, ANY), prompt=st.booleans(), tools=st.booleans(), thinking=st.booleans())
def test_text_and_assistant_mask_are_transformers_own(both, messages, prompt, tools, thinking):
    mine, theirs = both
    variables = {"add_generation_prompt": prompt, "enable_thinking": thinking, "tools": TOOLS if tools else None}
    try:
        expected = theirs.apply_chat_template(messages, tokenize=False, **variables)
    except Exception as error:
        why = str(error)
        with pytest.raises(Unencodable) as raised:
            mine.render(messages, **variables)
        assert why in str(raised.value)
        return
    assert mine.render(messages, **variables) == expected
    whole = theirs.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True, **variables)
    text, spans = mine.render_spans(messages, **variables)
    ids = mine.encode_all([Text(text, offsets=True)])[0]
    assert ids.ids == whole["input_ids"] == mine.encode(text)
    mask = [int(any(end > a and start < b for a, b in spans)) for start, end in ids.offsets]
    # Zero-width blocks mark no token in transformers either, but a zero-width span at a token's start can.
    if all(a < b for a, b in spans):
        assert mask == whole["assistant_masks"]


TYPED = st.lists(
    st.one_of(st.just({"type": "image"}), st.builds(lambda text: {"type": "text", "text": text}, TEXTS)), max_size=3
)
TYPED_ANY = st.lists(st.fixed_dictionaries({"role": ROLES, "content": st.one_of(TEXTS, TYPED)}), min_size=1, max_size=4)


@pytest.fixture(scope="module", params=FIXTURES)
def fixture_pair(request):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = MODELS / request.param
    remote = "auto_map" in (folder / "tokenizer_config.json").read_text()
    return open_tokenizer(folder), (PreTrainedTokenizerFast if remote else AutoTokenizer).from_pretrained(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages=st.one_of(ALTERNATING, ANY, TYPED_ANY), prompt=st.booleans(), thinking=st.booleans())
def test_the_fixtures_templates_are_rendered_as_transformers_renders_them(fixture_pair, messages, prompt, thinking):
    mine, theirs = fixture_pair
    variables = {"add_generation_prompt": prompt, "enable_thinking": thinking}
    texts = {None: mine.chat_template, True: mine.processor_template}
    for processor, text in texts.items():
        if text is None:
            continue
        try:
            expected = theirs.apply_chat_template(messages, tokenize=False, chat_template=text, **variables)
        except Exception as error:
            why = str(error)
            with pytest.raises(Unencodable) as raised:
                mine.render(messages, processor=bool(processor), **variables)
            assert why in str(raised.value)
        else:
            assert mine.render(messages, processor=bool(processor), **variables) == expected


def test_what_a_template_raises_is_a_value():
    gemma = ChatTemplate(chat_templates.GEMMA2)
    with pytest.raises(Unencodable, match="refuses the record: System role not supported") as raised:
        gemma.render([{"role": "system", "content": "x"}], bos_token="")
    assert raised.value.fate == "crash"
    with pytest.raises(Unencodable, match="roles must alternate"):
        gemma.render([{"role": "user", "content": "x"}] * 2, bos_token="")
    with pytest.raises(Unencodable, match="fails: TypeError"):
        ChatTemplate(chat_templates.CHATML).render([{"role": "user", "content": ["x"]}])
    with pytest.raises(Unencodable, match="fails: 'dict object' has no attribute 'content'"):
        ChatTemplate("{{ messages[0].content.x }}").render([{"role": "user", "content": None}])


def test_a_broken_template_names_its_line():
    with pytest.raises(TemplateProblem) as raised:
        ChatTemplate("a\n{% for m in messages %}\n{{ m.content }\n{% endfor %}")
    assert raised.value.line == 3
    with pytest.raises(TemplateProblem):
        ChatTemplate("{% if %}" * 3)


HOSTILE = {
    "output": "{% for i in range(90000) %}{% for j in range(90000) %}{{ 'x' * 1000 }}{% endfor %}{% endfor %}",
    "time": "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = j %}{% endfor %}{% endfor %}",
    "range": "{% for i in range(999999999) %}{% endfor %}",
    "product": "{{ 'x' * 10000000000 }}",
    "list product": "{{ ([1] * 100000000) | length }}",
    "power": "{{ 10 ** 1000000000 }}",
    "format": "{{ '%99999999d' % 1 }}",
    "interpreter": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "namespace": "{% set n = namespace(__class__=1) %}",
    "change": "{{ messages.append(1) }}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_templates_end(text, monkeypatch):
    monkeypatch.setattr(template_module, "SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(Unencodable):
        ChatTemplate(text).render([{"role": "user", "content": "x"}])
    assert time.monotonic() - began < 20
    # Nothing arrives later: the same thread goes on.
    for _ in range(20):
        time.sleep(0.02)


def test_the_time_limit_holds_in_other_threads(monkeypatch):
    monkeypatch.setattr(template_module, "SECONDS", 0.3)
    seen: list[object] = []

    def work():
        try:
            ChatTemplate(HOSTILE["time"]).render([])
        except Unencodable as problem:
            seen.append(str(problem))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert len(seen) == 1
    assert "runs longer" in seen[0]
