"""The shapes that encoding works with. Lengths are tokens, positions count from 0."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class ImageBlock(NamedTuple):
    """An image in the sequence: all its tokens, of which `features` take a row of visual features each.

    `starts` and `ends` are the markers that a trainer counts against each other; `lead` tokens come before the first
    feature. `text` is the block as it is written into the text for the tokenizer, when it is written there (MiniCPM-V's
    scripts): every part of it that is not a special token is tokenised with the rest.
    """

    tokens: int
    features: int
    pieces: int = 1
    starts: int = 0
    ends: int = 0
    lead: int = 0
    text: str | None = None


class Message(NamedTuple):
    """One turn: the role as the record writes it, its speaker, and its parts; an int is an image of the record."""

    role: str | None
    speaker: str | None  # user, assistant, system, tool; None for an unknown role
    parts: tuple[str | int, ...]


class Span(NamedTuple):
    """Tokens from `start` up to, without, `end`."""

    start: int
    end: int


class Encoded(NamedTuple):
    """A whole record before the limit: one entry per token.

    `ids` holds the placeholder's id for every visual feature; `supervised` tells whether the token is a label (at its
    own position, not shifted); `images` are the spans of the image blocks in the order of the text.
    """

    ids: list[int]
    supervised: list[bool]
    images: list[Span]


class Cut(NamedTuple):
    """What the trainer keeps of a record at its limit, with the row's numbers of the table `encoding`.

    `fate` is what the trainer does with the record because of the limit or the labels (kept, changed, dropped,
    replaced, crash) and `reason` why.
    """

    total: int  # tokens before the limit
    kept: int  # tokens after it
    text_tokens: int
    image_tokens: int
    starts: int  # image and slice start markers that are left
    ends: int
    features: int  # placeholder tokens that are left
    features_wanted: int  # rows of visual features that the images give
    supervised_before: int
    supervised: int  # labels that are left
    ends_with_eos: bool | None  # the last label left is the end of turn or of text; None without labels
    fate: str = "kept"
    reason: str | None = None


class Unencodable(Exception):
    """The record, the template or the tokenizer cannot be rendered as the trainer would; str() says why.

    `fate` is what the trainer does then.
    """

    def __init__(self, reason: str, fate: str | None = "crash") -> None:
        super().__init__(reason)
        self.fate = fate


class Tokens(Protocol):
    """A tokenizer: what rendering and masking need of it. Implemented on the Rust tokenizer of a model folder."""

    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    unk_id: int | None
    chat_template: str | None

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of a text, special tokens in it recognised; with `special`, BOS and EOS as the tokenizer adds them."""
        ...

    def id_of(self, token: str) -> int | None:
        """Id of a token; None when the vocabulary has none (never the unknown token)."""
        ...

    def render(self, messages: list[dict[str, Any]], **variables: Any) -> str:
        """The chat template's text. Raises Unencodable with what the template raised."""
        ...


class Encoder(Protocol):
    """How one trainer (and its template) turns a record into tokens."""

    def encode(self, messages: list[Message], blocks: list[ImageBlock]) -> Encoded:
        """Render, tokenise and mask. Raises Unencodable."""
        ...

    def cut(self, encoded: Encoded, blocks: list[ImageBlock], limit: int | None) -> Cut:
        """Apply the limit as the trainer does."""
        ...
