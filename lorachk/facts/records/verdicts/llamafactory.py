"""What hiyouga/LLaMA-Factory (ff6d4d1) does with a record in supervised fine-tuning.

data/converter.py turns it into prompt and response by the columns and tags of its dataset_info.json entry and logs
"Skipping this abnormal example"; processor/supervised.py drops what is left without one. mm_plugin.py then compares
placeholders with images, and the formatters take nothing but text: both raise and stop the run before its first step.

Records go through `datasets`: a key that a record lacks is null there (and stops the run where no record has it).

Compared with its own converters, DatasetAttr and _validate_messages on 68,000 random records in five mappings; the
formatters were read, not run.
"""

from __future__ import annotations

import json
from typing import Any

from lorachk.facts.records.dialect import PLACEHOLDER, Shape
from lorachk.facts.records.verdicts.llamafactory_columns import guess
from lorachk.facts.records.verdicts.types import (
    KEPT,
    Loader,
    Settings,
    Verdict,
    changed,
    crash,
    dropped,
    named,
    short,
    unknown,
)

_ASK = "which columns and tags are read, dataset_info.json says"
Messages = list[tuple[str, Any]]  # role (user, assistant, observation, function), content


def judge(value: Any, _shape: Shape, settings: Settings) -> Verdict:
    """The fate of one record, every image opened."""
    if not isinstance(value, dict):
        return crash(f"datasets reads no record that is {named(value)}")
    columns = settings.mapping
    if columns is None:
        columns = guess(value)
        if columns is None:
            return unknown(_ASK)
    if columns.ranking or columns.kto_tag:
        return unknown("preference data (ranking, kto_tag) is not judged")
    if columns.formatting == "alpaca" and columns.prompt and not (columns.query or columns.response):
        return unknown("text without an answer is for pre-training (stage pt); supervised fine-tuning drops it")
    if columns.formatting == "alpaca":
        found = _alpaca(value, columns)
    elif columns.formatting == "sharegpt":
        found = _sharegpt(value, columns)
    elif columns.formatting == "openai":
        found = _openai(value, columns)
    else:
        return unknown(f"formatting {short(columns.formatting)} is not known")
    if isinstance(found, Verdict):
        # Another entry may give the roles other names, or the columns.
        return found if settings.mapping is not None or found.kind == "crash" else unknown(f"{_ASK}; {found.reason}")
    return _encoded(value, columns, found, settings.multimodal) or _unread(value, columns) or KEPT


def _alpaca(value: dict[str, Any], columns: Any) -> Messages | Verdict:
    messages: Messages = []
    history = value.get(columns.history) if columns.history else None
    for pair in history if isinstance(history, list) else ():
        if not isinstance(pair, (list, str, dict)) or len(pair) != 2:
            return crash(f"ValueError: {columns.history} holds {named(pair)}, not a pair of question and answer")
        old, answer = list(pair)
        messages += [("user", old), ("assistant", answer)]
    query = [value[key] for key in (columns.prompt, columns.query) if key and value.get(key)]
    wrong = next((each for each in query if not isinstance(each, str)), "")
    if wrong != "":
        return crash(f"TypeError: the question is {named(wrong)}, not text")
    messages.append(("user", "\n".join(query)))
    response = value.get(columns.response) if columns.response else None
    if not isinstance(response, str):
        return dropped(f"Dropped invalid example: {columns.response or 'the answer'} is {named(response)}, not text")
    messages.append(("assistant", response))
    return messages


def _sharegpt(value: dict[str, Any], columns: Any) -> Messages | Verdict:
    turns = value.get(columns.messages)
    if not isinstance(turns, list):
        return _no_list(turns, columns.messages)
    role_tag, content_tag, system_tag = columns.role_tag, columns.content_tag, columns.system_tag
    names = _names(columns)
    questions = (columns.user_tag, columns.observation_tag)
    answers = (columns.assistant_tag, columns.function_tag)
    messages: Messages = []
    start, wanted = 0, questions
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict):
            return crash(f"TypeError: turn {number} of {columns.messages} is {named(turn)}, not an object")
        role = turn.get(role_tag)
        if not number and system_tag and role == system_tag:
            start = 1
            continue
        if role not in wanted:
            where = "a question" if wanted is questions else "an answer"
            return dropped(f"Invalid role tag: {role_tag} of turn {number} is {short(role)}, where {where} stands")
        messages.append((names[role], turn.get(content_tag)))
        wanted = answers if wanted is questions else questions
    if len(messages) % 2:
        return dropped(f"Invalid message count: {len(messages)} turns{' after the system turn' if start else ''}")
    if start and messages and (fault := _system(turns[0].get(content_tag))):
        return fault
    return messages or dropped("Dropped invalid example: no turns")


def _system(system: Any) -> Verdict | None:
    wrong = system and not isinstance(system, str)
    return crash(f"TypeError: the system prompt is {named(system)}, not text") if wrong else None


def _no_list(turns: Any, column: str | None) -> Verdict:
    if isinstance(turns, (str, dict)) and not turns:
        return dropped(f"Dropped invalid example: {column} is empty")
    return crash(f"TypeError: {column} is {named(turns)}, not a list")


def _names(columns: Any) -> dict[Any, str]:
    """Tags in the converter's order: several that are null share one name, the last."""
    return {
        columns.user_tag: "user",
        columns.assistant_tag: "assistant",
        columns.observation_tag: "observation",
        columns.function_tag: "function",
        columns.system_tag: "system",
    }


def _openai(value: dict[str, Any], columns: Any) -> Messages | Verdict:
    turns = value.get(columns.messages)
    if not isinstance(turns, list):
        return _no_list(turns, columns.messages)
    wrong = next((i for i, turn in enumerate(turns) if not isinstance(turn, dict)), None)
    if wrong is not None:
        return crash(f"TypeError: turn {wrong} of {columns.messages} is not an object")
    names = _names(columns)
    start = 1 if columns.system_tag and turns and turns[0].get(columns.role_tag) == columns.system_tag else 0
    messages: Messages = []
    waiting: list[str] = []
    for number in range(start, len(turns)):
        turn = turns[number]
        role, content = turn.get(columns.role_tag), turn.get(columns.content_tag)
        if role in (columns.assistant_tag, columns.function_tag) and turn.get("tool_calls"):
            calls = turn["tool_calls"]
            if not isinstance(calls, list) or not all(isinstance(c, dict) and "function" in c for c in calls):
                return crash(f"KeyError: 'function' in tool_calls of turn {number}")
            role, content = columns.function_tag, json.dumps([call["function"] for call in calls])
        if role == columns.observation_tag:
            if not isinstance(content, str):
                return unknown(f"{columns.content_tag} of turn {number} is {named(content)}, not text")
            waiting.append(content)
            continue
        if waiting:
            messages.append(("observation", "".join(waiting)))
            waiting = []
        if isinstance(role, (list, dict)) or role not in names:
            return crash(f"KeyError: {columns.role_tag} of turn {number} is {short(role)}")
        messages.append((names[role], content))
    fault = _system(turns[0].get(columns.content_tag)) if start else None
    if fault and not isinstance(turns[0][columns.content_tag], list):  # a list is first extended by the short prompt
        return fault
    for number, (name, _) in enumerate(messages):
        if name not in (("assistant", "function") if number % 2 else ("user", "observation")):
            return dropped(
                f"Invalid role tag: a turn of {name} where {'an answer' if number % 2 else 'a question'} stands"
            )
    if len(messages) % 2:
        return dropped(f"Invalid message count: {len(messages)} turns without the system turn")
    return (fault or messages) if messages else dropped("Dropped invalid example: no turns")


def _encoded(value: dict[str, Any], columns: Any, messages: Messages, multimodal: bool | None) -> Verdict | None:
    """What the template and its plugin make of prompt and response."""
    images = videos = audios = 0
    for number, (name, content) in enumerate(messages):
        if not isinstance(content, str):
            return crash(f"content of turn {number} is {named(content)}, not text (Expected a string)")
        if name == "system":
            return crash(f"NotImplementedError: Unexpected role: system (turn {number} has no role)")
        if name == "function" and (fault := _function(content, number)):
            return fault
        if "<" in content:
            images += content.count(PLACEHOLDER)
            videos += content.count("<video>")
            audios += content.count("<audio>")
    if fault := _around(value, columns):
        return fault
    for kind, count in (("image", images), ("video", videos), ("audio", audios)):
        column = getattr(columns, f"{kind}s", None)
        files = value.get(column) if column else None
        if files is None and not count:
            continue
        if fault := _files(files, kind):
            return fault
        if fault := _counted(
            len(files) if isinstance(files, list) else int(files is not None), count, kind, multimodal
        ):
            return fault
    return None


def _function(content: str, number: int) -> Verdict | None:
    """A function turn holds JSON calls, which the default tool format parses."""
    try:
        calls = json.loads(content)
    except ValueError:
        if "<" in content:
            return unknown(f"whether the function call of turn {number} can be parsed, the template says")
        return crash(f"Invalid JSON format in function message: turn {number}")
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(call, dict) and "name" in call and "arguments" in call for call in calls):
        return crash(f"KeyError: the function call of turn {number} has no name or no arguments")
    return None


def _around(value: dict[str, Any], columns: Any) -> Verdict | None:
    """System prompt and tools."""
    if columns.system and (fault := _system(value.get(columns.system))):
        return fault
    tools = value.get(columns.tools) if columns.tools else None
    if tools and isinstance(tools, str):
        try:
            json.loads(tools)
        except ValueError:
            return crash(f"Invalid JSON format in tool description: {columns.tools}")
    elif tools and columns.formatting != "openai":
        return crash(f"TypeError: {columns.tools} is {named(tools)}, not JSON in a string")
    return None


def _files(files: Any, kind: str) -> Verdict | None:
    if kind != "image" or files is None:
        return None
    for each in files if isinstance(files, list) else [files]:
        if not isinstance(each, (str, dict)):
            return crash(f"Expect input is a list of images, but got {named(each)}")
        if isinstance(each, dict) and not ("bytes" in each and "path" in each):
            return crash("KeyError: an image that is an object needs bytes and path")
    return None


def _counted(there: int, count: int, kind: str, multimodal: bool | None) -> Verdict | None:
    if multimodal is False:
        if there:
            return crash(f"This model does not support {kind} input")
        return changed(f"<{kind}> is trained as text: the model takes none")
    if there == count:
        return None
    reason = f"The number of {kind}s does not match the number of <{kind}> tokens: {there} and {count}"
    return (
        crash(reason)
        if there or multimodal
        else unknown(f"{reason}, which stops the run unless the model is text-only")
    )


def _unread(value: dict[str, Any], columns: Any) -> Verdict | None:
    if not columns.images and (value.get("images") or value.get("image")):
        return changed("dataset_info.json names no images column: the images are left out")
    return None


LOADER = Loader("llamafactory", judge, "crash", False, urls=False, data_uris=False, container=None)
