"""The few substitutions whose value does not depend on a shell: sums of known numbers, and the script's own folder."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable

_NAME = re.compile(r"\$\{([A-Za-z_]\w*)\}|\$?([A-Za-z_]\w*)")
_SUM = re.compile(r"[-+*/%()\d\s]+$")
_LARGEST = 2**63  # bash counts in 64 bits
_SCRIPT = r"(?:\$0|\$BASH_SOURCE|\$\{BASH_SOURCE(?:\[0\])?\}|\$\{0\})"
_REAL = rf"(?:{_SCRIPT}|\$\(\s*(?:readlink\s+-f|realpath)\s+{_SCRIPT}\s*\))"
_FOLDER = rf"\$\(\s*dirname\s+(?:--\s+)?{_REAL}\s*\)"
_SILENCED = re.compile(r"\d?>&\d|[\d&]?>\s*/dev/null")
_ONLY_FOLDER = re.compile(rf"{_FOLDER}$")
_ENTERED = re.compile(rf"\$\(\s*cd\s+(?:-P\s+)?(?:--\s+)?{_FOLDER}([\w./-]*)\s*(?:&&|;)\s*pwd(?:\s+-P)?\s*\)$")


def substituted(source: str, value_of: Callable[[str], str | None], script: str) -> str | None:
    """What `$((...))` or `$(cd "$(dirname "$0")" && pwd)` stands for; None when only a shell could tell.

    `value_of` gives the text of a variable, None when it is unknown; `script` is the path of the script.
    """
    if source.startswith("$((") and source.endswith("))"):
        return _sum(source[3:-2], value_of)
    plain = _SILENCED.sub("", re.sub(r"[\"']", "", source))
    folder = os.path.dirname(os.path.abspath(script))  # noqa: PTH100, PTH120 - text, nothing is looked up
    if _ONLY_FOLDER.match(plain):
        return folder
    if entered := _ENTERED.match(plain):
        return os.path.normpath(folder + entered[1])
    return None


def _sum(expression: str, value_of: Callable[[str], str | None]) -> str | None:
    known = True

    def number(match: re.Match[str]) -> str:
        nonlocal known
        text = value_of(match[1] or match[2])
        if text is None or not re.fullmatch(r"\s*-?\d+\s*", text):
            known = False
            return "0"
        return f"({int(text)})"

    numbers = _NAME.sub(number, expression)
    if not known or len(numbers) > 200 or not _SUM.match(numbers) or "**" in numbers or "//" in numbers:
        return None
    try:
        value = _evaluated(ast.parse(numbers.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, ValueError, RecursionError):
        return None
    return str(value) if abs(value) < _LARGEST else None


def _evaluated(node: ast.expr) -> int:
    """Whole numbers as bash computes them: division and remainder go towards zero."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _evaluated(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _evaluated(node.left), _evaluated(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        if isinstance(node.op, ast.Div):
            return quotient
        if isinstance(node.op, ast.Mod):
            return left - quotient * right
    raise ValueError("no sum of whole numbers")
