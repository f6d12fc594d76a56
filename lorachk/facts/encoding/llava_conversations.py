"""The conversations of haotian-liu/LLaVA (llava/conversation.py at c121f04) and the prompts they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lorachk.facts.encoding.types import Unencodable


class Conversation(NamedTuple):
    """`style` names the function of train.py that masks its labels: v1, mpt, llama_2, plain, or v0 for the rest.

    `tagged`: <Image> and </Image> are put around the image.
    """

    style: str
    system: str = ""
    roles: tuple[str, str] = ("USER", "ASSISTANT")
    sep: str = " "
    sep2: str = "</s>"
    tagged: bool = False


_HELPFUL = "The assistant gives helpful, detailed, and polite answers to the {}'s questions."
_USER = f"A chat between a curious user and an artificial intelligence assistant. {_HELPFUL.format('user')}"
_HUMAN = f"A chat between a curious human and an artificial intelligence assistant. {_HELPFUL.format('human')}"
_TAGGED = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant is able to understand the visual content that the user provides, and assist the user with a variety "
    "of tasks using natural language."
    "The visual content will be provided with the following format: <Image>visual content</Image>."
)
_LLAMA = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe.  "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information."
)
_LLAVA = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
_MPT = "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers."
_IM = ("<|im_start|>user\n", "<|im_start|>assistant\n")
_NAMES = ("Human", "Assistant")
_V0 = Conversation("v0", _HUMAN, _NAMES, "###")
_PLAIN = Conversation("plain", "", ("", ""), "\n")
_DIRECT = Conversation("mpt", "<|im_start|>system\nAnswer the questions.", _IM, "<|im_end|>")
VICUNA = Conversation("v1", _USER)
CONVERSATIONS = {
    "default": _V0,
    "llava_v0": _V0,
    "v0_mmtag": Conversation("v0", _TAGGED, _NAMES, "###", tagged=True),
    "v1": VICUNA,
    "vicuna_v1": VICUNA,
    "llava_v1": Conversation("v1", _HUMAN),
    "v1_mmtag": Conversation("v1", _TAGGED, tagged=True),
    "llama_2": Conversation("llama_2", _LLAMA, sep="<s>"),
    "llava_llama_2": Conversation("llama_2", _LLAVA, sep="<s>"),
    "mistral_instruct": Conversation("llama_2", "", sep=""),
    "mpt": Conversation("mpt", f"<|im_start|>system\n{_MPT}", _IM, "<|im_end|>"),
    "chatml_direct": _DIRECT,
    "mistral_direct": _DIRECT,
    "plain": _PLAIN,
    "v0_plain": _PLAIN,
}


def conversation(version: str | None) -> Conversation:
    """--version, as train.py takes it: v0 and v0.5 touch the padding token only, unknown names are vicuna_v1."""
    if version in (None, "v0", "v0.5"):
        return VICUNA
    return CONVERSATIONS.get(version or "", VICUNA)


def prompt(conv: Conversation, texts: Sequence[str]) -> str:
    """`get_prompt`: texts of human and gpt in turn."""
    if conv.style == "llama_2":
        return _llama(conv, texts)
    seps = (conv.sep, conv.sep2) if conv.style == "v1" else (conv.sep, conv.sep)
    colon = "" if conv.style == "mpt" else ":"
    parts = [conv.system, conv.sep]
    for number, text in enumerate(texts):
        role = conv.roles[number % 2] + colon
        parts.append(f"{role}{' ' if colon else ''}{text}{seps[number % 2]}" if text else role)
    return "".join(parts)


def _llama(conv: Conversation, texts: Sequence[str]) -> str:
    if not texts or not texts[0]:
        raise Unencodable("AssertionError: first message should not be none")
    system = f"<<SYS>>\n{conv.system}\n<</SYS>>\n\n" if conv.system else ""
    parts: list[str] = []
    for number, text in enumerate(texts):
        if not text:
            continue
        if number % 2:
            parts.append(f" {text} {conv.sep2}")
        else:
            parts.append(f"{conv.sep}[INST] {'' if number else system}{text} [/INST]")
    return "".join(parts).lstrip(conv.sep)


def rounds(conv: Conversation, written: str) -> list[tuple[str, str | None]]:
    """The prompt taken apart again: each round, and what of it is not trained; None ends the search there."""
    if conv.style == "mpt":
        pieces = written.split(conv.sep)
        split = [conv.sep.join(pieces[:3])]
        split += [conv.sep.join(pieces[n : n + 2]) for n in range(3, len(pieces), 2)]
        mark = conv.sep + conv.roles[1]
    else:
        split = written.split(conv.sep2)
        mark = "[/INST] " if conv.style == "llama_2" else f"{conv.sep}{conv.roles[1]}: "
    found: list[tuple[str, str | None]] = []
    for each in split:
        if not each:
            break
        parts = each.split(mark)
        if len(parts) != 2:
            break
        found.append((each, parts[0] + mark))
    return found
