"""The command line. Nothing heavy is imported here: `lorachk --version` must answer at once."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from lorachk import __version__
from lorachk.errors import UsageError

FORMATS = ("terminal", "concise", "json", "sarif", "junit", "github", "gitlab", "markdown")
_EPILOG = """\
exit codes: 0 nothing at or above --fail-on; 1 findings; 2 lorachk could not run; 3 rules were skipped and --no-skips
"""


class _Parser(argparse.ArgumentParser):
    """argparse, with the nearest option named in its error and exit code 2."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})  # a gate's options must not change their meaning

    def error(self, message: str) -> NoReturn:
        import difflib

        known = [o for action in self._actions for o in action.option_strings]
        known += [c for action in self._actions for c in action.choices or () if isinstance(c, str)]
        words = [w.strip("':") for w in message.replace(",", " ").split() if w.startswith(("-", "'"))]
        wrong = [w for w in words if w.split("=")[0] not in known][:1]
        near = [n for w in wrong for n in difflib.get_close_matches(w.split("=")[0], known, 1)]
        hint = f"did you mean {near[0]}? " if near else ""
        self.exit(2, f"lorachk: {message}\n  {hint}see `{self.prog} --help`\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lorachk",
        description="Check a LoRA fine-tuning run before it costs GPU hours: dataset, configuration, model, memory, "
        "and a few real training steps.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lorachk {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def add(name: str, text: str, *groups: _Parser) -> _Parser:
        made = commands.add_parser(name, help=text, description=text, parents=list(groups), epilog=_EPILOG)
        made.set_defaults(parser=made)
        return made

    judging, the_run, data, model, train = (
        _judging(),
        _run_options(),
        _data_options(),
        _model_options(),
        _train_options(),
    )
    sub = add("data", "check the dataset: structure, roles, placeholders, images, image tokens", judging, the_run, data)
    sub.add_argument("files", nargs="*", metavar="FILE", help="dataset files (JSON array or JSONL); else lorachk.toml")
    sub = add(
        "model", "check the launch configuration and the model, estimate VRAM per ZeRO stage", judging, the_run, model
    )
    sub.add_argument("--data", action="append", default=[], metavar="FILE", help="dataset, for rules that join it")
    sub = add("smoke-train", "train a miniature of the model for a few real steps", judging, the_run, model, train)
    sub.add_argument("--data", action="append", default=[], metavar="FILE", help="dataset the steps train on")
    sub = add("check", "the gate: everything that applies, in one report", judging, the_run, data, model, train)
    sub.add_argument("launch_file", nargs="?", metavar="LAUNCH", help="launch file; else lorachk.toml in this folder")
    sub.add_argument("--data", action="append", default=[], metavar="FILE", help="dataset files")
    sub.add_argument("--no-train", action="store_true", help="leave the rehearsal out (its rules are skipped)")

    sub = add("explain", "show a rule's page, or the rules whose symptom matches an error text")
    sub.add_argument("text", nargs="+", metavar="CODE|TEXT", help="a code, a rule name, an error text, or - for stdin")
    sub.add_argument("--rules", action="append", default=[], metavar="DIR", help="folder with more rule pages")
    sub = add("rules", "list the rules, or run the examples of rule pages")
    sub.add_argument("action", choices=("list", "test"))
    sub.add_argument("paths", nargs="*", metavar="DIR", help="folders or pages to test (default: all built-in rules)")
    sub.add_argument("--rules", action="append", default=[], metavar="DIR", help="folder with more rule pages")
    sub.add_argument("--format", choices=("terminal", "json"), default="terminal")
    return parser


def _judging() -> _Parser:
    parser = _Parser(add_help=False)
    group = parser.add_argument_group("report")
    group.add_argument("--select", action="append", default=[], metavar="CODES", help="only these codes or prefixes")
    group.add_argument("--ignore", action="append", default=[], metavar="CODES", help="not these codes or prefixes")
    group.add_argument("--rules", action="append", default=[], metavar="DIR", help="folder with more rule pages")
    group.add_argument("--format", choices=FORMATS, help="default: terminal; github inside GitHub Actions")
    group.add_argument("--output", metavar="FILE", help="write the report to FILE")
    group.add_argument("--fail-on", choices=("error", "warning", "info", "never"), help="exit 1 from here on (error)")
    group.add_argument("--no-skips", action="store_true", help="exit 3 when a selected rule was skipped")
    group.add_argument("--save", metavar="FILE", help="keep the facts in a DuckDB file")
    group.add_argument("--facts", metavar="FILE", help="judge facts that --save kept, look at nothing here")
    return parser


def _run_options() -> _Parser:
    parser = _Parser(add_help=False)
    group = parser.add_argument_group("the run (each beats lorachk.toml)")
    group.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="DeepSpeed file (.json) or lorachk.toml (.toml); may be given twice",
    )
    group.add_argument("--isolated", action="store_true", help="do not look for lorachk.toml in this folder")
    group.add_argument("--model", metavar="DIR|NAME", help="folder with config.json, or hub name")
    group.add_argument("--family", metavar="NAME", help="model family, when it cannot be told from the model")
    group.add_argument("--trainer", metavar="NAME", help="trainer that reads the files: minicpmv, hf, ...")
    group.add_argument("--image-root", metavar="DIR", help="folder that image paths are joined to")
    group.add_argument("--max-length", type=_positive, metavar="TOKENS", help="token limit per record")
    group.add_argument("--max-slice-nums", type=_positive, metavar="N", help="MiniCPM-V: most slices per image")
    return parser


def _data_options() -> _Parser:
    parser = _Parser(add_help=False)
    group = parser.add_argument_group("looking at data")
    group.add_argument("--eval-data", action="append", default=[], metavar="FILE", help="evaluation files")
    group.add_argument("--deep", action="store_true", help="decode every image, not a sample")
    return parser


def _model_options() -> _Parser:
    parser = _Parser(add_help=False)
    group = parser.add_argument_group("launch and machine")
    group.add_argument("--launch", metavar="FILE", help="launch script")
    group.add_argument("--peft", metavar="FILE", help="adapter_config.json or its folder")
    group.add_argument("--gpu", metavar="NAME", help='judge for this GPU instead of the ones here, e.g. "RTX 4090"')
    group.add_argument("--gpu-memory", metavar="SIZE", help="judge for GPUs of this size, e.g. 24GiB")
    group.add_argument("--num-gpus", type=_positive, metavar="N", help="GPUs per machine")
    group.add_argument("--num-nodes", type=_positive, metavar="N", help="machines")
    group.add_argument("--trust-remote-code", action="store_true", help="run the model folder's own Python code")
    group.add_argument(
        "--no-trace",
        action="store_true",
        help="no trace of a training step: activations of text models by formula, none for vision-language models",
    )
    return parser


def _train_options() -> _Parser:
    parser = _Parser(add_help=False)
    group = parser.add_argument_group("rehearsal")
    group.add_argument("--steps", type=_positive, default=3, metavar="N", help="steps (3)")
    group.add_argument("--ranks", type=_positive, default=2, metavar="N", help="ranks (2)")
    group.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="time limit (600)")
    group.add_argument("--real-weights", action="store_true", help="train the real weights on this machine's GPUs")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = _parser()
    arguments, strange = parser.parse_known_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 2
    if strange:
        arguments.parser.error(f"{arguments.command} does not take {' '.join(strange)}")
    from lorachk import stopping

    stopping.listen()
    try:
        from lorachk import commands

        return commands.run(arguments)
    except UsageError as error:
        print(f"lorachk: {_visible(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `lorachk ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        return _interrupted(stopping.received() or signal.SIGINT)
    except Exception as error:  # exit code 1 would say that the run was looked at
        if number := stopping.received():
            return _interrupted(number)
        print(f"lorachk: {_visible(_internal(error))}", file=sys.stderr)
        return 2


def _interrupted(number: int) -> int:
    print(f"lorachk: interrupted by {signal.Signals(number).name}", file=sys.stderr)
    return 128 + number


def _internal(error: Exception) -> str:
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rpartition('lorachk/')[2]}:{frame.lineno}"
    return f"internal error: {type(error).__name__}: {error} ({where})\n  this is a bug in lorachk; please report it"


def _visible(text: str) -> str:
    """File names and messages can hold terminal escapes; show them instead of obeying them."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
