"""The commands and their options. Nothing heavy is imported here: `lorachk --version` must answer at once."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from lorachk import __version__

FORMATS = ("terminal", "concise", "json", "sarif", "junit", "github", "gitlab", "markdown")
_EPILOG = """\
exit codes: 0 nothing at or above --fail-on; 1 findings; 2 lorachk could not run; 3 rules were skipped and --no-skips
"""
_FIRST_STEPS = """\
first steps:
  lorachk data train.json --trainer minicpmv     what the trainer would really train on
  lorachk model --config ds.json --model DIR     the configuration, and memory per ZeRO stage
  lorachk check finetune_lora.sh                 everything that applies, as a gate
  lorachk explain "the error text"               which rule would have found it

"""


class Parser(argparse.ArgumentParser):
    """argparse, with the nearest option named in its error and exit code 2."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})  # a gate's options must not change their meaning

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and one message."""
        import difflib

        known = [o for action in self._actions for o in action.option_strings]
        known += [c for action in self._actions for c in action.choices or () if isinstance(c, str)]
        words = [w.strip("':") for w in message.replace(",", " ").split() if w.startswith(("-", "'"))]
        wrong = [w for w in words if w.split("=")[0] not in known][:1]
        near = [n for w in wrong for n in difflib.get_close_matches(w.split("=")[0], known, 1)]
        hint = f"did you mean {near[0]}? " if near else ""
        self.exit(2, f"lorachk: {visible(message)}\n  {hint}see `{self.prog} --help`\n")


def visible(text: str) -> str:
    """File names and messages can hold terminal escapes; show them instead of obeying them."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def parser() -> Parser:
    """The whole command line; a command's own parser stands under `parser` in what it parses."""
    made = Parser(
        prog="lorachk",
        description="Check a LoRA fine-tuning run before it costs GPU hours: dataset, configuration, model, memory, "
        "and a few real training steps.",
        epilog=_FIRST_STEPS + _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"lorachk {__version__}")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def add(name: str, text: str, *groups: Parser) -> Parser:
        sub: Parser = commands.add_parser(name, help=text, description=text, parents=list(groups), epilog=_EPILOG)
        sub.set_defaults(parser=sub)
        return sub

    judging, run, data, model, train = _judging(), _run_options(), _data_options(), _model_options(), _train_options()
    sub = add("data", "check the dataset: structure, roles, placeholders, images, image tokens", judging, run, data)
    sub.add_argument("files", nargs="*", metavar="FILE", help="dataset files (JSON array or JSONL); else lorachk.toml")
    _tokens(sub)
    _fixing(sub)
    sub = add(
        "model", "check the launch configuration and the model, estimate VRAM per ZeRO stage", judging, run, model
    )
    sub.add_argument("--data", action="append", default=[], metavar="FILE", help="dataset, for rules that join it")
    _mending(sub)
    sub = add("smoke-train", "train a miniature of the model for a few real steps", judging, run, model, train)
    sub.add_argument("--data", action="append", default=[], metavar="FILE", help="dataset the steps train on")
    sub = add("check", "the gate: everything that applies, in one report", judging, run, data, model, train)
    sub.add_argument("launch_file", nargs="?", metavar="LAUNCH", help="launch file; else lorachk.toml in this folder")
    sub.add_argument("--data", action="append", default=[], metavar="FILE", help="dataset files")
    sub.add_argument("--no-train", action="store_true", help="leave the rehearsal out (its rules are skipped)")
    _mending(sub)

    text = "two launches side by side: what they do differently, and where each value comes from"
    sub = add("compare", text, run, model)
    sub.add_argument("left", metavar="A", help="launch script, YAML, lorachk.toml or DeepSpeed file")
    sub.add_argument("right", metavar="B", help="the other one; options hold for both")
    sub.add_argument("--all", action="store_true", help="also what is the same")
    sub.add_argument("--format", choices=("terminal", "markdown", "json"), default="terminal")
    sub.add_argument("--output", metavar="FILE", help="write the comparison to FILE")
    sub = add("init", "write a commented lorachk.toml from what is found in a folder")
    sub.add_argument("folder", nargs="?", default=".", metavar="DIR", help="folder to look at (this one)")
    sub.add_argument("--force", action="store_true", help="replace a lorachk.toml that is there")
    sub.add_argument("--print", action="store_true", help="show it and write nothing")

    sub = add("explain", "show a rule's page, or the rules whose symptom matches an error text")
    sub.add_argument("text", nargs="+", metavar="CODE|TEXT", help="a code, a rule name, an error text, or - for stdin")
    sub.add_argument("--rules", action="append", default=[], metavar="DIR", help="folder with more rule pages")
    _rules(add("rules", "list the rules, run the examples of rule pages, or begin a new page"))
    _sql(add("sql", "ask the facts your own question, in SQL", run, data, model, train))
    sub = add("env", "what this machine is: versions, CPUs, memory, disk, GPUs; for a bug report")
    sub.add_argument("--format", choices=("terminal", "json"), default="terminal")
    return made


def _rules(rules: Parser) -> None:
    actions = rules.add_subparsers(dest="action", metavar="list|test|new", required=True, parser_class=Parser)

    def add(name: str, text: str) -> Parser:
        sub: Parser = actions.add_parser(name, help=text, description=text)
        sub.set_defaults(parser=sub)
        return sub

    sub = add("list", "all rules with severity, name and title")
    sub.add_argument("--rules", action="append", default=[], metavar="DIR", help="folder with more rule pages")
    sub.add_argument("--format", choices=("terminal", "json"), default="terminal")
    sub = add("test", "run the examples of rule pages: the bad ones must be found, the good ones must pass")
    sub.add_argument("paths", nargs="*", metavar="DIR", help="folders or pages to test (default: all built-in rules)")
    sub.add_argument("--rules", action="append", default=[], metavar="DIR", help="folder with more rule pages")
    sub = add("new", "write a rule page to begin with; its examples run")
    sub.add_argument("code", metavar="CODE", help="one to three capital letters and three digits, e.g. X101")
    sub.add_argument("name", metavar="NAME", help="the problem in words joined by -, e.g. answer-too-short")
    sub.add_argument("--folder", metavar="DIR", help="where the page goes; default: [lint] rules, else rules")


def _sql(sub: Parser) -> None:
    sub.add_argument("query", nargs="?", metavar="QUERY", help="one SELECT, or - for stdin; without: the tables")
    sub.add_argument("files", nargs="*", metavar="FILE", help="dataset files; else lorachk.toml")
    group = sub.add_argument_group("facts and output")
    group.add_argument("--tables", nargs="?", const="", metavar="NAME", help="show the tables, or one of them")
    group.add_argument("--facts", metavar="FILE", help="ask facts that --save kept, look at nothing here")
    group.add_argument("--save", metavar="FILE", help="keep the facts that were gathered in a DuckDB file")
    group.add_argument("--format", choices=("table", "json", "csv", "markdown"), default="table")
    group.add_argument("--output", metavar="FILE", help="write the answer to FILE")
    group.add_argument("--limit", type=_positive, metavar="N", help="rows shown (on a terminal 100, else all)")
    group.add_argument("--no-skips", action="store_true", help="exit 3 when a fact that the query reads is unknown")


def _tokens(data: Parser) -> None:
    group = data.add_argument_group("tokens")
    group.add_argument("--worst", type=_positive, metavar="N", help="list the N records with the most tokens")
    group.add_argument(
        "--plot", metavar="FILE", help="draw lengths, the limit and image sizes: .png, .svg or .pdf (needs matplotlib)"
    )


def _fixing(data: Parser) -> None:
    group = data.add_argument_group("fixing")
    group.add_argument("--fix", action="store_true", help="write a repaired copy to --output; the original stays")
    group.add_argument("--diff", action="store_true", help="show what --fix would change, and write nothing")
    group.add_argument(
        "--unsafe-fixes",
        action="store_true",
        help="also fixes that lose something: records the trainer would not train, duplicates, literal special tokens",
    )


def _mending(command: Parser) -> None:
    group = command.add_argument_group("fixing")
    group.add_argument("--fix", action="store_true", help="mend JSON, YAML and TOML files in place, comments stay")
    group.add_argument("--diff", action="store_true", help="show what --fix would change, and write nothing")
    group.add_argument("--unsafe-fixes", action="store_true", help="also fixes that change what is trained")


def _judging() -> Parser:
    made = Parser(add_help=False)
    group = made.add_argument_group("report")
    group.add_argument("--select", action="append", default=[], metavar="CODES", help="only these codes or prefixes")
    group.add_argument("--ignore", action="append", default=[], metavar="CODES", help="not these codes or prefixes")
    group.add_argument("--rules", action="append", default=[], metavar="DIR", help="folder with more rule pages")
    group.add_argument("--format", choices=FORMATS, help="default: terminal; github inside GitHub Actions")
    group.add_argument("--output", metavar="FILE", help="write the report to FILE")
    group.add_argument("--fail-on", choices=("error", "warning", "info", "never"), help="exit 1 from here on (error)")
    group.add_argument("--no-skips", action="store_true", help="exit 3 when a selected rule was skipped")
    group.add_argument("--save", metavar="FILE", help="keep the facts in a DuckDB file")
    group.add_argument("--facts", metavar="FILE", help="judge facts that --save kept, look at nothing here")
    return made


def _run_options() -> Parser:
    made = Parser(add_help=False)
    group = made.add_argument_group("the run (each beats lorachk.toml)")
    group.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="DeepSpeed file (.json) or lorachk.toml (.toml); may be given twice",
    )
    group.add_argument("--isolated", action="store_true", help="do not look for lorachk.toml in this folder")
    group.add_argument("--model", metavar="DIR|NAME", help="folder with config.json, or hub name")
    group.add_argument("--tokenizer", metavar="DIR", help="folder with tokenizer.json; else the model's")
    text = "versions the run will use: requirements.txt, uv.lock, environment.yml ..."
    group.add_argument("--requirements", metavar="FILE", help=text)
    group.add_argument("--family", metavar="NAME", help="model family, when it cannot be told from the model")
    group.add_argument("--trainer", metavar="NAME", help="trainer that reads the files: minicpmv, hf, ...")
    group.add_argument("--image-root", metavar="DIR", help="folder that image paths are joined to")
    group.add_argument("--max-length", type=_positive, metavar="TOKENS", help="token limit per record")
    group.add_argument("--max-slice-nums", type=_positive, metavar="N", help="MiniCPM-V: most slices per image")
    return made


def _data_options() -> Parser:
    made = Parser(add_help=False)
    group = made.add_argument_group("looking at data")
    group.add_argument("--eval-data", action="append", default=[], metavar="FILE", help="evaluation files")
    group.add_argument("--deep", action="store_true", help="decode every image, not a sample")
    group.add_argument(
        "--fetch-urls", action="store_true", help="download images that are http(s) URLs to look at them"
    )
    return made


def _model_options() -> Parser:
    made = Parser(add_help=False)
    group = made.add_argument_group("launch and machine")
    group.add_argument("--launch", metavar="FILE", help="launch script")
    group.add_argument("--peft", metavar="FILE", help="adapter_config.json or its folder")
    group.add_argument("--gpu", metavar="NAME", help='judge for this GPU instead of the ones here, e.g. "RTX 4090"')
    group.add_argument("--gpu-memory", metavar="SIZE", help="judge for GPUs of this size, e.g. 24GiB")
    group.add_argument("--num-gpus", type=_positive, metavar="N", help="GPUs per machine")
    group.add_argument("--num-nodes", type=_positive, metavar="N", help="machines")
    group.add_argument("--trust-remote-code", action="store_true", help="run the model folder's own Python code")
    group.add_argument(
        "--no-build",
        action="store_true",
        help="build no model: configuration alone, in a second and without torch (rules on the model are skipped)",
    )
    group.add_argument(
        "--no-trace",
        action="store_true",
        help="no trace of a training step: activations of text models by formula, none for vision-language models",
    )
    return made


def _train_options() -> Parser:
    made = Parser(add_help=False)
    group = made.add_argument_group("rehearsal")
    group.add_argument("--steps", type=_positive, default=3, metavar="N", help="steps (3)")
    group.add_argument("--ranks", type=_positive, default=2, metavar="N", help="ranks (2)")
    group.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="time limit (600)")
    group.add_argument("--real-weights", action="store_true", help="train the real weights on this machine's GPUs")
    return made


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)
