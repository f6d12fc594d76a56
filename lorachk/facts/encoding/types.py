"""The shapes that encoding works with. Lengths are tokens, positions count from 0."""

from __future__ import annotations

from collections.abc import Sequence
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
    """One turn: the role as the record writes it, its speaker, and its parts; an int is an image of the record.

    `typed`: the content is a list of typed parts, not one text. `completion`: it belongs to TRL's `completion`, not to
    the prompt. Text without a conversation (`text`, `prompt`, `completion` as strings) has no role.
    """

    role: str | None
    speaker: str | None  # user, assistant, system, tool; None for an unknown role
    parts: tuple[str | int, ...]
    typed: bool = False
    completion: bool = False


class Settings(NamedTuple):
    """What encoding depends on besides trainer, family and tokenizer. None: not given, the trainer's default holds."""

    llm_type: str | None = None  # MiniCPM-V: --llm_type
    template: str | None = None  # name of the template: LLaVA --version, InternVL --conv_style, LLaMA-Factory, ms-swift
    chat_template: str | None = None  # Jinja text that replaces the model folder's
    assistant_only_loss: bool | None = None  # TRL
    completion_only_loss: bool | None = None  # TRL; None: when the data are prompt and completion
    train_on_prompt: bool | None = None  # LLaMA-Factory
    mask_history: bool | None = None  # LLaMA-Factory
    train_on_inputs: bool | None = None  # axolotl
    roles_to_train: tuple[str, ...] | None = None  # axolotl; None: assistant
    train_on_eos: str | None = None  # axolotl: turn, all, last, none
    loss_scale: str | None = None  # ms-swift
    truncation: str | None = None  # keep_start or keep_end (TRL), left right delete raise split (ms-swift), drop ...
    packing: bool | None = None
    system: str | None = None  # system message the launch file sets; None: the trainer's or template's own
    enable_thinking: bool | None = None
    vision: bool | None = None  # the dataset has images, so that a processor encodes it
    eos_token: str | None = None  # TRL: SFTConfig.eos_token
    mm_use_im_start_end: bool | None = None  # LLaVA
    flatten: bool | None = None  # Qwen-VL: --data_flatten, which never truncates


class Text(NamedTuple):
    """A text to tokenise: with `special`, BOS and EOS as the tokenizer adds them; with `offsets`, characters too."""

    text: str
    special: bool = False
    offsets: bool = False


class Ids(NamedTuple):
    """Tokens of a text; `offsets`, where asked for, are the characters of each (start, end)."""

    ids: list[int]
    offsets: list[tuple[int, int]] | None = None


class Span(NamedTuple):
    """Tokens from `start` up to, without, `end`."""

    start: int
    end: int


NOTHING: dict[int, int] = {}


class Encoded(NamedTuple):
    """A whole record before the limit: one entry per token.

    `ids` holds the placeholder's id for every visual feature; `supervised` tells whether the token is a label (at its
    own position, not shifted); `images` are the spans of the image blocks in the order of the text. `relabelled` are
    positions whose label is another token than the one that stands there (MiniCPM-V's script puts its end token).
    `fate` and `reason`: what the trainer does with the record whatever the limit (changed, crash); kept mostly.
    `turns`: tokens of each question and its answer, for trainers that cut turn by turn (LLaMA-Factory). `counted`: how
    many tokens the rounds have one by one, and how many there are, for trainers that compare them (LLaVA, FastChat).
    """

    ids: list[int]
    supervised: list[bool]
    images: list[Span]
    relabelled: dict[int, int] = NOTHING
    fate: str = "kept"
    reason: str | None = None
    turns: tuple[tuple[int, int], ...] = ()
    counted: tuple[int, int] | None = None


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
    bos_token: str | None
    eos_token: str | None
    independent: bool  # text between two special tokens is tokenised the same wherever it stands
    adds_special: bool  # encode(special=True) puts anything around a text

    @property
    def chat_template(self) -> str | None:
        """The tokenizer's own chat template, the default one."""
        ...

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of a text, special tokens in it recognised; with `special`, BOS and EOS as the tokenizer adds them."""
        ...

    def encode_all(self, texts: Sequence[Text]) -> list[Ids]:
        """Many texts in one call, over all cores."""
        ...

    def id_of(self, token: str) -> int | None:
        """Id of a token; None when the vocabulary has none (never the unknown token)."""
        ...

    def is_special(self, token: str) -> bool:
        """Whether the token is recognised in any text as it stands (an added token without white-space rules)."""
        ...

    def render(self, messages: list[dict[str, Any]], **variables: Any) -> str:
        """The chat template's text. Raises Unencodable with what the template raised.

        `chat_template` among the variables is a Jinja text that stands in for the folder's; `processor=True` takes the
        processor's template where the folder has one of its own.
        """
        ...

    def render_spans(self, messages: list[dict[str, Any]], **variables: Any) -> tuple[str, list[tuple[int, int]]]:
        """The text, and the characters between {% generation %} and {% endgeneration %}."""
        ...


class Encoder(Protocol):
    """How one trainer (and its template) turns a record into tokens."""

    def encode(self, messages: list[Message], blocks: list[ImageBlock]) -> Encoded:
        """Render, tokenise and mask. Raises Unencodable."""
        ...

    def encode_all(self, records: Sequence[tuple[list[Message], list[ImageBlock]]]) -> list[Encoded | Unencodable]:
        """Many records, all their texts tokenised in one call."""
        ...

    def cut(self, encoded: Encoded, blocks: list[ImageBlock], limit: int | None) -> Cut:
        """Apply the limit as the trainer does."""
        ...
