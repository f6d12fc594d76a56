"""What OpenBMB/MiniCPM-V's finetune/dataset.py (0dbb566) does with a record, step by step in its own order.

`SupervisedDataset.__getitem__` swallows every exception and returns another record instead (*replaced*). What passes
may still train something else than is written (*changed*), or die in the model's forward (*crash*).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lorachk.facts.records.dialect import KEY, PLACEHOLDER, Shape
from lorachk.facts.records.verdicts.types import KEPT, Loader, Settings, Verdict
from lorachk.facts.records.verdicts.types import named as _article


class Picture(NamedTuple):
    """What is known of an image of the record: whether PIL opens and converts it, and its pieces."""

    usable: bool
    why: str | None = None
    pieces: int | None = None


class Length(NamedTuple):
    """Bounds on the record's tokens: in total and before the first one that is trained; and the limit."""

    limit: int
    total: tuple[int, int]
    before_labels: tuple[int, int]
    later_images: bool  # an image stands after the first answer


def verdict(value: Any, pictures: Sequence[Picture], llm_type: str = "qwen", length: Length | None = None) -> Verdict:
    """The fate of one record. `pictures` are in the order of the record.

    `llm_type` is qwen or llama3. The branch of any other value fails for every record at this commit, whatever the
    record says; that is a matter of the launch file, so here it is judged like qwen.
    """
    fault = _open_images(value, pictures) or _conversation(value)
    if fault:
        return Verdict("replaced", fault)
    turns: list[Mapping[str, Any]] = value["conversations"]
    single = isinstance(value["image"], str) or list(value["image"]) == [PLACEHOLDER]
    if fault := _turns(turns, llm_type, single):
        return Verdict("replaced", fault)
    texts = [t["content"] if isinstance(t.get("content"), str) else "" for t in turns]
    if not single and (missing := _missing_key(texts, value["image"])):
        return Verdict("replaced", f"not found {missing} in image dict")
    if uneven := _markers(texts, single, llm_type):
        return uneven
    if not _trained(turns, llm_type):
        return Verdict("replaced", "No tokens available to compute loss: no answer")
    short = cut(length)
    if short and short.kind == "replaced":
        return short
    images = _repeated(texts[0]) if single else _keys(texts, list(value["image"]), pictures)
    return images or _labels(turns, texts, llm_type) or short or KEPT


def judge(value: Any, _shape: Shape, settings: Settings) -> Verdict:
    """The fate of one record, every image opened and nothing too long."""
    if _plain(value):
        return KEPT
    return verdict(value, (), settings.llm_type)


def _plain(value: Any) -> bool:
    """Whether it is plain to see that the record is kept, which nearly every one is: no mark but <image> in front."""
    if not isinstance(value, dict) or not isinstance(value.get("image"), str):
        return False
    turns = value.get("conversations")
    if not isinstance(turns, list) or len(turns) < 2:
        return False
    mark, answered = PLACEHOLDER, False
    for turn in turns:
        if not isinstance(turn, dict):
            return False
        text, role = turn.get("content"), turn.get("role")
        if not isinstance(text, str) or not text or text.isspace():
            return False
        if "<" in text and (text.count("<") > 1 or not mark or mark not in text):
            return False
        if role == "assistant":
            if mark:
                return False
            answered = True
        elif role != "user":
            return False
        mark = ""
    return answered


def _open_images(value: Any, pictures: Sequence[Picture]) -> str | None:
    if not isinstance(value, dict):
        return "the record is not an object"
    if "image" not in value:
        return "KeyError: 'image': the record has no image"
    image = value["image"]
    if not isinstance(image, (str, dict)):
        return f"image is {_article(image)}, neither a path nor an object"
    for picture in pictures:
        if not picture.usable:
            return picture.why or "the image cannot be opened"
    return None


def _conversation(value: Mapping[str, Any]) -> str | None:
    if "conversations" not in value:
        return "KeyError: 'conversations'"
    turns = value["conversations"]
    if not isinstance(turns, list):
        return "conversations is not a list"
    if len(turns) < 2:
        return "conversations length must large than 2: fewer than two turns"
    if not all(isinstance(t, dict) for t in turns):
        return "a turn is not an object"
    if "role" not in turns[0]:
        return "KeyError: 'role'"
    return None if turns[0]["role"] == "user" else "the first role must be user"


def _turns(turns: Sequence[Mapping[str, Any]], llm_type: str, single: bool) -> str | None:
    first = turns[0]
    if "content" not in first:
        return "KeyError: 'content'"
    if not isinstance(first["content"], str):
        return "content of turn 0 is not text"
    for number, turn in enumerate(turns):
        role = turn.get("role")
        if "role" not in turn:
            return f"turn {number} has no role"
        if llm_type == "llama3" and not isinstance(role, str):
            return f"role of turn {number} is not text"
        if llm_type == "llama3" and single:
            continue  # its template renders any role, and `| trim` makes text of any content
        if llm_type != "llama3" and role not in ("user", "assistant"):
            return f"role {role!r:.40} of turn {number} is neither user nor assistant"
        if "content" not in turn:
            return f"KeyError: 'content' in turn {number}"
        if not isinstance(turn["content"], str):
            return f"content of turn {number} is not text"
    return None


def _missing_key(texts: Sequence[str], images: Mapping[str, Any]) -> str | None:
    return next((key for text in texts for key in KEY.findall(text) if key not in images), None)


def _markers(texts: Sequence[str], single: bool, llm_type: str) -> Verdict | None:
    """Literal start and end markers: an uneven number is refused, an even one breaks the model's forward."""
    starts = sum(text.count(PLACEHOLDER) for text in (texts[1:] if single else texts))
    ends = sum(text.count("</image>") for text in texts)
    if llm_type != "llama3":
        starts += sum(text.count("<slice>") for text in texts)
        ends += sum(text.count("</slice>") for text in texts)
    if starts != ends:
        later = single and any(PLACEHOLDER in text for text in texts[1:])
        what = "<image> after the first turn" if later else "literal image markers in the text"
        return Verdict("replaced", f"image start token != image end tokens: {what}")
    if starts:
        return Verdict("crash", "a literal pair of image markers in the text is taken for an image")
    return None


def _trained(turns: Sequence[Mapping[str, Any]], llm_type: str) -> bool:
    """Whether any token is trained: an empty answer needs another end-of-turn token after its own."""
    answers = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
    return any(not _empty(turns[i], llm_type) or i < len(turns) - 1 for i in answers)


def _empty(turn: Mapping[str, Any], llm_type: str) -> bool:
    content = turn.get("content", "")
    # llama3's template trims; it prints null as "None", which is not empty.
    return isinstance(content, str) and not (content.strip() if llm_type == "llama3" else content)


def _repeated(first: str) -> Verdict | None:
    count = first.count(PLACEHOLDER)
    if count > 1:
        return Verdict("crash", f"<image> stands {count} times in the first turn, for one image's features")
    return None


def _keys(texts: Sequence[str], keys: list[str], pictures: Sequence[Picture]) -> Verdict | None:
    """Features are laid down in the object's order, places in the text's order."""
    used = [key for text in texts for key in KEY.findall(text)]
    if used == keys:
        return None
    counted = {key: picture.pieces or 1 for key, picture in zip(keys, pictures, strict=False)}
    pieces = {**dict.fromkeys(keys, 1), **counted}
    known = len(pictures) == len(keys) and all(picture.pieces for picture in pictures)
    repeated = [key for key, count in Counter(used).items() if count > 1]
    if sum(pieces[key] for key in used) > sum(pieces.values()) and (known or len(used) > len(keys)):
        return Verdict("crash", f"{repeated[0]} is used more than once: more places than image features")
    if repeated:
        return Verdict("changed", f"{repeated[0]} is used more than once: places get another image's features")
    if not used:
        return Verdict("changed", "no turn names an image: trained as text only")
    if len(used) < len(keys):
        unused = next(key for key in keys if key not in used)
        return Verdict("changed", f"{unused[:40]} is never used: its features shift those of other images")
    return Verdict("changed", "images are named in another order than listed: they are swapped")


def _labels(turns: Sequence[Mapping[str, Any]], texts: Sequence[str], llm_type: str) -> Verdict | None:
    """Where the label mask goes wrong without a word."""
    for number, turn in enumerate(turns[:-1]):
        if turn["role"] == "assistant" and _empty(turn, llm_type):
            return Verdict("changed", f"answer {number} is empty: the turn after it is trained instead")
    if llm_type == "llama3":
        for number, turn in enumerate(turns):
            if not isinstance(turn.get("content"), str):
                return Verdict("changed", f"content of turn {number} is not text: trained as it prints")
            if turn["role"] not in ("user", "assistant", "system"):
                return Verdict("changed", f"role {turn['role']!r:.40} of turn {number} is never trained")
    marks = ("<|eot_id|>", "<|start_header_id|>") if llm_type == "llama3" else ("<|im_end|>", "<|im_start|>")
    for number, text in enumerate(texts):
        for mark in marks:
            if mark in text:
                return Verdict("changed", f"literal {mark} in turn {number} moves the label mask")
    return None


def cut(length: Length | None) -> Verdict | None:
    """What truncation to the limit does: nothing, loses the answer's end, or loses the record."""
    if length is None or length.total[1] <= length.limit:
        return None
    if length.before_labels[0] >= length.limit:
        return Verdict("replaced", "No tokens available to compute loss: the question fills the token limit")
    if length.total[0] > length.limit and length.before_labels[1] < length.limit and not length.later_images:
        return Verdict("changed", "longer than the token limit: the end is cut off")
    return Verdict(None, "whether a record fits the token limit, only the tokenizer can tell")


LOADER = Loader("minicpmv", judge, "replaced", True, urls=False, data_uris=False, container="array")
