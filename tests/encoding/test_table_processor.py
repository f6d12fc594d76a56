"""TRL and plain scripts: every count of `encoding` against transformers' own tokenizers, templates and processors."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from lorachk.rehearsal.processor import load_encoder
from tests.encoding.table import drawn
from tests.encoding.table.collected import COUNTS, MODELS, collected
from tests.encoding.table.truth import IGNORE, Names, Refused, Whole, at, differences, limits, names
from tests.encoding.test_trl import multimodal, restated
from tests.visual_oracle import CHEAP, picture, shapes_only


class Kind(NamedTuple):
    """How a family's processor writes an image: `mark` in the rendered text, `feature` for a row of features."""

    mark: str
    feature: str
    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    around: str = "{}"  # what the chat template writes around the mark that is part of the image
    most: int = 1000  # pixels of the longer side


QWEN = Kind("<|image_pad|>", "<|image_pad|>", ("<|vision_start|>",), ("<|vision_end|>",))
QWEN = QWEN._replace(around="<|vision_start|>{}<|vision_end|>")
LLAVA = Kind("<image>", "<image>")
MINICPM = Kind("<|image_pad|>", "<|image_pad|>", ("<image>", "<slice>"), ("</image>", "</slice>"))
FAKE = Kind("<image>", "<image>", ("<fake_token_around_image>",), most=700)
KINDS = {
    "minicpmv-4_6-tiny": MINICPM,
    "qwen2-vl-tiny": QWEN,
    "qwen2_5-vl-tiny": QWEN,
    "qwen3-vl-tiny": QWEN,
    "llava-1_5-tiny": LLAVA,
    "llava-next-mistral-tiny": LLAVA,
    "llava-next-vicuna-tiny": LLAVA,
    "llava-onevision-tiny": LLAVA,
    "internvl3-hf-tiny": Kind("<IMG_CONTEXT>", "<IMG_CONTEXT>", ("<img>",), ("</img>",)),
    "gemma3-tiny": Kind("<start_of_image>", "<image_soft_token>", ("<start_of_image>",), ("<end_of_image>",)),
    "smolvlm-tiny": FAKE,
    "idefics3-tiny": FAKE,
    "mllama-tiny": Kind("<|image|>", "<|image|>"),
    "glm4v-tiny": Kind(
        *("<|image|>", "<|image|>", ("<|begin_of_image|>",), ("<|end_of_image|>",)),
        around="<|begin_of_image|>{}<|end_of_image|>",
    ),
}
TEXT = ("qwen2-tiny", "llama3-tiny", "gemma2-tiny")
LITERALS = ("<|im_end|>", "</s>", "<|eot_id|>", "<end_of_turn>", "<|endoftext|>")
# An image changes what stands in front of the text (a blank, a line feed, a token): it is not counted ahead.
ONE_BY_ONE = ("llava-1_5-tiny", "llava-next-vicuna-tiny", "llava-next-mistral-tiny", "smolvlm-tiny", "idefics3-tiny")
ONE_BY_ONE = (*ONE_BY_ONE, "glm4v-tiny")
SEVERAL = ("qwen2-vl-tiny", "llava-1_5-tiny", "gemma3-tiny")


class Remembered:
    """An image processor that works out each list of sizes once."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._known: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __call__(self, images: Any, *args: Any, **options: Any) -> Any:
        key = repr((_shapes(images), args, sorted(options.items(), key=str)))
        if key not in self._known:
            found = self._real(images, *args, **options)
            found.data = {name: _light(value) for name, value in found.data.items()}
            self._known[key] = found
        found = copy.copy(self._known[key])
        found.data = dict(found.data)
        return found


def _shapes(images: Any) -> Any:
    return [_shapes(each) for each in images] if isinstance(images, list) else images.shape


def _light(value: Any) -> Any:
    """Arrays of the same shape that take no memory; small ones as they are."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_light, value))
    large = isinstance(value, np.ndarray) and value.size > 1000
    return np.broadcast_to(np.zeros((), value.dtype), value.shape) if large else value


class Real:
    """transformers' own processor of a folder, on sizes."""

    def __init__(self, model: str) -> None:
        self.kind = KINDS[model]
        self.processor = load_encoder(str(MODELS / model), trust=False)
        self.processor.image_processor = Remembered(self.processor.image_processor)
        self.tok = self.processor.tokenizer
        self.names = names(self.tok, self.kind.feature, self.kind.starts, self.kind.ends)
        self.alone = functools.cache(self._alone)

    def ids(self, text: str, sizes: list[drawn.Size]) -> list[int]:
        options: dict[str, Any] = {"images": [[picture(size) for size in sizes]], **CHEAP} if sizes else {}
        with shapes_only():
            got = self.processor(text=[text], add_special_tokens=False, **options)
        return [int(token) for token in np.asarray(got["input_ids"][0]).ravel()]

    def rendered(self, messages: list[dict[str, Any]], count: int, **options: Any) -> str:
        found: str = self.processor.apply_chat_template(multimodal(messages, count), tokenize=False, **options)
        return found

    def _alone(self, size: drawn.Size, several: int) -> tuple[int, int]:
        """Tokens and features of one of so many images of the size, without the text around it."""
        text = "".join(f"x{self.kind.around.format(self.kind.mark)}" for _ in range(several)) + "x"
        ids = self.ids(text, [size] * several)
        begin = [self.tok.bos_token_id]  # some put it in front of every text
        ids = ids[ids[:1] == begin :]
        rest = (several + 1) * len([token for token in self.ids("x", []) if token not in begin])
        features = sum(token in self.names.feature for token in ids)
        assert (len(ids) - rest) % several == features % several == 0
        return (len(ids) - rest) // several, features // several

    def whole(self, record: dict[str, Any], sizes: list[drawn.Size]) -> Whole | Refused:
        """The collator of TRL: a record of messages, or of prompt and completion."""
        try:
            if "messages" in record:
                ids = self.ids(self.rendered(record["messages"], len(sizes)), sizes)
                labels = list(ids)
            else:
                prompt, completion = record["prompt"], record["completion"]
                asked = self.rendered(prompt, len(sizes), add_generation_prompt=True)
                both = multimodal([*prompt, *completion], len(sizes))
                text = self.processor.apply_chat_template(both, tokenize=False)
                common = 0
                while common < min(len(asked), len(text)) and asked[common] == text[common]:
                    common += 1
                first, second = self.ids(text[:common], sizes), self.ids(text[common:], [])
                ids = first + second
                labels = [IGNORE] * len(first) + second
        except (ValueError, IndexError, TypeError) as error:
            del error
            return Refused("crash")
        blocks = [self.alone(size, min(len(sizes), 2)) for size in sizes]
        return Whole(ids, labels, sum(tokens for tokens, _ in blocks), sum(features for _, features in blocks))


def draw(
    folder: Path, model: str, most: int, dialects: Sequence[drawn.Dialect], count: int = 500
) -> tuple[Path, list[tuple[dict[str, Any], list[drawn.Size]]]]:
    """The file, and of each record the sizes of its images."""
    sizes = drawn.pool(folder, most=most, count=24)
    talks = drawn.talks(f"processor {model}", literals=LITERALS, pool=len(sizes), count=count)
    records = [dialects[n % len(dialects)](talk) for n, talk in enumerate(talks)]
    data = drawn.write(folder / "train.json", records)
    return data, [(r, [sizes[n] for n in talk.images]) for r, talk in zip(records, talks, strict=True)]


def compared(
    data: Path, trainer: str, model: str, wholes: dict[int, Whole | Refused], named: Names, **given: Any
) -> int:
    """Compares at several limits; how many records were tokenised as a whole where few are cut."""
    totals = [whole.ids for whole in wholes.values() if isinstance(whole, Whole)]
    steps = limits([len(ids) for ids in totals])
    fast = collected(data, trainer, model, steps, forms=True, **given)
    exact = collected(data, trainer, model, [steps[1]], forms=False, **given)
    for limit in steps:
        wanted = {
            n: at(whole, named, None if limit is None else slice(limit), limit)
            if isinstance(whole, Whole)
            else dict.fromkeys(COUNTS) | {"verdict": whole.fate}
            for n, whole in wholes.items()
        }
        assert differences(fast.rows[limit], wanted)[:5] == [], limit
    for limit, rows in exact.rows.items():
        assert differences(fast.rows[limit], rows)[:5] == [], limit
    return fast.tokenised[steps[1]]


@pytest.fixture(scope="module")
def real() -> Callable[[str], Real]:
    return functools.cache(Real)


# As others, or large.
SLOW = ("qwen2_5-vl-tiny", "llava-next-vicuna-tiny", "idefics3-tiny", "smolvlm-tiny", "internvl3-hf-tiny")
SLOW = (*SLOW, "llava-onevision-tiny", "llava-next-mistral-tiny", "qwen3-vl-tiny", "mllama-tiny")


@pytest.mark.parametrize("model", [pytest.param(m, marks=pytest.mark.slow if m in SLOW else ()) for m in KINDS])
def test_pictures(model: str, tmp_path: Path, real: Callable[[str], Real]) -> None:
    """A wrong count here is a wrong limit, or a crash that nobody was told of."""
    used = real(model)
    data, records = draw(tmp_path, model, KINDS[model].most, (*(drawn.messages,) * 4, drawn.typed))
    wholes = {n: used.whole(record, sizes) for n, (record, sizes) in enumerate(records)}
    assert sum(isinstance(whole, Whole) for whole in wholes.values()) > 400
    tokenised = compared(data, "trl", model, wholes, used.names)
    assert (tokenised < 450) == (model not in ONE_BY_ONE)


@pytest.mark.parametrize("model", SEVERAL)
def test_completions_beside_messages(model: str, tmp_path: Path, real: Callable[[str], Real]) -> None:
    """Records of one file whose labels begin in different places."""
    used = real(model)
    data, records = draw(tmp_path, model, 500, (drawn.completion, drawn.typed, drawn.completion), 200)
    wholes = {n: used.whole(record, sizes) for n, (record, sizes) in enumerate(records)}
    compared(data, "trl", model, wholes, used.names)


@pytest.mark.parametrize("model", TEXT)
@pytest.mark.parametrize("trainer", ["trl", "hf"])
def test_texts(model: str, trainer: str, tmp_path: Path) -> None:
    """Text models: messages, prompts with completions and plain text in one file."""
    import transformers

    tok = transformers.AutoTokenizer.from_pretrained(MODELS / model)
    talks = drawn.talks(f"text {model}", literals=LITERALS, images=(0,))
    writers = (drawn.messages,) * 4 if trainer == "hf" else (drawn.messages,) * 4 + (drawn.completion,)
    records = [writers[n % len(writers)](talk) for n, talk in enumerate(talks)]
    if trainer == "trl":
        records[7::20] = map(drawn.text_column, talks[7::20])
        records[3::20] = map(drawn.text_completion, talks[3::20])
    data = drawn.write(tmp_path / "train.json", records)
    wholes = {}
    for n, record in enumerate(records):
        ids, _, labels = restated(record, tok, assistant=False, completion_only=None, limit=None, mode="keep_start")
        wholes[n] = Whole(ids, labels, 0, 0)
    compared(data, trainer, model, wholes, names(tok, None, (), ()))
