"""What each command does, in a few lines: options to run, run to report, report to the person or the file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lorachk.engine.finding import Severity
from lorachk.engine.page import Page, as_dict
from lorachk.engine.rules import builtin_rules, load_rules
from lorachk.engine.select import Selection
from lorachk.engine.session import exit_code, run_command
from lorachk.errors import UsageError
from lorachk.facts.collector import Options
from lorachk.launchers.resolve import Lint, ResolveOptions, resolve
from lorachk.run import Run


def run(arguments: argparse.Namespace) -> int:
    """Dispatch; returns the exit code. Raises UsageError."""
    match arguments.command:
        case "explain":
            return _explain(arguments)
        case "rules":
            return _rules(arguments)
        case _:
            return _judge(arguments)


def _judge(arguments: argparse.Namespace) -> int:
    from lorachk.report import Options as RenderOptions
    from lorachk.report import write

    resolved = resolve(_resolve_options(arguments))
    if not arguments.facts:
        _require_input(arguments.command, resolved.run)
    lint = resolved.lint
    with _progress() as say:
        report = run_command(
            arguments.command,
            resolved,
            options=_options(arguments, say),
            selection=_selection(arguments, lint),
            rules=[builtin_rules(), *(Path(r) for r in (*lint.rules, *arguments.rules))],
            facts=Path(arguments.facts) if arguments.facts else None,
            save=Path(arguments.save) if arguments.save else None,
            rehearse=not getattr(arguments, "no_train", False),
        )
    fail_on = arguments.fail_on or lint.fail_on or "error"
    report.exit_code = exit_code(report, fail_on=fail_on, no_skips=arguments.no_skips)
    chosen = arguments.format or ("github" if os.environ.get("GITHUB_ACTIONS") == "true" else "terminal")
    threshold = None if fail_on == "never" else Severity[fail_on]
    write(report, chosen, Path(arguments.output) if arguments.output else None, RenderOptions(fail_on=threshold))
    return report.exit_code


def _require_input(command: str, run: Run) -> None:
    """A gate that was given nothing to look at must not say that all is well. Raises UsageError."""
    launched = run.launch or run.deepspeed or run.model or run.use_lora
    message, hint = None, "or write a lorachk.toml in this folder"
    if command == "data" and not run.data:
        message, hint = "no dataset is named", f"lorachk data train.json, {hint}"
    elif command == "model" and not launched:
        message, hint = "nothing to check is named", f"lorachk model --config ds.json, --launch, --model ..., {hint}"
    elif command == "smoke-train" and not run.model:
        message, hint = "no model is named", f"lorachk smoke-train --model DIR, {hint}"
    elif command == "check" and not (run.data or launched):
        message, hint = "nothing to check is named", f"lorachk check finetune_lora.sh, {hint}"
    if message:
        raise UsageError(message, where=command, hint=hint)


def _resolve_options(arguments: argparse.Namespace) -> ResolveOptions:
    deepspeed, toml = None, None
    for text in arguments.config:
        if text.endswith(".toml"):
            toml = text
        else:
            deepspeed = text

    def given(name: str) -> str | None:
        value: str | None = getattr(arguments, name, None)
        return value

    def number(name: str) -> int | None:
        value: int | None = getattr(arguments, name, None)
        return value

    return ResolveOptions(
        data=[*(getattr(arguments, "files", None) or ()), *(getattr(arguments, "data", None) or ())],
        eval_data=list(getattr(arguments, "eval_data", None) or ()),
        image_root=given("image_root"),
        model=given("model"),
        launch=given("launch_file") or given("launch"),
        peft=given("peft"),
        deepspeed=deepspeed,
        toml=toml,
        isolated=arguments.isolated,
        trainer=given("trainer"),
        family=given("family"),
        max_length=number("max_length"),
        max_slice_nums=number("max_slice_nums"),
        gpu=given("gpu"),
        gpu_memory=given("gpu_memory"),
        num_gpus=number("num_gpus"),
        num_nodes=number("num_nodes"),
    )


def _options(arguments: argparse.Namespace, say: Callable[[str], None] | None) -> Options:
    return Options(
        deep=getattr(arguments, "deep", False),
        trust_remote_code=getattr(arguments, "trust_remote_code", False),
        rehearsal_steps=getattr(arguments, "steps", 3),
        rehearsal_ranks=getattr(arguments, "ranks", 2),
        rehearsal_timeout=getattr(arguments, "timeout", 600.0),
        real_weights=getattr(arguments, "real_weights", False),
        trace=not getattr(arguments, "no_trace", False),
        progress=say,
    )


def _codes(texts: Sequence[str]) -> list[str]:
    return [code.strip() for text in texts for code in text.split(",") if code.strip()]


def _selection(arguments: argparse.Namespace, lint: Lint) -> Selection:
    ignore = dict(lint.ignore)
    ignore.update(dict.fromkeys(_codes(arguments.ignore), "--ignore"))
    return Selection(tuple(_codes(arguments.select) or lint.select), ignore)


@contextmanager
def _progress() -> Iterator[Callable[[str], None] | None]:
    """A spinner with what is going on, on stderr and only when a person watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(Text(text))


def _explain(arguments: argparse.Namespace) -> int:
    from lorachk.engine.explain import by_code, by_symptom

    text = " ".join(arguments.text)
    if text == "-":
        text = sys.stdin.read()
    pages = load_rules([builtin_rules(), *(Path(r) for r in arguments.rules)]).pages
    if page := by_code(pages, text):
        _show_markdown(_page_text(page))
        return 0
    matching = by_symptom(pages, text)
    if not matching:
        near = [p for p in pages if text.strip() and text.strip().upper() in p.code]
        hint = f"codes that look like it: {', '.join(p.code for p in near)}" if near else "see `lorachk rules list`"
        raise UsageError("no rule has this code, name or symptom", where="explain", hint=hint)
    best, *others = matching
    text = _page_text(best)
    if others:
        text += "\n\n## It may also be\n"
        text += "".join(f"\n- {p.code} {p.name}: {p.title}" for p in others[:5])
    _show_markdown(text)
    return 0


def _page_text(page: Page) -> str:
    """A rule for a person: what happens, what to change, how it is checked, what it rests on."""
    parts = [
        f"# {page.code} {page.name} ({page.severity.name})",
        f"**{page.title}**",
        page.text,
        f"## Fix\n{page.fix}",
        f"## Check\n```sql\n{page.sql}\n```",
    ]
    for title, lines in (("Verified", page.head.verified), ("Seen in", page.head.sources)):
        if lines:
            parts.append(f"## {title}\n" + "\n".join(f"- {line}" for line in lines))
    parts.append(f"Examples: {page.path}")
    return "\n\n".join(parts)


def _show_markdown(text: str) -> None:
    if not sys.stdout.isatty():
        print(text.rstrip())
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))


def _rules(arguments: argparse.Namespace) -> int:
    folders = (
        [Path(p) for p in arguments.paths] if arguments.action == "test" and arguments.paths else [builtin_rules()]
    )
    folders += [Path(r) for r in arguments.rules]
    pages, broken = load_rules(folders)
    if arguments.action == "list":
        if arguments.format == "json":
            print(json.dumps([as_dict(p) for p in pages], indent=2))
        else:
            for page in pages:
                print(f"{page.code}  {page.severity.name:<7}  {page.name:<38}  {page.title}")
        return 0
    from lorachk.engine.example import run_examples

    bad = len(broken)
    for page, why in broken:
        print(f"FAIL {page.code} ({page.path})\n     {why}")
    outcomes = [outcome for page in pages for outcome in run_examples(page)]
    for outcome in outcomes:
        if outcome.problem:
            bad += 1
            print(f"FAIL {outcome.label}\n     {outcome.problem}")
    ran = [outcome for outcome in outcomes if not outcome.skipped]
    summary = f"{len(pages)} rules, {len(ran)} examples: {len(ran) + len(broken) - bad} as promised, {bad} not"
    if left := len(outcomes) - len(ran):
        summary += f"; {left} not run: torch is not installed"
    print(summary)
    return 1 if bad else 0
