"""Hostile text made harmless, once for every format.

Paths, messages, notes and reasons come from datasets, file names and other people's error texts. None of them may move
the cursor, reorder a line, start a workflow command, or become markup where a report is read.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from math import isfinite, isnan
from typing import Any

# Cc: ESC, CSI, BEL ...; Cf: bidi overrides, zero-width and tag characters; Cs: lone surrogates; Zl, Zp: line breaks.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BLANKS = re.compile(r"[\t\n\v\f\r \x85\u2028\u2029]+")

# "::name ::" is read at the start of a line; "##[name]", "##vso[...]" and "##teamcity[...]" anywhere in it.
# The colour codes are those that lorachk's own terminal output may put before the text.
_COMMAND_START = re.compile(r"^((?:\s|\x1b\[[0-9;]*m)*):(?=:)", re.MULTILINE)
_COMMAND_ANYWHERE = re.compile(r"##(?=\w*\[)")


def _hidden(character: str) -> bool:
    code = ord(character)
    nonsense = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # Unicode noncharacters; U+FFFE breaks XML
    return nonsense or unicodedata.category(character) in _INVISIBLE


def _spelled(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    """`text` with every character that cannot be seen spelled out: ESC becomes \\x1b, a line break \\n."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled(c) if _hidden(c) else c for c in text)


def sentence(text: str) -> str:
    """`text` as one line: line breaks and tabs become spaces, everything else that cannot be seen is spelled out."""
    return visible(_BLANKS.sub(" ", text).strip())


def paragraphs(text: str) -> str:
    """`text` with its line breaks kept and everything else that cannot be seen spelled out."""
    return "\n".join(visible(line.replace("\t", "    ")) for line in text.splitlines())


def clipped(text: str, limit: int) -> str:
    """At most `limit` characters; what was cut off shows as "..."."""
    return text if len(text) <= limit else f"{text[: limit - 3].rstrip()}..."


def no_commands(text: str) -> str:
    """Lines of a log in which no CI system (GitHub, Azure, TeamCity) finds a command."""
    return _COMMAND_ANYWHERE.sub("# #", _COMMAND_START.sub(r"\1: ", text))


def command_data(text: str) -> str:
    """Message of a GitHub workflow command, escaped as actions/toolkit does (`escapeData`)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def command_property(text: str) -> str:
    """Property of a GitHub workflow command, escaped as actions/toolkit does (`escapeProperty`)."""
    return command_data(text).replace(":", "%3A").replace(",", "%2C")


_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>&|~#@$!^]|:(?=//)|(?<=\bwww)\.", re.IGNORECASE)
_BLOCK_START = re.compile(r"^([-+=]|\d+(?=[.)](?:\s|$)))")
_CODE_SPAN = re.compile(r"`([^`]+)`")


def _literal(text: str) -> str:
    return _MARKDOWN.sub(lambda m: "&lt;" if m[0] == "<" else f"\\{m[0]}", text)


def _not_a_block(text: str) -> str:
    """A list or heading mark counts at the start only; a number's mark is the character after it."""
    return _BLOCK_START.sub(lambda m: f"{m[0]}\\" if m[0].isdigit() else f"\\{m[0]}", text)


def markdown_cell(text: str) -> str:
    """`text` as literal inline GitHub Markdown: no markup, HTML, autolink or table cell comes out of it."""
    return _not_a_block(_literal(sentence(text)))


def markdown(text: str) -> str:
    """Like `markdown_cell`, but `code` stays code: nothing but a backtick is markup inside a code span.

    Not for table cells, which "|" ends even inside code.
    """
    parts = _CODE_SPAN.split(sentence(text))
    return _not_a_block("".join(f"`{part}`" if n % 2 else _literal(part) for n, part in enumerate(parts)))


def _plain(value: Any) -> Any:
    """A value that JSON can hold: non-finite numbers and unknown types become text, lone surrogates are spelled out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if isfinite(value):
            return value
        return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {_plain(str(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    return _plain(str(value))


def dump_json(value: Any) -> str:
    """JSON in plain ASCII with one newline at its end; NaN and infinity become the strings "NaN" and "Infinity"."""
    text = json.dumps(_plain(value), indent=2, allow_nan=False)
    # DEL is the one control character that JSON leaves alone; a CI log reads "##[" anywhere in a line.
    return _COMMAND_ANYWHERE.sub(r"#\\u0023", text.replace("\x7f", r"\u007f")) + "\n"
