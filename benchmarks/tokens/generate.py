"""Writes what the token benchmark reads: a LLaVA-shaped dataset with images, and a tokenizer of real vocabulary size.

Text is made of 60,000 invented words, drawn as often as words of a language are (Zipf), with capitals, numbers and
punctuation; a turn in fifty ends in a line feed or has a blank too many, as real data do.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "fixtures" / "models" / "qwen2_5-vl-tiny"
VOCABULARY = 151_643  # Qwen2's, without special tokens
_WORDS = 60_000
_DIFFERENT = 50_000  # conversations that differ; further records repeat them with another image and id
_SIZES = ((640, 480), (480, 640), (1024, 768), (336, 336), (800, 200))
_SYLLABLES = [a + b + c for a in "bcdfghklmnprstvw" for b in "aeiou" for c in ("", "n", "r", "s", "l", "t")]


class Text:
    """Draws sentences."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        made: dict[str, None] = {}
        while len(made) < _WORDS:
            made["".join(self.rng.choices(_SYLLABLES, k=self.rng.randint(1, 4)))] = None
        self.words = list(made)
        self.weights = list(accumulate(1 / (rank + 3) for rank in range(_WORDS)))

    def sentence(self, least: int, most: int) -> str:
        """Some words with what stands between them."""
        words = self.rng.choices(self.words, cum_weights=self.weights, k=self.rng.randint(least, most))
        words[0] = words[0].capitalize()
        for at in range(5, len(words), 9):
            words[at] += self.rng.choice(",,,.;:") if at % 2 else ""
        if self.rng.random() < 0.2:
            words.append(str(self.rng.randint(1, 20_000)))
        return " ".join(words) + self.rng.choice("..?!")


def conversations(count: int) -> Iterator[list[dict[str, str]]]:
    """Turns with about 1.8 kB of text."""
    text = Text()
    for _ in range(count):
        turns = []
        for _ in range(text.rng.randint(2, 5)):
            turns.append({"from": "human", "value": text.sentence(4, 16)})
            turns.append({"from": "gpt", "value": text.sentence(10, 70)})
        turns[0]["value"] = "<image>\n" + turns[0]["value"]
        if text.rng.random() < 0.1:
            turns[-1]["value"] += text.rng.choice(["\n", " ", "  x"])
        yield turns


def dataset(path: Path, records: int) -> None:
    """Write `records` records, as json.dump does, and the images beside them."""
    images = path.parent / "images"
    images.mkdir(exist_ok=True)
    for number in range(100):
        Image.new("RGB", _SIZES[number % len(_SIZES)]).save(images / f"{number:02d}.jpg")
    made = [json.dumps(turns) for turns in conversations(min(records, _DIFFERENT))]
    with path.open("w", encoding="utf-8") as out:
        for number in range(records):
            separator = ", " if number else "["
            image = f'"image": "images/{number % 100:02d}.jpg"'
            out.write(f'{separator}{{"id": "{number:09d}", {image}, "conversations": {made[number % len(made)]}}}')
        out.write("]")


def model(folder: Path) -> None:
    """A Qwen2.5-VL folder whose tokenizer has as many entries as the real one."""
    shutil.copytree(MODEL, folder)
    small = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    split = Regex(json.loads(small.to_str())["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"])
    made = Tokenizer(models.BPE())
    made.normalizer = small.normalizer
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder, made.post_processor = small.decoder, small.post_processor
    text = Text(1)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    lines = [" ".join([word, word.capitalize(), f"{word},", word + text.rng.choice(text.words)]) for word in text.words]
    made.train_from_iterator((line for line in lines for _ in (0, 1)), trainer)
    added = sorted(small.get_added_tokens_decoder().items())
    made.add_special_tokens([AddedToken(token.content, normalized=False, special=True) for _, token in added])
    made.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {
        str(made.token_to_id(value["content"])): value for value in config.get("added_tokens_decoder", {}).values()
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
