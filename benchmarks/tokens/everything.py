"""What tokenising everything takes: the rendered text of every record goes through encode_batch, on all cores.

    python everything.py FILE MODEL [RECORDS]

Reading is as cheap as it can be (typed msgspec, part by part), the template a string: nearly all of the time is
encode_batch. Images, labels and the limit are left out. With RECORDS, only so many.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
from tokenizers import Tokenizer

_BATCH = 2000
_PART = 16 << 20


class Turn(msgspec.Struct, rename={"role": "from", "text": "value"}):
    """A turn."""

    role: str
    text: str


class Record(msgspec.Struct):
    """A record."""

    conversations: list[Turn]


def texts(path: str) -> Iterator[str]:
    """Records as ChatML."""
    decode = msgspec.json.Decoder(list[Record]).decode
    with Path(path).open("rb") as file:
        rest = b""
        while block := file.read(_PART):
            data = rest + block
            cut = data.rfind(b'}, {"id"')
            part, rest = (data, b"") if cut < 0 else (data[: cut + 1], data[cut + 3 :])
            for record in decode(b"[" + part.strip(b"[] \n") + b"]"):
                yield "".join(
                    f"<|im_start|>{'user' if turn.role == 'human' else 'assistant'}\n{turn.text}<|im_end|>\n"
                    for turn in record.conversations
                )
        if rest.strip(b"] \n"):
            for record in decode(b"[" + rest.strip(b"] \n") + b"]"):
                yield "".join(turn.text for turn in record.conversations)


def main(path: str, model: str, most: int | None = None) -> None:
    tokenizer = Tokenizer.from_file(f"{model}/tokenizer.json")
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
    waiting = islice(texts(path), most)
    count = tokens = 0
    while batch := list(islice(waiting, _BATCH)):
        count += len(batch)
        tokens += sum(len(found.ids) for found in encode(batch))
    print(count, tokens)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
