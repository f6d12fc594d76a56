"""Chat templates, rendered as transformers renders them, and within limits: they come with the model folder.

What transformers 5.24 does in utils/chat_template_utils.py (and 4.43 to 5.x for everything but the last two lines):

- an ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks and break/continue;
- `tojson` without HTML escapes, `raise_exception`, `strftime_now`;
- {% generation %} blocks, whose characters are kept as spans; they start where the text *written so far* ends, which is
  not where they stand when the block is inside a macro or a {% set %} block;
- keys of a message whose value is None are dropped (5.x; before, a template saw None);
- `dict` and `namespace` that give no way out of the sandbox (5.x).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lorachk.facts.encoding.deadline import TooLong, deadline
from lorachk.facts.encoding.types import Unencodable

if TYPE_CHECKING:
    import jinja2

SECONDS = 5.0  # for one record; a usual one takes 0.0001
_OUTPUT = 1 << 20  # characters beyond those of the messages, of which a template may write 64 times as many
_REPEATED = 1 << 20  # characters a template's own `*`, `%` may make
GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class TemplateProblem(Exception):
    """The template itself is broken: it does not compile. `line` is a line of the template."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


class ChatTemplate:
    """A compiled template."""

    def __init__(self, text: str) -> None:
        """Raises TemplateProblem."""
        self.text = text
        self._compiled, self._tracker = _compiled(text)

    @property
    def has_generation(self) -> bool:
        """Whether it marks what the assistant writes, as transformers and TRL look for it."""
        return GENERATION.search(self.text) is not None

    def render(self, messages: list[dict[str, Any]], **variables: Any) -> str:
        """The text. Raises Unencodable with what the template raised."""
        return self._run(messages, variables, None)

    def render_spans(self, messages: list[dict[str, Any]], **variables: Any) -> tuple[str, list[tuple[int, int]]]:
        """The text and the characters (start, end) of its generation blocks."""
        spans: list[tuple[int, int]] = []
        return self._run(messages, variables, spans), spans

    def _run(
        self, messages: list[dict[str, Any]], variables: dict[str, Any], spans: list[tuple[int, int]] | None
    ) -> str:
        from jinja2 import TemplateError, UndefinedError
        from jinja2.exceptions import SecurityError, TemplateRuntimeError

        values = {"tools": None, "documents": None, "add_generation_prompt": False, **variables}
        values["messages"] = [_without_nulls(message) for message in messages]
        limit = _OUTPUT + 64 * sum(map(_size, messages))
        blocks: list[str] = []
        token = self._tracker.set(None if spans is None else (blocks, spans))
        try:
            with deadline(SECONDS):
                written = 0
                for block in self._compiled.generate(**values):
                    blocks.append(block)
                    written += len(block)
                    if written > limit:
                        break
        except TooLong:
            raise Unencodable(f"the chat template runs longer than {SECONDS:.0f} s for one record") from None
        except (UndefinedError, SecurityError, TemplateRuntimeError) as error:
            raise Unencodable(f"the chat template fails: {error}") from error
        except TemplateError as error:  # its own raise_exception
            raise Unencodable(f"the chat template refuses the record: {error}") from error
        except Unencodable:
            raise
        except Exception as error:
            raise Unencodable(f"the chat template fails: {type(error).__name__}: {error}") from error
        finally:
            self._tracker.reset(token)
        if written > limit:
            raise Unencodable(f"the chat template writes more than {limit:,} characters for one record")
        return "".join(blocks)


_Tracked = tuple[list[str], list[tuple[int, int]]]


@lru_cache(maxsize=64)
def _compiled(text: str) -> tuple[jinja2.Template, ContextVar[_Tracked | None]]:
    from jinja2 import TemplateSyntaxError

    tracker: ContextVar[_Tracked | None] = ContextVar("generation", default=None)
    try:
        return _environment(tracker).from_string(text), tracker
    except TemplateSyntaxError as error:
        raise TemplateProblem(error.message or "syntax error", error.lineno) from error
    except RecursionError as error:
        raise TemplateProblem("it is nested too deeply") from error


def _environment(tracker: ContextVar[_Tracked | None]) -> jinja2.Environment:
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """The tag pair {% generation %} ... {% endgeneration %}."""

        tags = {"generation"}  # noqa: RUF012 -- jinja2's own attribute

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_span"), [], [], body).set_lineno(line)

        def _span(self, caller: Callable[[], str]) -> str:
            written = caller()
            if (tracked := tracker.get()) is not None:
                blocks, spans = tracked
                start = sum(map(len, blocks))
                spans.append((start, start + len(written)))
            return written

    class Sandbox(ImmutableSandboxedEnvironment):
        """Transformers' sandbox, with a limit on what one operator can make."""

        intercepted_binops = frozenset(("*", "**", "%"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator != "%" or isinstance(left, str):
                _refuse_huge(operator, left, right)
            return super().call_binop(context, operator, left, right)

    class Plain(Namespace):
        """A namespace without underscored attributes, which could reach into the interpreter."""

        def __init__(*args: Any, **given: Any) -> None:
            self, *rest = args  # as jinja2's own: a template may give an attribute `self`
            attributes = dict(*rest, **given)
            for name in attributes:
                _refuse_underscored(name)
            Namespace.__init__(self, attributes)

        def __setitem__(self, name: str, value: Any) -> None:
            _refuse_underscored(name)
            Namespace.__setitem__(self, name, value)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    environment.globals["namespace"] = Plain
    return environment


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse_underscored(name: Any) -> None:
    from jinja2.exceptions import SecurityError

    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a chat template cannot store {name!r} on a namespace")


def _refuse_huge(operator: str, left: Any, right: Any) -> None:
    """`"x" * 10**12`, `10**10**10`, `"%999999999d" % 1`."""
    size = 0.0
    if operator == "**" and isinstance(left, (int, float)) and isinstance(right, (int, float)):
        size = abs(right) * max(1, abs(int(left)).bit_length())
    elif operator == "%":
        size = max((float(n) for n in re.findall(r"\d+", left)), default=0)
    elif operator == "*":
        for text, times in ((left, right), (right, left)):
            if isinstance(text, (str, list, tuple)) and isinstance(times, int):
                size = len(text) * times
    if size > _REPEATED:
        raise Unencodable(f"the chat template makes more than {_REPEATED:,} characters with one {operator}")


def _without_nulls(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if value is not None} if None in message.values() else message


def _size(message: dict[str, Any]) -> int:
    """Characters of a message; of a list of parts, those of its texts."""
    return sum(map(_characters, message.values()))


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    return sum(_walk(value)) if isinstance(value, (list, dict)) else 8


def _walk(value: Any) -> Iterator[int]:
    for item in value.values() if isinstance(value, dict) else value:
        yield _characters(item)
